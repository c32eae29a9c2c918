"""CopyObject; UploadPartCopy is with the uploads."""

import base64
import hashlib
import zlib
from email.utils import formatdate

import pytest

BODY = b"to be copied" * 1000
KEEP = {"Content-Type": "text/x", "x-amz-meta-a": "1", "x-amz-tagging": "t=1"}


@pytest.fixture
def source(s3):
    s3.ok("PUT", "/bucket/source", BODY, **KEEP)
    return s3


def test_a_copy_takes_everything_along(source):
    answer = source.ok("PUT", "/bucket/target", x_amz_copy_source="/bucket/source")
    assert answer.root.tag == "CopyObjectResult"
    assert answer.text("ETag") == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert answer.text("LastModified").endswith("Z")
    assert answer.headers["x-forebay-write-type"] == "CACHE_THROUGH"
    copy = source.ok("GET", "/bucket/target")
    assert copy.body == BODY
    assert copy.headers["content-type"] == "text/x"
    assert copy.headers["x-amz-meta-a"] == "1"
    assert copy.headers["x-amz-tagging-count"] == "1"


def test_replacing_metadata_and_tags(source):
    source.ok(
        "PUT",
        "/bucket/target",
        x_amz_copy_source="bucket/source",
        x_amz_metadata_directive="REPLACE",
        x_amz_meta_b="2",
    )
    headers = source.ok("HEAD", "/bucket/target").headers
    assert "x-amz-meta-a" not in headers
    assert headers["x-amz-meta-b"] == "2"
    assert headers["content-type"] == "binary/octet-stream"
    assert headers["x-amz-tagging-count"] == "1"
    source.ok(
        "PUT",
        "/bucket/target",
        x_amz_copy_source="bucket/source",
        x_amz_tagging_directive="REPLACE",
    )
    headers = source.ok("HEAD", "/bucket/target").headers
    assert headers["x-amz-meta-a"] == "1"
    assert "x-amz-tagging-count" not in headers


def test_a_copy_onto_itself_has_to_change_something(source):
    answer = source("PUT", "/bucket/source", x_amz_copy_source="bucket/source")
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    source.ok(
        "PUT",
        "/bucket/source",
        x_amz_copy_source="bucket/source",
        x_amz_metadata_directive="REPLACE",
        x_amz_meta_new="1",
    )
    after = source.ok("GET", "/bucket/source")
    assert (after.body, after.headers["x-amz-meta-new"]) == (BODY, "1")


def test_a_copy_within_a_sub_directory_bucket_is_seen_as_onto_itself(source):
    source.ok("PUT", "/bucket/a/k", b"x")
    assert source("PUT", "/bucket:a/k", x_amz_copy_source="bucket/a/k").code == "InvalidRequest"
    source.ok("PUT", "/bucket:a/l", x_amz_copy_source="bucket%3Aa/k")
    assert source.ok("GET", "/bucket/a/l").body == b"x"


def test_checksums_of_copies(source):
    answer = source.ok(
        "PUT",
        "/bucket/target",
        x_amz_copy_source="bucket/source",
        x_amz_checksum_algorithm="SHA256",
    )
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    assert answer.text("ChecksumSHA256") == digest
    assert answer.text("ChecksumType") == "FULL_OBJECT"
    source.ok("PUT", "/bucket/third", x_amz_copy_source="bucket/target")
    head = source.ok("HEAD", "/bucket/third", x_amz_checksum_mode="ENABLED")
    assert head.headers["x-amz-checksum-sha256"] == digest
    crc = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
    changed = source.ok(
        "PUT",
        "/bucket/target",
        x_amz_copy_source="bucket/target",
        x_amz_checksum_algorithm="CRC32",
    )
    assert changed.text("ChecksumCRC32") == crc
    bad = source(
        "PUT", "/bucket/t", x_amz_copy_source="bucket/source", x_amz_checksum_algorithm="MD4"
    )
    assert bad.code == "InvalidRequest"


def test_conditions_on_the_source(source):
    etag = source.ok("HEAD", "/bucket/source").headers["etag"]
    past, future = formatdate(1, usegmt=True), formatdate(4e9, usegmt=True)
    for status, name, value in (
        (200, "if-match", etag),
        (412, "if-match", '"x"'),
        (412, "if-none-match", etag),
        (200, "if-none-match", '"x"'),
        (412, "if-unmodified-since", past),
        (200, "if-unmodified-since", future),
        (412, "if-modified-since", future),
        (200, "if-modified-since", past),
    ):
        answer = source(
            "PUT",
            "/bucket/target",
            **{"x-amz-copy-source": "bucket/source", f"x-amz-copy-source-{name}": value},
        )
        assert answer.status == status, (name, value)


def test_conditions_on_the_target(source):
    source.ok("PUT", "/bucket/target", x_amz_copy_source="bucket/source", If_None_Match="*")
    again = source("PUT", "/bucket/target", x_amz_copy_source="bucket/source", If_None_Match="*")
    assert (again.status, again.code) == (412, "PreconditionFailed")


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ("", 400, "InvalidArgument"),
        ("/", 400, "InvalidArgument"),
        ("bucket", 400, "InvalidArgument"),
        ("bucket/%zz", 400, "InvalidArgument"),
        ("bucket/none", 404, "NoSuchKey"),
        ("absent/key", 404, "NoSuchBucket"),
        ("bucket/source?versionId=x", 404, "NoSuchVersion"),
    ],
)
def test_sources_that_cannot_be(source, given, status, code):
    answer = source("PUT", "/bucket/target", x_amz_copy_source=given)
    assert (answer.status, answer.code) == (status, code)
    assert source("HEAD", "/bucket/target").status == 404


def test_the_null_version_can_be_the_source(source):
    source.ok("PUT", "/bucket/t", x_amz_copy_source="bucket/source?versionId=null")
    assert source.ok("GET", "/bucket/t").body == BODY


def test_a_copy_source_is_decoded_once(source):
    source.ok("PUT", "/bucket/a%2520b+c", b"odd")
    source.ok("PUT", "/bucket/t", x_amz_copy_source="bucket/a%2520b+c")
    assert source.ok("GET", "/bucket/t").body == b"odd"


def test_an_unknown_directive_is_refused(source):
    for name in ("x-amz-metadata-directive", "x-amz-tagging-directive"):
        answer = source("PUT", "/bucket/t", **{"x-amz-copy-source": "bucket/source", name: "MAYBE"})
        assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_the_sources_expected_owner_is_held_to(source):
    answer = source(
        "PUT",
        "/bucket/t",
        x_amz_copy_source="bucket/source",
        x_amz_source_expected_bucket_owner="bob",
    )
    assert answer.status == 403
