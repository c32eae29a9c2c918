"""Single objects, over the wire."""

import hashlib
import http.client
import io
import os
import threading
import urllib.request

import pytest

pytestmark = pytest.mark.parametrize("root", ["memory", "file"])

BODY = os.urandom(3 << 20)


def read(s3, bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


@pytest.mark.parametrize("size", [0, 1, 4096, 16385, 65536, 65537, 3 << 20])
@pytest.mark.parametrize("write_type", ["CACHE_THROUGH", "MUST_CACHE", "ASYNC_THROUGH", "THROUGH"])
def test_bodies(wire, bucket, size, write_type):
    answer = wire("PUT", f"/{bucket}/key", BODY[:size], x_forebay_write_type=write_type)
    assert answer.status == 200
    assert answer.headers["etag"] == f'"{hashlib.md5(BODY[:size]).hexdigest()}"'
    assert answer.headers["x-forebay-write-type"] == write_type
    got = wire("GET", f"/{bucket}/key")
    assert (got.status, got.headers["content-length"]) == (200, str(size))
    assert got.body == BODY[:size]
    head = wire("HEAD", f"/{bucket}/key")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(size), b"")


def test_attributes_come_back(s3, bucket):
    s3.put_object(
        Bucket=bucket,
        Key="key",
        Body=b"x",
        ContentType="text/css",
        ContentEncoding="gzip",
        ContentDisposition="inline",
        ContentLanguage="de",
        CacheControl="max-age=3",
        Expires="2033-12-01",
        Metadata={"One": "1", "two": "second value"},
        Tagging="a=1&b=2",
    )
    got = s3.get_object(Bucket=bucket, Key="key")
    assert got["ContentType"] == "text/css"
    assert got["ContentEncoding"] == "gzip"
    assert got["ContentDisposition"] == "inline"
    assert got["ContentLanguage"] == "de"
    assert got["CacheControl"] == "max-age=3"
    assert got["ExpiresString"] == "Thu, 01 Dec 2033 00:00:00 GMT"
    assert got["Metadata"] == {"one": "1", "two": "second value"}
    assert got["TagCount"] == 2


@pytest.mark.parametrize(
    "key",
    [
        "a b",
        "a+b",
        "a%2Fb",
        "ümlaut/€/🙂",
        "x//y",
        "/x",
        "x/",
        "..",
        "../up",
        "a/./b",
        "a/../b",
        "'\"<&>",
        "a\\b",
        "~tilde:colon;semi,comma=equals@at!bang*star(paren)",
        "k" * 1024,
        "/".join(["deep"] * 200),
    ],
)
def test_any_key(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert read(s3, bucket, key) == key.encode()
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_key_a_folder_and_what_is_below_it_are_three_objects(s3, bucket):
    for key in ("a", "a/", "a/b"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in ("a", "a/", "a/b"):
        assert read(s3, bucket, key) == key.encode()
    s3.delete_object(Bucket=bucket, Key="a/")
    assert read(s3, bucket, "a/b") == b"a/b"
    assert read(s3, bucket, "a") == b"a"


def test_keys_that_are_too_long(s3, bucket, refused):
    with refused("KeyTooLongError", 400):
        s3.put_object(Bucket=bucket, Key="k" * 1025, Body=b"")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=100000-", 100000, 3 << 20),
        ("bytes=-7", (3 << 20) - 7, 3 << 20),
        ("bytes=0-99999999", 0, 3 << 20),
        ("bytes=1048575-2097153", 1048575, 2097154),
    ],
)
def test_ranges(s3, bucket, asked, start, stop):
    s3.put_object(Bucket=bucket, Key="key", Body=BODY)
    got = s3.get_object(Bucket=bucket, Key="key", Range=asked)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {start}-{stop - 1}/{len(BODY)}"
    assert got["Body"].read() == BODY[start:stop]


