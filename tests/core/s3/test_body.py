import base64
import doctest
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.checksums import ALGORITHMS
from forebay.errors import BodyError
from forebay.s3 import body as body_module
from forebay.s3.body import content_encoding_without_aws_chunked, read_body
from forebay.s3.errors import S3Error
from forebay.streams import BytesReader, ChunksReader

CONTENT = b"The quick brown fox jumps over the lazy dog"
MD5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


def checksum(name: str, content: bytes = CONTENT) -> str:
    made = ALGORITHMS[name].new()
    made.update(content)
    return made.base64()


def framed(content=CONTENT, *, signed=False, trailers=()):
    mark = b";chunk-signature=" + b"ab" * 32 if signed else b""
    chunk = b"%x%s\r\n%s\r\n" % (len(content), mark, content) if content else b""
    lines = "".join(f"{name}:{value}\r\n" for name, value in trailers).encode()
    return chunk + b"0" + mark + b"\r\n" + lines + b"\r\n"


def open_body(headers, raw=CONTENT, **kwargs):
    kwargs.setdefault("content_length", len(raw))
    kwargs.setdefault("transfer_chunked", False)
    return read_body(headers, BytesReader(raw), **kwargs)


def read_all(body, size=7):
    out = b""
    while block := body.read(size):
        out += block
    assert body.read(size) == b""
    return out


def refused(headers, raw=CONTENT, **kwargs) -> str:
    with pytest.raises(S3Error) as caught:
        open_body(headers, raw, **kwargs)
    return caught.value.code


def fault_of(body, size=7) -> str:
    with pytest.raises(BodyError) as caught:
        read_all(body, size)
    with pytest.raises(BodyError) as again:
        body.read(size)
    assert again.value is caught.value
    return caught.value.code


def trailer_headers(name="crc32", **more):
    return {
        "x-amz-content-sha256": UNSIGNED_TRAILER,
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(CONTENT)),
        "x-amz-trailer": f"x-amz-checksum-{name}",
        **more,
    }


def test_docstrings():
    assert doctest.testmod(body_module).failed == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
        {"x-amz-content-sha256": SHA256},
        {"x-amz-content-sha256": SHA256.upper()},
        {"content-md5": MD5},
        {"content-encoding": "aws-chunked"},  # a word without a framing
        {"content-encoding": "aws-chunked", "x-amz-content-sha256": SHA256},
        {"x-amz-checksum-type": "FULL_OBJECT", "x-amz-checksum-algorithm": "CRC32"},
    ],
)
def test_plain_bodies(headers):
    body = open_body(headers)
    assert body.length == len(CONTENT)
    assert read_all(body) == CONTENT
    assert body.md5 == hashlib.md5(CONTENT).hexdigest()
    assert body.checksums == {}
    assert body.algorithm == ""


@pytest.mark.parametrize("name", ALGORITHMS)
def test_checksum_headers_and_trailers(name):
    in_header = open_body(
        {f"x-amz-checksum-{name}": checksum(name), "x-amz-sdk-checksum-algorithm": name.upper()}
    )
    raw = framed(trailers=[(f"x-amz-checksum-{name}", checksum(name))])
    in_trailer = open_body(trailer_headers(name), raw)
    for body in (in_header, in_trailer):
        assert body.algorithm == name
        assert body.length == len(CONTENT)
        assert read_all(body) == CONTENT
        assert body.checksums == {name: checksum(name)}
        assert body.md5 == hashlib.md5(CONTENT).hexdigest()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_wrong_checksums(name):
    wrong = checksum(name, b"something else")
    assert fault_of(open_body({f"x-amz-checksum-{name}": wrong})) == "BadDigest"
    raw = framed(trailers=[(f"x-amz-checksum-{name}", wrong)])
    assert fault_of(open_body(trailer_headers(name), raw)) == "BadDigest"


