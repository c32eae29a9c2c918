"""Every action of Alluxio's page, with its samples' requests, statuses and elements.

Each is asked on the Alluxio endpoint, as on the page, and on the AWS endpoint. The samples'
accidents are not looked for: parts in listings, ETags without quotes, small parts before the last.
"""

import hashlib
import re

import pytest

pytestmark = [
    pytest.mark.parametrize("root", ["memory", "file"]),
    pytest.mark.parametrize("endpoint", ["alluxio", "aws"]),
]

LICENSE = b"27040 bytes of a licence. " * 1040
MD5 = hashlib.md5(LICENSE).hexdigest()
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
TAGS = (
    b"<Tagging><TagSet><Tag><Key>key1</Key><Value>val1</Value></Tag>"
    b"<Tag><Key>key2</Key><Value>val2</Value></Tag></TagSet></Tagging>"
)


@pytest.fixture
def ask(wire, endpoint):
    """Send a request below the endpoint's base path."""
    base = "/api/v1/s3" if endpoint == "alluxio" else ""

    def ask(method, target, body=b"", **headers):
        answer = wire(method, base + target, body, **headers)
        if answer.body.startswith(b"<?xml") and answer.status == 200:
            assert (f'xmlns="{NAMESPACE}"'.encode() in answer.body) == (endpoint == "aws")
        return answer

    return ask


@pytest.fixture
def put(ask, bucket):
    """Put the licence under a key of the bucket."""

    def put(key):
        assert ask("PUT", f"/{bucket}/{key}", LICENSE).status == 200

    return put


def tags(answer):
    return [(tag.findtext("Key"), tag.findtext("Value")) for tag in answer.root.iter("Tag")]


def listed(ask, bucket, query=""):
    return [key.text for key in ask("GET", f"/{bucket}{query}").root.findall("Contents/Key")]


def begin(ask, bucket, key="multipart.txt"):
    return ask("POST", f"/{bucket}/{key}?uploads").root.findtext("UploadId")


# --- buckets ------------------------------------------------------------------------------


def test_create_bucket_and_list_buckets(ask, unique):
    answer = ask("PUT", f"/test-{unique}")
    assert (answer.status, answer.headers["content-length"]) == (200, "0")
    buckets = ask("GET", "/")
    assert (buckets.status, buckets.headers["content-type"]) == (200, "application/xml")
    assert buckets.root.tag == "ListAllMyBucketsResult"
    assert buckets.root.findtext("Buckets/Bucket/Name") == f"test-{unique}"
    assert DATE.fullmatch(buckets.root.findtext("Buckets/Bucket/CreationDate"))


def test_head_bucket(ask, bucket):
    assert ask("HEAD", f"/{bucket}").status == 200
    missing = ask("HEAD", "/absent")
    assert (missing.status, missing.body) == (404, b"")


def test_delete_bucket(ask, bucket):
    answer = ask("DELETE", f"/{bucket}")
    assert (answer.status, answer.body) == (204, b"")
    assert ask("GET", "/").root.findall("Buckets/Bucket") == []


@pytest.mark.parametrize("what", ["bucket", "object"])
def test_tagging(ask, put, bucket, what, endpoint):
    put("test.txt")
    target = f"/{bucket}?tagging" if what == "bucket" else f"/{bucket}/test.txt?tagging"
    without = ask("GET", target)
    if what == "bucket" and endpoint == "aws":
        assert (without.status, without.code) == (404, "NoSuchTagSet")
    else:
        assert (without.status, without.root.tag, tags(without)) == (200, "Tagging", [])
        assert without.root.find("TagSet") is not None
    made = ask("PUT", target, TAGS, Content_Type="application/xml")
    assert (made.status, made.headers["content-length"]) == (200, "0")
    assert tags(ask("GET", target)) == [("key1", "val1"), ("key2", "val2")]
    gone = ask("DELETE", target)
    assert (gone.status, gone.body) == (204, b"")
    after = ask("GET", target)
    assert after.status == (404 if what == "bucket" and endpoint == "aws" else 200)


# --- objects ------------------------------------------------------------------------------


def test_put_object(ask, bucket):
    answer = ask("PUT", f"/{bucket}/test.txt", LICENSE)
    assert (answer.status, answer.headers["etag"]) == (200, f'"{MD5}"')
    assert answer.headers["content-length"] == "0"
    assert listed(ask, bucket) == ["test.txt"]


