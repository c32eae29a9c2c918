"""Put, get, head and delete of single objects."""

import base64
import hashlib
import zlib
from email.utils import formatdate

import pytest

from forebay.properties import Properties

BODY = bytes(range(256)) * 4


def crc32(body):
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


@pytest.fixture
def stored(s3):
    s3.ok("PUT", "/bucket/key", BODY, x_amz_checksum_crc32=crc32(BODY))
    return s3


def test_a_put_tells_what_became_of_it(s3):
    answer = s3.ok("PUT", "/bucket/key", BODY, x_amz_checksum_crc32=crc32(BODY))
    assert answer.status == 200
    assert answer.headers["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert answer.headers["x-amz-checksum-crc32"] == crc32(BODY)
    assert answer.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert answer.headers["x-forebay-write-type"] == "CACHE_THROUGH"
    assert answer.headers["x-forebay-durability"] == "memory"


def test_the_write_type_can_be_asked_for(s3):
    answer = s3.ok("PUT", "/bucket/key", BODY, x_forebay_write_type="must_cache")
    assert answer.headers["x-forebay-write-type"] == "MUST_CACHE"
    assert s3.ok("GET", "/bucket/key").body == BODY
    answer = s3("PUT", "/bucket/key", b"", x_forebay_write_type="SOMETIMES")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert s3("DELETE", "/bucket/key", x_forebay_delete_type="NEVER").code == "InvalidArgument"
    assert s3.ok("GET", "/bucket/key").body == BODY


@pytest.mark.parametrize(
    "size", [0, 1, 5, 16 << 10, (16 << 10) + 1, 64 << 10, (64 << 10) + 1, 3 << 20]
)
@pytest.mark.parametrize("write_type", ["CACHE_THROUGH", "MUST_CACHE", "THROUGH"])
def test_bodies_of_every_size_come_back(s3, size, write_type):
    body = (BODY * (size // len(BODY) + 1))[:size]
    s3.ok("PUT", "/bucket/key", body, x_forebay_write_type=write_type)
    answer = s3.ok("GET", "/bucket/key")
    assert answer.body == body
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-forebay-cache"] in ("HIT", "MISS", "PARTIAL", "BYPASS")
    assert int(answer.headers["age"]) >= 0
    head = s3.ok("HEAD", "/bucket/key")
    assert head.headers["content-length"] == str(size)
    assert head.body == b""
    if size > 10:
        part = s3.ok("GET", "/bucket/key", Range=f"bytes=3-{size - 4}")
        assert part.body == body[3:-3]


def test_what_is_kept_with_an_object_comes_back(s3):
    given = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Encoding": "aws-chunked,gzip",
        "Content-Disposition": 'attachment; filename="x"',
        "Content-Language": "de",
        "Cache-Control": "no-cache",
        "Expires": "Thu, 01 Dec 2033 16:00:00 GMT",
        "x-amz-meta-Mixed-Case": "Value",
        "x-amz-tagging": "a=1&b=2",
    }
    s3.ok("PUT", "/bucket/key", BODY, **given)
    for method in ("GET", "HEAD"):
        headers = s3.ok(method, "/bucket/key").headers
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert headers["content-encoding"] == "gzip"
        assert headers["content-disposition"] == 'attachment; filename="x"'
        assert headers["content-language"] == "de"
        assert headers["cache-control"] == "no-cache"
        assert headers["expires"] == "Thu, 01 Dec 2033 16:00:00 GMT"
        assert headers["x-amz-meta-mixed-case"] == "Value"
        assert headers["x-amz-tagging-count"] == "2"


def test_the_default_type_is_the_dialects(s3):
    s3.ok("PUT", "/bucket/key", BODY)
    assert s3.ok("GET", "/bucket/key").headers["content-type"] == "binary/octet-stream"
    alluxio = s3.ok("GET", "/api/v1/s3/bucket/key")
    assert alluxio.headers["content-type"] == "application/octet-stream"


# --- ranges, parts, checksums -------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_range_is_partial_content(stored, method):
    answer = stored.ok(method, "/bucket/key", Range="bytes=10-19")
    assert answer.status == 206
    assert answer.headers["content-range"] == "bytes 10-19/1024"
    assert answer.headers["content-length"] == "10"
    assert answer.body == (BODY[10:20] if method == "GET" else b"")


@pytest.mark.parametrize("asked", ["bytes=x", "bytes=5-1", "bytes=0-1,3-4", "lines=1-2"])
def test_a_range_that_is_none_gives_the_whole(stored, asked):
    answer = stored.ok("GET", "/bucket/key", Range=asked)
    assert (answer.status, answer.body) == (200, BODY)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_beyond_the_end_cannot_be_satisfied(stored, asked):
    answer = stored("GET", "/bucket/key", Range=asked)
    assert (answer.status, answer.code) == (416, "InvalidRange")
    assert answer.headers["content-range"] == "bytes */1024"


def test_a_checksum_goes_out_only_with_the_whole_object(stored):
    mode = {"x_amz_checksum_mode": "ENABLED"}
    whole = stored.ok("GET", "/bucket/key", **mode)
    assert whole.headers["x-amz-checksum-crc32"] == crc32(BODY)
    assert whole.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert "x-amz-checksum-crc32" not in stored.ok("GET", "/bucket/key").headers
    ranged = stored.ok("GET", "/bucket/key", Range="bytes=0-1023", **mode)
    assert "x-amz-checksum-crc32" not in ranged.headers
    assert stored.ok("HEAD", "/bucket/key", **mode).headers["x-amz-checksum-crc32"] == crc32(BODY)


def test_part_numbers_of_a_plain_object(stored):
    answer = stored.ok("GET", "/bucket/key?partNumber=1", x_amz_checksum_mode="ENABLED")
    assert (answer.status, answer.body) == (206, BODY)
    assert answer.headers["content-range"] == "bytes 0-1023/1024"
    assert answer.headers["x-amz-checksum-crc32"] == crc32(BODY)
    assert "x-amz-mp-parts-count" not in answer.headers
    assert stored("GET", "/bucket/key?partNumber=2").status == 416
    for bad in ("0", "10001", "x", ""):
        assert stored("GET", f"/bucket/key?partNumber={bad}").code == "InvalidArgument"
    both = stored("GET", "/bucket/key?partNumber=1", Range="bytes=0-1")
    assert both.code == "InvalidRequest"
    stored.ok("PUT", "/bucket/empty")
    assert stored.ok("GET", "/bucket/empty?partNumber=1").status == 200


# --- conditions ---------------------------------------------------------------------------


def test_conditions_of_reads(stored):
    etag = stored.ok("HEAD", "/bucket/key").headers["etag"]
    old, future = formatdate(1, usegmt=True), formatdate(4e9, usegmt=True)
    for method in ("GET", "HEAD"):
        assert stored(method, "/bucket/key", If_Match=etag).status == 200
        assert stored(method, "/bucket/key", If_Match='"x"').status == 412
        assert stored(method, "/bucket/key", If_Unmodified_Since=old).status == 412
        same = stored(method, "/bucket/key", If_None_Match=etag)
        assert (same.status, same.body) == (304, b"")
        assert same.headers["etag"] == etag
        assert "last-modified" in same.headers
        assert stored(method, "/bucket/key", If_Modified_Since=future).status == 304
        assert stored(method, "/bucket/key", If_Modified_Since=old).status == 200


def test_conditions_of_writes(s3):
    first = s3.ok("PUT", "/bucket/key", b"1", If_None_Match="*")
    again = s3("PUT", "/bucket/key", b"2", If_None_Match="*")
    assert (again.status, again.code) == (412, "PreconditionFailed")
    s3.ok("PUT", "/bucket/key", b"3", If_Match=first.headers["etag"])
    assert s3("PUT", "/bucket/key", b"4", If_Match=first.headers["etag"]).status == 412
    assert s3("PUT", "/bucket/none", b"4", If_Match='"x"').code == "NoSuchKey"
    assert s3("PUT", "/bucket/key", b"4", If_Match="*").status == 501
    assert s3("PUT", "/bucket/key", b"4", If_None_Match='"x"').status == 501
    assert s3.ok("GET", "/bucket/key").body == b"3"


# --- overrides ----------------------------------------------------------------------------


def test_a_signed_request_can_replace_headers_of_its_answer(stored):
    answer = stored.ok(
        "GET",
        "/bucket/key?response-content-type=text/x&response-cache-control=a&response-expires=b"
        "&response-content-language=c&response-content-encoding=d"
        "&response-content-disposition=attachment%3B%20filename%3D%22%C3%BC%22",
    )
    assert answer.headers["content-type"] == "text/x"
    assert answer.headers["cache-control"] == "a"
    assert answer.headers["expires"] == "b"
    assert answer.headers["content-language"] == "c"
    assert answer.headers["content-encoding"] == "d"
    assert answer.headers["content-disposition"].encode("latin-1").decode() == (
        'attachment; filename="ü"'
    )


def test_overrides_cannot_split_an_answer_nor_come_from_nobody(stored):
    for bad in ("a%0d%0aSet-Cookie:x", "a%0ab", "a%7f"):
        answer = stored("GET", f"/bucket/key?response-content-type={bad}")
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    nobody = stored.as_user(None)
    nobody.ok("PUT", "/launchers")
    nobody.ok("PUT", "/launchers/key")
    assert nobody("GET", "/launchers/key?response-expires=x").code == "InvalidRequest"


# --- bad bodies ---------------------------------------------------------------------------


def test_a_bad_body_changes_nothing(stored):
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for code, headers in (
        ("BadDigest", {"Content-MD5": wrong}),
        ("InvalidDigest", {"Content-MD5": "x"}),
        ("XAmzContentSHA256Mismatch", {"x-amz-content-sha256": "0" * 64}),
        ("BadDigest", {"x-amz-checksum-crc32": "AAAAAA=="}),
        ("InvalidRequest", {"x-amz-checksum-crc32": "bad"}),
        ("IncompleteBody", {"Content-Length": "100"}),
        ("EntityTooLarge", {"Content-Length": str((5 << 30) + 1)}),
    ):
        answer = stored("PUT", "/bucket/key", b"body", **headers)
        assert (answer.status, answer.code) == (400, code), headers
    assert stored.ok("GET", "/bucket/key").body == BODY


def test_a_part_number_needs_an_upload(stored):
    assert stored("PUT", "/bucket/key?partNumber=1", b"x").code == "InvalidArgument"
    assert stored.ok("GET", "/bucket/key").body == BODY


# --- deletes ------------------------------------------------------------------------------


def test_deletes(stored):
    assert stored.ok("DELETE", "/bucket/none").status == 204
    assert stored("DELETE", "/bucket/key", If_Match='"x"').status == 412
    assert stored("DELETE", "/bucket/none", If_Match="*").code == "NoSuchKey"
    answer = stored.ok("DELETE", "/bucket/key", If_Match="*")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["x-forebay-delete-type"] == "ALLUXIO_AND_UFS"
    assert stored("GET", "/bucket/key").code == "NoSuchKey"


def test_the_delete_type_can_be_asked_for(stored):
    answer = stored.ok("DELETE", "/bucket/key", x_forebay_delete_type="ALLUXIO_ONLY")
    assert answer.headers["x-forebay-delete-type"] == "ALLUXIO_ONLY"
    assert stored("HEAD", "/bucket/key").status == 404


# --- folders of the Alluxio endpoint ------------------------------------------------------


def test_an_implied_folder_is_there_only_on_the_alluxio_endpoint(s3):
    s3.ok("PUT", "/bucket/a/b", BODY)
    for method in ("GET", "HEAD"):
        answer = s3.ok(method, "/api/v1/s3/bucket/a/")
        assert (answer.status, answer.headers["content-length"]) == (200, "0")
        assert s3(method, "/bucket/a/").status == 404
        assert s3(method, "/api/v1/s3/bucket/a").status == 404
        assert s3(method, "/api/v1/s3/bucket/x/").status == 404
    assert s3.ok("DELETE", "/api/v1/s3/bucket/a/").status == 204
    assert s3.ok("GET", "/bucket/a/b").body == BODY


def test_a_folder_that_was_put_is_an_object_on_both(s3):
    s3.ok("PUT", "/api/v1/s3/bucket/a/", x_amz_meta_kept="yes")
    s3.ok("PUT", "/bucket/a/b", BODY)
    assert s3.ok("HEAD", "/bucket/a/").headers["x-amz-meta-kept"] == "yes"
    assert s3.ok("HEAD", "/api/v1/s3/bucket/a/").headers["x-amz-meta-kept"] == "yes"
    s3.ok("DELETE", "/api/v1/s3/bucket/a/")
    assert s3("HEAD", "/bucket/a/").status == 404


def test_an_encryption_key_on_a_read_does_not_apply(stored):
    answer = stored("GET", "/bucket/key", x_amz_server_side_encryption_customer_algorithm="AES256")
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_metadata_limit_of_the_property(make):
    s3 = make(properties=Properties(header_metadata_max_size=10))
    s3.ok("PUT", "/bucket")
    s3.ok("PUT", "/bucket/key", x_amz_meta_a="123456789")
    answer = s3("PUT", "/bucket/key", x_amz_meta_a="1234567890")
    assert (answer.status, answer.code) == (400, "MetadataTooLarge")
    assert answer.text("MaxSizeAllowed") == "10"
    unlimited = make(properties=Properties(header_metadata_max_size=0))
    unlimited.ok("PUT", "/bucket")
    unlimited.ok("PUT", "/bucket/key", x_amz_meta_a="x" * 7000)