@given(
    content=st.binary(max_size=200),
    form=st.sampled_from(["plain", "hash", "chunked", "signed", "trailer", "anonymous"]),
    name=st.sampled_from(sorted(ALGORITHMS)),
    cuts=st.lists(st.integers(1, 60), max_size=8),
    size=st.integers(1, 300),
    damage=st.none() | st.integers(0, 199),
)
def test_every_form_gives_its_content_or_a_fault(content, form, name, cuts, size, damage):
    value = checksum(name, content)
    sent = content
    if damage is not None and damage < len(content):
        sent = content[:damage] + bytes([content[damage] ^ 1]) + content[damage + 1 :]
    headers = {f"x-amz-checksum-{name}": value}
    raw = sent
    if form == "hash":
        headers["x-amz-content-sha256"] = hashlib.sha256(content).hexdigest()
    if form == "signed":
        headers["x-amz-content-sha256"] = SIGNED
        raw = framed(sent, signed=True)
    if form in ("trailer", "anonymous"):
        headers = trailer_headers(name)
        if form == "anonymous":
            del headers["x-amz-content-sha256"]
        raw = framed(sent, trailers=[(f"x-amz-checksum-{name}", value)])
    if form in ("signed", "trailer", "anonymous"):
        headers["x-amz-decoded-content-length"] = str(len(content))
    pieces, rest = [], raw
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    body = read_body(
        headers,
        ChunksReader(piece for piece in [*pieces, rest] if piece),
        content_length=None if form == "chunked" else len(raw),
        transfer_chunked=form == "chunked",
    )
    if sent == content:
        assert content == read_all(body, size)
        assert body.md5 == hashlib.md5(content).hexdigest()
        assert body.checksums == {name: value}
    else:
        assert fault_of(body, size) in ("BadDigest", "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-content-sha256": "0" * 64}, "XAmzContentSHA256Mismatch"),
        ({"content-md5": base64.b64encode(b"0" * 16).decode()}, "BadDigest"),
    ],
)
def test_bodies_that_are_not_what_was_announced(headers, code):
    assert code == fault_of(open_body(headers))


def test_a_bad_body_is_known_before_its_last_bytes_are_given():
    body = open_body({"content-md5": base64.b64encode(b"0" * 16).decode()})
    assert body.read(len(CONTENT) - 1) == CONTENT[:-1]
    with pytest.raises(BodyError):
        body.read(1)


def test_a_trailer_is_verified_before_the_last_bytes_are_given():
    body = open_body(trailer_headers(), framed(trailers=[("x-amz-checksum-crc32", "AAAAAA==")]))
    with pytest.raises(BodyError):
        body.read(len(CONTENT))


def test_mismatches_tell_both_sides():
    with pytest.raises(BodyError) as caught:
        read_all(open_body({"x-amz-content-sha256": "0" * 64}))
    assert caught.value.fields == {
        "ClientComputedContentSHA256": "0" * 64,
        "S3ComputedContentSHA256": SHA256,
    }


def test_a_body_that_ends_early():
    assert fault_of(open_body({}, CONTENT, content_length=len(CONTENT) + 1)) == "IncompleteBody"
    raw = framed()[:-5]
    headers = {**trailer_headers(), "x-amz-trailer": ""}
    assert fault_of(open_body(headers, raw)) == "IncompleteBody"
    assert fault_of(open_body(headers, raw, content_length=len(raw) + 5)) == "IncompleteBody"


def test_no_more_is_read_than_was_announced():
    raw = BytesReader(CONTENT + b"GET / HTTP/1.1")
    body = read_body({}, raw, content_length=len(CONTENT), transfer_chunked=False)
    assert read_all(body, 1 << 20) == CONTENT
    assert raw.read(100) == b"GET / HTTP/1.1"