def test_a_range_beyond_the_end(s3, bucket, refused):
    s3.put_object(Bucket=bucket, Key="key", Body=b"short")
    with refused("InvalidRange", 416):
        s3.get_object(Bucket=bucket, Key="key", Range="bytes=5-")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums(s3, bucket, algorithm):
    made = s3.put_object(Bucket=bucket, Key="key", Body=BODY, ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="key", ChecksumMode="ENABLED")
    assert got[f"Checksum{algorithm}"] == made[f"Checksum{algorithm}"]
    assert got["ChecksumType"] == "FULL_OBJECT"
    assert got["Body"].read() == BODY


def test_a_stream_of_unknown_length(wire, bucket):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b"hello ", b"world"))
    answer = wire(
        "PUT",
        f"/{bucket}/key",
        chunks + b"0\r\n\r\n",
        **{"Content-Length": None, "Transfer-Encoding": "chunked"},
    )
    assert answer.status == 200
    assert wire("GET", f"/{bucket}/key").body == b"hello world"


def test_uploads_and_downloads_by_the_transfer_library(s3, bucket):
    from boto3.s3.transfer import TransferConfig

    body = os.urandom(12 << 20)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.upload_fileobj(io.BytesIO(body), bucket, "key", Config=config)
    into = io.BytesIO()
    s3.download_fileobj(bucket, "key", into, Config=config)
    assert into.getvalue() == body
    assert s3.head_object(Bucket=bucket, Key="key")["ETag"].endswith('-3"')


def test_presigned_urls(s3, bucket):
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "key"})
    request = urllib.request.Request(put, data=b"presigned", method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    get = s3.generate_presigned_url(
        "get_object",
        Params={"Bucket": bucket, "Key": "key", "ResponseContentDisposition": "attachment"},
    )
    with urllib.request.urlopen(get) as answer:
        assert answer.read() == b"presigned"
        assert answer.headers["Content-Disposition"] == "attachment"


def test_an_overwrite_is_seen_whole_or_not_at_all(s3, bucket):
    bodies = [bytes([number]) * (1 << 20) for number in range(2)]
    s3.put_object(Bucket=bucket, Key="key", Body=bodies[0])
    done = threading.Event()

    def overwrite():
        for number in range(20):
            s3.put_object(Bucket=bucket, Key="key", Body=bodies[number % 2])
        done.set()

    writer = threading.Thread(target=overwrite)
    writer.start()
    seen = 0
    while not done.is_set() or seen < 3:
        assert read(s3, bucket, "key") in bodies
        seen += 1
    writer.join()


def test_a_missing_key(s3, bucket, refused):
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=bucket, Key="none")
    with refused(404, 404):
        s3.head_object(Bucket=bucket, Key="none")
    with refused("NoSuchBucket", 404):
        s3.get_object(Bucket="absent", Key="none")


def test_attributes_of_objects(s3, bucket):
    s3.put_object(Bucket=bucket, Key="key", Body=b"four", ChecksumAlgorithm="SHA256")
    got = s3.get_object_attributes(
        Bucket=bucket,
        Key="key",
        ObjectAttributes=["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"],
    )
    assert got["ObjectSize"] == 4
    assert got["StorageClass"] == "STANDARD"
    assert got["ETag"] == hashlib.md5(b"four").hexdigest()
    assert got["Checksum"]["ChecksumType"] == "FULL_OBJECT"
    assert "ObjectParts" not in got


def test_the_connection_is_kept(s3, bucket, gateway, user):
    s3.put_object(Bucket=bucket, Key="key", Body=BODY)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
    signed = {"Authorization": f"AWS {user}:x"}
    for method, target, status, body in (
        ("GET", f"/{bucket}/key", 200, BODY),
        ("HEAD", f"/{bucket}/key", 200, b""),
        ("HEAD", f"/{bucket}/none", 404, b""),
        ("GET", f"/{bucket}/none", 404, None),
        ("DELETE", f"/{bucket}/none", 204, b""),
        ("GET", f"/{bucket}/key", 200, BODY),
    ):
        connection.request(method, target, headers=signed)
        answer = connection.getresponse()
        got = answer.read()
        assert (answer.status, got if body is not None else None) == (status, body)
    connection.close()
