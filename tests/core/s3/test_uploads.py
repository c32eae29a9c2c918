"""Multipart uploads."""

import base64
import hashlib
import threading
import zlib

import pytest

from forebay.errors import ServiceUnavailable
from forebay.properties import Properties

PART = b"0123456789abcdef" * (5 << 16)
LAST = b"the end"


def begin(s3, target="/bucket/key", **headers):
    return s3.ok("POST", f"{target}?uploads", **headers).text("UploadId")


def put(s3, upload, number, body, target="/bucket/key", **headers):
    return s3.ok("PUT", f"{target}?partNumber={number}&uploadId={upload}", body, **headers)


def listed(*parts):
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber>"
        + (f"<ETag>{etag}</ETag>" if etag is not None else "")
        + "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
        + "</Part>"
        for number, etag, more in ((*part, {}) if len(part) == 2 else part for part in parts)
    )
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


def complete(s3, upload, *parts, target="/bucket/key", **headers):
    return s3("POST", f"{target}?uploadId={upload}", listed(*parts), **headers)


def b64(value, size=4):
    return base64.b64encode(value.to_bytes(size, "big")).decode()


@pytest.fixture
def upload(s3):
    return begin(s3)


def test_the_whole_way(s3):
    begun = s3.ok(
        "POST",
        "/bucket/key?uploads",
        Content_Type="text/x",
        x_amz_meta_a="1",
        x_amz_tagging="t=1",
        x_forebay_write_type="MUST_CACHE",
    )
    assert begun.root.tag == "InitiateMultipartUploadResult"
    assert (begun.text("Bucket"), begun.text("Key")) == ("bucket", "key")
    assert begun.headers["x-forebay-write-type"] == "MUST_CACHE"
    upload = begun.text("UploadId")
    two = put(s3, upload, 2, LAST).headers["etag"]
    one = put(s3, upload, 1, PART).headers["etag"]
    assert one == f'"{hashlib.md5(PART).hexdigest()}"'
    assert s3("HEAD", "/bucket/key").status == 404
    assert s3.ok("GET", "/bucket").texts("Contents/Key") == []
    done = complete(s3, upload, (1, one), (2, two))
    assert (done.status, done.root.tag) == (200, "CompleteMultipartUploadResult")
    digests = hashlib.md5(PART).digest() + hashlib.md5(LAST).digest()
    assert done.text("ETag") == f'"{hashlib.md5(digests).hexdigest()}-2"'
    assert done.text("Location") == "http://falconframework.org/bucket/key"
    assert done.headers["x-forebay-write-type"] == "MUST_CACHE"
    got = s3.ok("GET", "/bucket/key")
    assert got.body == PART + LAST
    assert got.headers["content-type"] == "text/x"
    assert got.headers["x-amz-meta-a"] == "1"
    assert got.headers["x-amz-tagging-count"] == "1"
    assert got.headers["etag"] == done.text("ETag")


@pytest.mark.parametrize("write_type", ["CACHE_THROUGH", "ASYNC_THROUGH", "THROUGH"])
def test_every_write_type(s3, write_type):
    upload = begin(s3, x_forebay_write_type=write_type)
    parts = [(n, put(s3, upload, n, PART if n == 1 else LAST).headers["etag"]) for n in (1, 2)]
    done = complete(s3, upload, *parts)
    assert done.headers["x-forebay-write-type"] == write_type
    assert s3.ok("GET", "/bucket/key").body == PART + LAST


def test_parts_of_a_finished_object(s3, upload):
    etags = [(n, put(s3, upload, n, PART if n < 3 else LAST).headers["etag"]) for n in (1, 2, 3)]
    complete(s3, upload, *etags)
    answer = s3.ok("GET", "/bucket/key?partNumber=3")
    assert (answer.status, answer.body) == (206, LAST)
    size = 2 * len(PART) + len(LAST)
    assert answer.headers["content-range"] == f"bytes {2 * len(PART)}-{size - 1}/{size}"
    assert answer.headers["x-amz-mp-parts-count"] == "3"
    head = s3.ok("HEAD", "/bucket/key?partNumber=1")
    assert (head.status, head.headers["content-length"]) == (206, str(len(PART)))
    beyond = s3("GET", "/bucket/key?partNumber=4")
    assert (beyond.status, beyond.code) == (416, "InvalidPartNumber")


def test_a_completion_sent_twice_gives_the_same_answer(s3, upload):
    etag = put(s3, upload, 1, LAST).headers["etag"]
    first = complete(s3, upload, (1, etag))
    second = complete(s3, upload, (1, etag))
    assert (first.status, second.status) == (200, 200)
    assert first.text("ETag") == second.text("ETag")
    assert complete(s3, upload, (1, etag), (2, etag)).code == "NoSuchUpload"