def test_an_empty_body():
    body = open_body({"x-amz-content-sha256": hashlib.sha256(b"").hexdigest()}, b"")
    assert (body.length, read_all(body)) == (0, b"")
    assert body.md5 == hashlib.md5(b"").hexdigest()
    assert fault_of(open_body({"x-amz-checksum-crc32": checksum("crc32")}, b"")) == "BadDigest"


def test_transfer_encoding_chunked_has_no_length():
    body = open_body({}, content_length=None, transfer_chunked=True)
    assert body.length is None
    assert read_all(body) == CONTENT


def test_framing_inside_of_transfer_encoding_chunked():
    raw = framed(trailers=[("x-amz-checksum-crc32", checksum("crc32"))])
    body = open_body(trailer_headers(), raw, content_length=None, transfer_chunked=True)
    assert body.length == len(CONTENT)
    assert read_all(body) == CONTENT


@pytest.mark.parametrize(
    ("headers", "kwargs", "code"),
    [
        ({}, {"content_length": None}, "MissingContentLength"),
        ({}, {"content_length": -1}, "InvalidArgument"),
        ({}, {"max_size": 5}, "EntityTooLarge"),
        ({"x-amz-content-sha256": SIGNED}, {}, "MissingContentLength"),
        (
            {"x-amz-content-sha256": SIGNED + "-TRAILER"},
            {"content_length": None},
            "MissingContentLength",
        ),
        (trailer_headers(**{"x-amz-decoded-content-length": "-1"}), {}, "InvalidArgument"),
        (trailer_headers(**{"x-amz-decoded-content-length": "+1"}), {}, "InvalidArgument"),
        (trailer_headers(**{"x-amz-decoded-content-length": "1_0"}), {}, "InvalidArgument"),
        (trailer_headers(**{"x-amz-decoded-content-length": ""}), {}, "InvalidArgument"),
        (trailer_headers(**{"x-amz-decoded-content-length": "9" * 30}), {}, "InvalidArgument"),
        (trailer_headers(**{"x-amz-decoded-content-length": str(6 << 30)}), {}, "EntityTooLarge"),
        ({"x-amz-content-sha256": ""}, {}, "InvalidArgument"),
        ({"x-amz-content-sha256": "0" * 63}, {}, "InvalidArgument"),
        ({"x-amz-content-sha256": "STREAMING-SOMETHING"}, {}, "InvalidArgument"),
        ({"x-amz-content-sha256": "unsigned-payload"}, {}, "InvalidArgument"),
        (
            {"x-amz-content-sha256": "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"},
            {},
            "NotImplemented",
        ),
        (trailer_headers(**{"x-amz-content-sha256": SHA256}), {}, "InvalidRequest"),
        ({"content-md5": ""}, {}, "InvalidDigest"),
        ({"content-md5": "garbage"}, {}, "InvalidDigest"),
        ({"content-md5": base64.b64encode(b"0" * 15).decode()}, {}, "InvalidDigest"),
        ({"x-amz-checksum-crc32": "bad"}, {}, "InvalidRequest"),
        ({"x-amz-checksum-sha256": checksum("crc32")}, {}, "InvalidRequest"),
        ({"x-amz-checksum-md17": "AAAA"}, {}, "InvalidRequest"),
        (
            {"x-amz-checksum-crc32": checksum("crc32"), "x-amz-checksum-sha1": checksum("sha1")},
            {},
            "InvalidRequest",
        ),
        (trailer_headers(**{"x-amz-checksum-crc32": checksum("crc32")}), {}, "InvalidRequest"),
        (
            trailer_headers(**{"x-amz-trailer": "x-amz-checksum-crc32,x-amz-checksum-sha1"}),
            {},
            "InvalidRequest",
        ),
        (trailer_headers(**{"x-amz-trailer": "x-amz-meta-a"}), {}, "InvalidRequest"),
        (trailer_headers(**{"x-amz-trailer": "crc32"}), {}, "InvalidRequest"),
        ({"x-amz-trailer": "x-amz-checksum-crc32"}, {}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, {}, "InvalidRequest"),
        ({"x-amz-sdk-checksum-algorithm": "MD17"}, {}, "InvalidRequest"),
        (
            {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": checksum("crc32")},
            {},
            "InvalidRequest",
        ),
    ],
    ids=str,
)
def test_headers_that_are_refused(headers, kwargs, code):
    assert code == refused(headers, **kwargs)


@pytest.mark.parametrize(
    ("trailers", "code"),
    [
        ([], "MalformedTrailerError"),
        ([("x-amz-checksum-crc32c", checksum("crc32c"))], "MalformedTrailerError"),
        ([("x-amz-checksum-crc32", "bad")], "InvalidRequest"),
        ([("x-amz-checksum-crc32", "")], "InvalidRequest"),
        ([("x-amz-checksum-crc32", checksum("sha1"))], "InvalidRequest"),
    ],
)
def test_trailers_that_are_not_what_was_named(trailers, code):
    assert code == fault_of(open_body(trailer_headers(), framed(trailers=trailers)))


@pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 1, 0])
def test_a_decoded_length_that_is_not_the_content_s(length):
    headers = {
        "x-amz-content-sha256": SIGNED,
        "x-amz-decoded-content-length": str(length),
    }
    assert fault_of(open_body(headers, framed(signed=True))) == "IncompleteBody"