def test_get_and_head_object(ask, put, bucket, endpoint):
    put("test.txt")
    for method, body in (("GET", LICENSE), ("HEAD", b"")):
        answer = ask(method, f"/{bucket}/test.txt")
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-length"] == "27040"
        assert answer.headers["etag"] == f'"{MD5}"'
        assert answer.headers["last-modified"].endswith("GMT")
        kind = "application" if endpoint == "alluxio" else "binary"
        assert answer.headers["content-type"] == f"{kind}/octet-stream"


def test_copy_object(ask, put, bucket):
    put("test.txt")
    answer = ask("PUT", f"/{bucket}/test_copy.txt", x_amz_copy_source=f"{bucket}/test.txt")
    assert (answer.status, answer.root.tag) == (200, "CopyObjectResult")
    assert answer.root.findtext("ETag") == f'"{MD5}"'
    assert DATE.fullmatch(answer.root.findtext("LastModified"))
    assert listed(ask, bucket) == ["test.txt", "test_copy.txt"]


def test_delete_object(ask, put, bucket):
    put("temp.txt")
    put("test.txt")
    answer = ask("DELETE", f"/{bucket}/temp.txt")
    assert (answer.status, answer.body) == (204, b"")
    assert listed(ask, bucket) == ["test.txt"]


def test_delete_objects(ask, put, bucket, endpoint):
    for key in ("foo.txt", "temp.txt", "temp2.txt"):
        put(key)
    body = (
        f'<Delete xmlns="{NAMESPACE}"><Object><Key>temp.txt</Key></Object>'
        "<Object><Key>temp2.txt</Key></Object><Quiet>false</Quiet></Delete>"
    ).encode()
    answer = ask("POST", f"/{bucket}?delete", body, Content_Type="application/xml")
    if endpoint == "aws":
        assert (answer.status, answer.code) == (400, "InvalidRequest")
        return
    assert (answer.status, answer.root.tag) == (200, "DeleteResult")
    assert {key.text for key in answer.root.findall("Deleted/Key")} == {"temp.txt", "temp2.txt"}
    assert listed(ask, bucket) == ["foo.txt"]


def test_list_objects(ask, put, bucket):
    put("test.txt")
    root = ask("GET", f"/{bucket}").root
    assert root.tag == "ListBucketResult"
    assert root.findtext("Contents/Key") == "test.txt"
    assert root.findtext("Contents/Size") == "27040"
    assert DATE.fullmatch(root.findtext("Contents/LastModified"))
    for name, value in (
        ("Marker", ""),
        ("Prefix", ""),
        ("IsTruncated", "false"),
        ("Name", bucket),
        ("MaxKeys", "1000"),
    ):
        assert root.findtext(name) == value


def test_list_objects_v2(ask, put, bucket):
    put("test.txt")
    put("test_copy.txt")
    root = ask("GET", f"/{bucket}?list-type=2").root
    assert root.tag == "ListBucketResult"
    assert [key.text for key in root.findall("Contents/Key")] == ["test.txt", "test_copy.txt"]
    assert (root.findtext("KeyCount"), root.findtext("IsTruncated")) == ("2", "false")


def test_every_sub_directory_is_a_folder_of_0_bytes(ask, put, bucket, endpoint):
    put("sub/directory/test.txt")
    root = ask("GET", f"/{bucket}?list-type=2").root
    sizes = [(row.findtext("Key"), row.findtext("Size")) for row in root.findall("Contents")]
    folders = [("sub/", "0"), ("sub/directory/", "0")] if endpoint == "alluxio" else []
    assert sizes == [*folders, ("sub/directory/test.txt", "27040")]


# --- multipart uploads ------------------------------------------------------------------------


def test_create_multipart_upload_and_list_them(ask, bucket):
    answer = ask("POST", f"/{bucket}/multipart.txt?uploads")
    assert (answer.status, answer.root.tag) == (200, "InitiateMultipartUploadResult")
    assert answer.root.findtext("Bucket") == bucket
    assert answer.root.findtext("Key") == "multipart.txt"
    upload = answer.root.findtext("UploadId")
    others = {begin(ask, bucket, "object"), begin(ask, bucket, "object")}
    uploads = ask("GET", f"/{bucket}?uploads").root
    assert (uploads.tag, uploads.findtext("Bucket")) == ("ListMultipartUploadsResult", bucket)
    rows = [(row.findtext("Key"), row.findtext("UploadId")) for row in uploads.findall("Upload")]
    assert rows[0] == ("multipart.txt", upload)
    assert set(rows[1:]) == {("object", other) for other in others}
    assert all(DATE.fullmatch(row.findtext("Initiated")) for row in uploads.findall("Upload"))