def test_the_alluxio_endpoint_needs_no_etags_and_gives_a_path(s3, upload):
    put(s3, upload, 1, LAST)
    done = complete(s3, upload, (1, None), target="/api/v1/s3/bucket/key")
    assert done.status == 200
    assert done.text("Location") == "/bucket/key"
    assert complete(s3, begin(s3), (1, None)).code == "MalformedXML"


def test_completions_that_cannot_be(s3, upload):
    one = put(s3, upload, 1, LAST).headers["etag"]
    two = put(s3, upload, 2, LAST).headers["etag"]
    for code, parts in (
        ("InvalidPartOrder", [(2, two), (1, one)]),
        ("InvalidPartOrder", [(1, one), (1, one)]),
        ("InvalidPart", [(1, '"x"')]),
        ("InvalidPart", [(3, one)]),
        ("EntityTooSmall", [(1, one), (2, two)]),
        ("MalformedXML", []),
        ("InvalidArgument", [(0, one)]),
        ("InvalidArgument", [(10001, one)]),
        ("MalformedXML", [("x", one)]),
    ):
        answer = complete(s3, upload, *parts)
        assert (answer.status, answer.code) == (400, code)
    assert s3("POST", f"/bucket/key?uploadId={upload}").code == "InvalidRequest"
    assert s3("POST", f"/bucket/key?uploadId={upload}", b"<x/>").code == "MalformedXML"
    big = b"<CompleteMultipartUpload>" + b" " * (3 << 20) + b"</CompleteMultipartUpload>"
    too_big = s3("POST", f"/bucket/key?uploadId={upload}", big)
    assert (too_big.status, too_big.code) == (400, "MaxMessageLengthExceeded")
    assert s3("HEAD", "/bucket/key").status == 404
    assert complete(s3, upload, (1, one)).status == 200


def test_conditions_of_completions(s3):
    s3.ok("PUT", "/bucket/key", b"there")
    upload = begin(s3)
    etag = put(s3, upload, 1, LAST).headers["etag"]
    taken = complete(s3, upload, (1, etag), If_None_Match="*")
    assert (taken.status, taken.code) == (412, "PreconditionFailed")
    assert complete(s3, upload, (1, etag), If_None_Match='"x"').status == 501
    current = s3.ok("HEAD", "/bucket/key").headers["etag"]
    assert complete(s3, upload, (1, etag), If_Match=current).status == 200


def test_the_size_of_the_whole_is_held_to(s3, upload):
    etag = put(s3, upload, 1, LAST).headers["etag"]
    wrong = complete(s3, upload, (1, etag), x_amz_mp_object_size="8")
    assert (wrong.status, wrong.code) == (400, "InvalidRequest")
    assert complete(s3, upload, (1, etag), x_amz_mp_object_size="x").code == "InvalidRequest"
    assert complete(s3, upload, (1, etag), x_amz_mp_object_size="7").status == 200


@pytest.mark.parametrize("bad", ["../../x", "x", "0" * 32, "A" * 9000, "%E2%82%AC"])
def test_uploads_that_are_not(s3, upload, bad):
    target = f"/bucket/key?uploadId={bad}"
    assert s3("GET", target).code == "NoSuchUpload"
    assert s3("DELETE", target).code == "NoSuchUpload"
    assert s3("PUT", f"{target}&partNumber=1", b"x").code == "NoSuchUpload"
    assert s3("POST", target, listed((1, '"x"'))).code == "NoSuchUpload"
    assert s3("GET", f"/bucket/other?uploadId={upload}").code == "NoSuchUpload"