def test_a_body_without_length_stops_at_the_limit():
    body = open_body({}, content_length=None, transfer_chunked=True, max_size=20)
    assert fault_of(body) == "EntityTooLarge"


def test_the_limit_is_of_the_content_not_of_its_framing():
    raw = framed(trailers=[("x-amz-checksum-crc32", checksum("crc32"))])
    assert read_all(open_body(trailer_headers(), raw, max_size=len(CONTENT))) == CONTENT


def test_checksums_of_an_object_are_not_those_of_a_completion():
    headers = {"x-amz-checksum-crc32": checksum("crc32", b"the object")}
    body = open_body(headers, object_checksums=True)
    assert read_all(body) == CONTENT
    assert body.checksums == {}


def test_sha256_declared_twice_is_hashed_once_and_held_to_both():
    digest = hashlib.sha256(CONTENT).digest()
    headers = {
        "x-amz-content-sha256": digest.hex(),
        "x-amz-checksum-sha256": base64.b64encode(digest).decode(),
    }
    assert read_all(open_body(headers)) == CONTENT
    headers["x-amz-checksum-sha256"] = base64.b64encode(b"0" * 32).decode()
    assert fault_of(open_body(headers)) == "BadDigest"


def test_an_error_of_the_connection_passes_through():
    class Broken:
        def read(self, size):
            raise ConnectionResetError("gone")

    body = read_body({}, Broken(), content_length=5, transfer_chunked=False)
    with pytest.raises(ConnectionResetError):
        body.read(5)


def test_a_verifier_is_handed_the_signatures():
    class Strict:
        def block(self, block):
            pass

        def chunk(self, signature):
            raise BodyError("SignatureDoesNotMatch")

    headers = {"x-amz-content-sha256": SIGNED, "x-amz-decoded-content-length": str(len(CONTENT))}
    assert fault_of(open_body(headers, framed(signed=True), verify=Strict())) == (
        "SignatureDoesNotMatch"
    )


def test_blocks_are_counted_into_every_digest():
    assert checksum("crc32") == base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode()
    body = open_body({"x-amz-checksum-crc32": checksum("crc32")})
    assert [len(body.read(20)) for _ in range(4)] == [20, 20, 3, 0]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("gzip,br", "gzip,br"),
        ("aws-chunked", None),
        ("AWS-Chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, aws-chunked, br", "gzip, br"),
        ("x-aws-chunked", "x-aws-chunked"),
    ],
)
def test_content_encoding(value, kept):
    assert kept == content_encoding_without_aws_chunked(value)