def test_upload_part_and_list_parts(ask, bucket):
    upload = begin(ask, bucket)
    answer = ask("PUT", f"/{bucket}/multipart.txt?uploadId={upload}&partNumber=1", LICENSE)
    assert (answer.status, answer.headers["etag"]) == (200, f'"{MD5}"')
    root = ask("GET", f"/{bucket}/multipart.txt?uploadId={upload}").root
    assert root.tag == "ListPartsResult"
    assert root.findtext("Key") == "multipart.txt"
    assert root.findtext("UploadId") == upload
    assert root.findtext("StorageClass") == "STANDARD"
    assert root.findtext("IsTruncated") == "false"
    part = root.find("Part")
    assert (part.findtext("PartNumber"), part.findtext("Size")) == ("1", "27040")
    assert part.findtext("ETag") == f'"{MD5}"'
    assert DATE.fullmatch(part.findtext("LastModified"))
    assert listed(ask, bucket) == []


def test_upload_part_copy(ask, put, bucket):
    put("object")
    upload = begin(ask, bucket, "object")
    target = f"/{bucket}/object?uploadId={upload}&partNumber=1"
    answer = ask("PUT", target, x_amz_copy_source=f"{bucket}/object")
    assert (answer.status, answer.root.tag) == (200, "CopyPartResult")
    assert answer.root.findtext("ETag") == f'"{MD5}"'


def test_complete_multipart_upload(ask, bucket, endpoint, gateway):
    upload = begin(ask, bucket)
    target = f"/{bucket}/multipart.txt?uploadId={upload}"
    etag = ask("PUT", f"{target}&partNumber=1", LICENSE).headers["etag"]
    # The page's sample gives no ETags; S3 needs them.
    given = "" if endpoint == "alluxio" else f"<ETag>{etag}</ETag>"
    body = (
        f'<CompleteMultipartUpload xmlns="{NAMESPACE}"><Part><PartNumber>1</PartNumber>{given}'
        "</Part></CompleteMultipartUpload>"
    ).encode()
    answer = ask("POST", target, body, Content_Type="application/xml")
    assert (answer.status, answer.root.tag) == (200, "CompleteMultipartUploadResult")
    path = f"/{bucket}/multipart.txt"
    url = f"{gateway.url}{path}"
    assert answer.root.findtext("Location") == (path if endpoint == "alluxio" else url)
    assert answer.root.findtext("Bucket") == bucket
    assert answer.root.findtext("Key") == "multipart.txt"
    whole = hashlib.md5(bytes.fromhex(MD5)).hexdigest()
    assert answer.root.findtext("ETag") == f'"{whole}-1"'
    head = ask("HEAD", path)
    assert (head.status, head.headers["content-length"]) == (200, "27040")


def test_abort_multipart_upload(ask, put, bucket):
    put("test.txt")
    upload = begin(ask, bucket)
    ask("PUT", f"/{bucket}/multipart.txt?uploadId={upload}&partNumber=1", LICENSE)
    answer = ask("DELETE", f"/{bucket}/multipart.txt?uploadId={upload}")
    assert (answer.status, answer.body) == (204, b"")
    assert ask("GET", f"/{bucket}?uploads").root.findall("Upload") == []
    assert listed(ask, bucket) == ["test.txt"]


# --- who is asking ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "AWS4-HMAC-SHA256 Credential=testuser/..., SignedHeaders=..., Signature=...",
        "AWS4-HMAC-SHA256 Credential=testuser/... SignedHeaders=... Signature=...",
        "AWS testuser:signature",
    ],
)
def test_the_header_only_names_a_user(ask, header):
    assert ask("GET", "/", Authorization=header).root.findtext("Owner/ID") == "testuser"


def test_without_a_header_the_launcher_asks(ask, gateway):
    owner = ask("GET", "/", Authorization=None).root.findtext("Owner/ID")
    assert owner == gateway.forebay.launch_user