@pytest.mark.parametrize("number", ["0", "10001", "x", "-1", ""])
def test_part_numbers_that_cannot_be(s3, upload, number):
    answer = s3("PUT", f"/bucket/key?partNumber={number}&uploadId={upload}", b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    missing = s3("PUT", f"/bucket/key?uploadId={upload}", b"x")
    assert missing.code == "InvalidArgument"


def test_abort(s3, upload):
    put(s3, upload, 1, LAST)
    answer = s3.ok("DELETE", f"/bucket/key?uploadId={upload}")
    assert (answer.status, answer.body) == (204, b"")
    assert s3("GET", f"/bucket/key?uploadId={upload}").code == "NoSuchUpload"
    assert s3("DELETE", f"/bucket/key?uploadId={upload}").code == "NoSuchUpload"


# --- checksums ------------------------------------------------------------------------------


def test_a_composite_checksum(s3):
    begun = s3.ok("POST", "/bucket/key?uploads", x_amz_checksum_algorithm="CRC32")
    assert begun.headers["x-amz-checksum-algorithm"] == "CRC32"
    assert begun.headers["x-amz-checksum-type"] == "COMPOSITE"
    upload = begun.text("UploadId")
    sums = [zlib.crc32(PART), zlib.crc32(LAST)]
    etags = []
    for number, body in ((1, PART), (2, LAST)):
        sent = b64(sums[number - 1])
        answer = put(s3, upload, number, body, x_amz_checksum_crc32=sent)
        assert answer.headers["x-amz-checksum-crc32"] == sent
        etags.append((number, answer.headers["etag"], {"ChecksumCRC32": sent}))
    whole = b64(zlib.crc32(b"".join(value.to_bytes(4, "big") for value in sums))) + "-2"
    done = complete(s3, upload, *etags)
    assert (done.text("ChecksumCRC32"), done.text("ChecksumType")) == (whole, "COMPOSITE")
    got = s3.ok("HEAD", "/bucket/key", x_amz_checksum_mode="ENABLED")
    assert got.headers["x-amz-checksum-crc32"] == whole
    part = s3.ok("GET", "/bucket/key?partNumber=2", x_amz_checksum_mode="ENABLED")
    assert part.headers["x-amz-checksum-crc32"] == b64(sums[1])


def test_a_checksum_of_the_full_object(s3):
    upload = begin(s3, x_amz_checksum_algorithm="CRC32", x_amz_checksum_type="FULL_OBJECT")
    parts = [
        (n, put(s3, upload, n, body, x_amz_checksum_crc32=b64(zlib.crc32(body))).headers["etag"])
        for n, body in ((1, PART), (2, LAST))
    ]
    whole = b64(zlib.crc32(PART + LAST))
    wrong = complete(s3, upload, *parts, x_amz_checksum_crc32=b64(1))
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    done = complete(
        s3, upload, *parts, x_amz_checksum_crc32=whole, x_amz_checksum_type="FULL_OBJECT"
    )
    assert (done.text("ChecksumCRC32"), done.text("ChecksumType")) == (whole, "FULL_OBJECT")


def test_checksums_that_cannot_be(s3):
    for headers in (
        {"x_amz_checksum_algorithm": "MD4"},
        {"x_amz_checksum_type": "FULL_OBJECT"},
        {"x_amz_checksum_algorithm": "SHA1", "x_amz_checksum_type": "FULL_OBJECT"},
        {"x_amz_checksum_algorithm": "CRC64NVME", "x_amz_checksum_type": "COMPOSITE"},
    ):
        assert s3("POST", "/bucket/key?uploads", **headers).code == "InvalidRequest"
    upload = begin(s3, x_amz_checksum_algorithm="SHA1")
    target = f"/bucket/key?partNumber=1&uploadId={upload}"
    other = s3("PUT", target, LAST, x_amz_checksum_crc32=b64(zlib.crc32(LAST)))
    assert (other.status, other.code) == (400, "InvalidRequest")
    wrong = s3("PUT", target, LAST, x_amz_checksum_sha1=base64.b64encode(bytes(20)).decode())
    assert (wrong.status, wrong.code) == (400, "BadDigest")


# --- copies ---------------------------------------------------------------------------------


def test_a_part_can_be_a_copy(s3, upload):
    s3.ok("PUT", "/bucket/source", PART)
    target = f"/bucket/key?partNumber={{}}&uploadId={upload}"
    one = s3.ok("PUT", target.format(1), x_amz_copy_source="bucket/source")
    assert one.root.tag == "CopyPartResult"
    assert one.text("ETag") == f'"{hashlib.md5(PART).hexdigest()}"'
    two = s3.ok(
        "PUT",
        target.format(2),
        x_amz_copy_source="bucket/source",
        x_amz_copy_source_range="bytes=3-9",
    )
    assert complete(s3, upload, (1, one.text("ETag")), (2, two.text("ETag"))).status == 200
    assert s3.ok("GET", "/bucket/key").body == PART + PART[3:10]
    for bad, code in (
        ("bytes=3-", "InvalidArgument"),
        ("x", "InvalidArgument"),
        (f"bytes=0-{len(PART)}", "InvalidRange"),
    ):
        answer = s3(
            "PUT",
            f"/bucket/key?partNumber=1&uploadId={begin(s3)}",
            x_amz_copy_source="bucket/source",
            x_amz_copy_source_range=bad,
        )
        assert answer.code == code


def test_a_copied_part_has_the_uploads_checksum(s3):
    s3.ok("PUT", "/bucket/source", LAST)
    upload = begin(s3, x_amz_checksum_algorithm="CRC32")
    answer = s3.ok(
        "PUT",
        f"/bucket/key?partNumber=1&uploadId={upload}",
        x_amz_copy_source="bucket/source",
        x_amz_copy_source_if_match=f'"{hashlib.md5(LAST).hexdigest()}"',
    )
    assert answer.text("ChecksumCRC32") == b64(zlib.crc32(LAST))


# --- listings ---------------------------------------------------------------------------------


def test_list_parts(s3, upload):
    for number in (1, 3, 5):
        put(s3, upload, number, LAST)
    put(s3, upload, 3, b"replaced")
    answer = s3.ok("GET", f"/bucket/key?uploadId={upload}")
    assert answer.root.tag == "ListPartsResult"
    assert answer.texts("Part/PartNumber") == ["1", "3", "5"]
    assert answer.texts("Part/Size") == ["7", "8", "7"]
    assert answer.texts("Part/ETag")[1] == f'"{hashlib.md5(b"replaced").hexdigest()}"'
    assert (answer.text("Initiator/ID"), answer.text("Owner/ID")) == ("alice", "alice")
    assert answer.text("StorageClass") == "STANDARD"
    page = s3.ok("GET", f"/bucket/key?uploadId={upload}&max-parts=2")
    assert page.texts("Part/PartNumber") == ["1", "3"]
    assert (page.text("IsTruncated"), page.text("NextPartNumberMarker")) == ("true", "3")
    rest = s3.ok("GET", f"/bucket/key?uploadId={upload}&part-number-marker=3")
    assert (rest.texts("Part/PartNumber"), rest.text("IsTruncated")) == (["5"], "false")
    none = s3.ok("GET", f"/bucket/key?uploadId={upload}&max-parts=0")
    assert (none.texts("Part"), none.text("IsTruncated")) == ([], "false")
    assert s3("GET", f"/bucket/key?uploadId={upload}&max-parts=x").code == "InvalidArgument"


def test_list_uploads(s3):
    ids = {key: begin(s3, f"/bucket/{key}") for key in ("a+", "b/1", "b/2", "c")}
    answer = s3.ok("GET", "/bucket?uploads")
    assert answer.root.tag == "ListMultipartUploadsResult"
    assert answer.texts("Upload/Key") == ["a+", "b/1", "b/2", "c"]
    assert answer.texts("Upload/UploadId") == list(ids.values())
    assert answer.texts("Upload/Initiated")[0].endswith("Z")
    rolled = s3.ok("GET", "/bucket?uploads&delimiter=/&encoding-type=url")
    assert rolled.texts("Upload/Key") == ["a%2B", "c"]
    assert rolled.texts("CommonPrefixes/Prefix") == ["b/"]
    seen, marker = [], ""
    for _ in range(4):
        page = s3.ok("GET", f"/bucket?uploads&max-uploads=1{marker}")
        seen += page.texts("Upload/Key")
        marker = (
            f"&key-marker={page.text('NextKeyMarker').replace('+', '%2B')}"
            f"&upload-id-marker={page.text('NextUploadIdMarker')}"
            if page.text("IsTruncated") == "true"
            else ""
        )
    assert (seen, marker) == (["a+", "b/1", "b/2", "c"], "")
    inner = s3.ok("GET", "/bucket:b?uploads")
    assert (inner.text("Bucket"), inner.texts("Upload/Key")) == ("bucket:b", ["1", "2"])


# --- keeping a slow completion alive -----------------------------------------------------------


@pytest.fixture
def slow(make):
    """An endpoint whose completions wait for an event; blanks come every 20 ms."""
    s3 = make(properties=Properties(complete_keepalive_interval=0.02))
    s3.ok("PUT", "/bucket")
    finish = threading.Event()
    complete_now = s3.forebay.uploads.complete

    def complete_late(*args, **kwargs):
        assert finish.wait(10)
        return complete_now(*args, **kwargs)

    s3.forebay.uploads.complete = complete_late
    return s3, finish


def test_blanks_keep_a_slow_completion_alive(slow):
    s3, finish = slow
    upload = begin(s3)
    etag = put(s3, upload, 1, LAST).headers["etag"]
    threading.Timer(0.2, finish.set).start()
    done = complete(s3, upload, (1, etag))
    assert done.status == 200
    assert "content-length" not in done.headers
    assert done.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n  ')
    assert done.text("Key") == "key"
    assert s3.ok("GET", "/bucket/key").body == LAST


def test_a_late_error_comes_inside_the_answer(slow):
    s3, finish = slow
    upload = begin(s3)
    put(s3, upload, 1, LAST)
    threading.Timer(0.2, finish.set).start()
    done = complete(s3, upload, (1, '"x"'))
    assert done.status == 200
    assert (done.root.tag, done.code) == ("Error", "InvalidPart")
    assert done.text("RequestId") == done.headers["x-amz-request-id"]


def test_an_error_in_time_has_its_status(make):
    s3 = make(properties=Properties(complete_keepalive_interval=0.0))
    s3.ok("PUT", "/bucket")

    def fail(*args, **kwargs):
        raise ServiceUnavailable

    s3.forebay.uploads.complete = fail
    answer = complete(s3, begin(s3), (1, '"x"'))
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    assert answer.headers["retry-after"] == "1"
