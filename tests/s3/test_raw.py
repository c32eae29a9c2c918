"""Bad input over a bare socket: refused in time, without a 500, and without leaving anything."""

import base64
import time

import pytest

pytestmark = pytest.mark.parametrize("root", ["memory", "file"])


@pytest.fixture
def key(wire, bucket):
    """A key that holds ``kept`` before and after."""
    target = f"/{bucket}/key"
    assert wire("PUT", target, b"kept").status == 200
    yield target
    assert wire("GET", target).body == b"kept"
    assert wire("GET", f"/{bucket}").body.count(b"<Key>") == 1, "something was left behind"


def send(wire, *lines, body=b""):
    """Send a request of these lines and give the answers' bytes and how long they took."""
    head = "\r\n".join((*lines, f"Authorization: {wire.signed}", "", "")).encode("latin-1")
    began = time.monotonic()
    return wire.raw(head + body), time.monotonic() - began


def statuses(received):
    """The status of every answer that came back."""
    return [int(line.split()[1]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]


# --- framing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -1",),
        ("Content-Length: +10",),
        ("Content-Length: 0x10",),
        ("Content-Length: 1e3",),
        ("Content-Length: 1_0",),
        ("Content-Length: \xb2",),
        ("Content-Length: 3", "Content-Length: 4"),
        ("Transfer-Encoding: \x0bchunked",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Content-Length: 3", " folded: yes"),
        ("Content-Length : 3",),
        ("Content-Length: 3", "X-A: a\x00b"),
        ("Content-Length: 3", "X-A: a\rb"),
    ],
    ids=repr,
)
def test_framing_that_cannot_be_trusted(wire, key, lines):
    second = f"DELETE {key} HTTP/1.1\r\nHost: h\r\nAuthorization: {wire.signed}\r\n\r\n"
    received, took = send(
        wire, f"PUT {key} HTTP/1.1", "Host: h", *lines, body=b"abc" + second.encode()
    )
    assert statuses(received)[0] in (400, 501)
    assert len(statuses(received)) == 1, "a request behind a bad one was answered"
    assert took < 8


@pytest.mark.parametrize(
    "body",
    [b"+3\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"3\r\nabcX\r\n0\r\n\r\n", b"g\r\n"],
    ids=repr,
)
def test_chunks_that_cannot_be(wire, key, body):
    received, took = send(
        wire, f"PUT {key} HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", body=body
    )
    assert statuses(received) == [400]
    assert took < 8


@pytest.mark.parametrize("hosts", [[], ["Host: a", "Host: b"], ["Host: user@a"], ["Host: a/b"]])
def test_hosts(wire, key, hosts):
    received, _ = send(wire, f"DELETE {key} HTTP/1.1", "Connection: close", *hosts)
    assert statuses(received) == [400]


def test_a_put_without_a_length(wire, key):
    received, _ = send(wire, f"PUT {key} HTTP/1.1", "Host: h", "Connection: close")
    assert statuses(received) == [411]
    assert b"<Code>MissingContentLength</Code>" in received


def test_a_body_that_never_comes(wire, key):
    received, took = send(
        wire, f"PUT {key} HTTP/1.1", "Host: h", "Content-Length: 100", body=b"only this"
    )
    assert statuses(received) in ([], [400])
    assert took < 8


def test_a_body_that_is_too_large(wire, key):
    announced = str((5 << 30) + 1)
    lines = (f"PUT {key} HTTP/1.1", "Host: h", f"Content-Length: {announced}")
    received, took = send(wire, *lines, body=b"x")
    assert statuses(received) in ([], [400], [413])
    assert took < 8


@pytest.mark.parametrize(
    "sent",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1 extra\r\n\r\n",
    ],
    ids=repr,
)
def test_what_is_not_http(wire, sent):
    received = wire.raw(sent)
    assert all(status in (400, 405, 501, 505) for status in statuses(received))


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PATCH", "M" * 5000])
def test_methods(wire, key, method):
    received, took = send(wire, f"{method} {key} HTTP/1.1", "Host: h", "Connection: close")
    assert statuses(received)[0] in (400, 403, 405, 414, 431, 501)
    assert took < 8


def test_headers_without_end(wire, key):
    lines = [f"X-{number}: {'x' * 1000}" for number in range(400)]
    received, took = send(wire, f"GET {key} HTTP/1.1", "Host: h", *lines)
    assert set(statuses(received)) <= {400, 431}
    assert took < 8


# --- names --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["%", "%zz", "a%", "%c0%ae", "%ed%a0%80", "%ff", "a%00b"])
def test_keys_that_are_no_text(wire, key, bucket, bad):
    for method in ("PUT", "GET", "DELETE"):
        answer = wire(method, f"/{bucket}/{bad}")
        assert (answer.status, answer.code) == (400, "InvalidURI")
    for header in (f"{bucket}/{bad}",):
        answer = wire("PUT", f"/{bucket}/t", x_amz_copy_source=header)
        assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "..",
        ".",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2fx",
        "%252e%252e/x",
        "..%5cx",
        "//etc/passwd",
        "/",
        "a//b",
        "a/./b",
        ".forebay/x",
        "s" * 256,
        "/".join("n" * 300),
    ],
)
def test_keys_that_look_like_paths_are_only_keys(wire, bucket, path, gateway):
    target = f"/{bucket}/{path}"
    put = wire("PUT", target, b"literal")
    assert put.status in (200, 400)
    if put.status == 400:
        assert put.code in ("InvalidArgument", "InvalidURI", "KeyTooLongError")
        return
    assert wire("GET", target).body == b"literal"
    assert wire("GET", f"/{bucket}").body.count(b"<Contents>") == 1
    assert wire("DELETE", target).status == 204
    assert wire("GET", f"/{bucket}").body.count(b"<Contents>") == 0


@pytest.mark.parametrize(
    "name", ["..", ".", "A", "a_b", "192.168.0.1", "x" * 64, "xn--a", "%C3%A9"]
)
def test_bucket_names(wire, name):
    answer = wire("PUT", f"/{name}")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")
    assert wire("GET", f"/{name}").status in (400, 404)


def test_a_long_query_and_a_long_path(wire, bucket, key):
    assert wire("GET", f"/{bucket}?delimiter={'d' * 2048}").status == 200
    assert wire("GET", f"/{bucket}/{'k' * 9000}").status in (400, 414)


# --- headers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=abc", 200),
        ("bytes=5-1", 200),
        ("bytes=-0", 416),
        ("bytes=9000000000-", 416),
        ("bytes=0-1," * 1000 + "2-3", 200),
        (f"bytes=0-{2**70}", 206),
        (f"bytes={2**70}-", 416),
        ("bytes", 200),
        ("", 200),
    ],
)
def test_ranges(wire, key, asked, status):
    answer = wire("GET", key, Range=asked)
    assert answer.status == status
    assert len(answer.body) <= 4 or answer.code == "InvalidRange"


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "If-Modified-Since"])
@pytest.mark.parametrize("value", ["", "garbage", '"', '"a', "W/", "*,*", ",,,", "9" * 500])
def test_conditions(wire, key, name, value):
    assert wire("GET", key, **{name: value}).status in (200, 304, 412)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Content-MD5", "garbage", "InvalidDigest"),
        ("Content-MD5", "", "InvalidDigest"),
        ("Content-MD5", base64.b64encode(bytes(16)).decode(), "BadDigest"),
        ("x-amz-content-sha256", "0" * 64, "XAmzContentSHA256Mismatch"),
        ("x-amz-checksum-crc32", "bad", "InvalidRequest"),
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-meta-a", "=?utf-8?B?DQpYOiB5?=", "InvalidArgument"),
        ("x-amz-meta-a", "x" * 2048, "MetadataTooLarge"),
        ("x-amz-tagging", "a=1&a=2", "InvalidArgument"),
        ("x-amz-storage-class", "PAPER", "InvalidStorageClass"),
        ("x-forebay-write-type", "SOMETIMES", "InvalidArgument"),
        ("Authorization", "AWS4-HMAC-SHA256 Credential=HAHAHA", "AuthorizationHeaderMalformed"),
        ("Authorization", "AWS4 HAHAHA", "InvalidArgument"),
    ],
)
def test_headers_of_a_put(wire, key, name, value, code):
    answer = wire("PUT", key, b"overwritten", **{name: value})
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize(
    "source", ["/", "", "b", "%zz/k", "a/b?versionId=", "arn:aws:s3:::a/b", "x" * 5000, "../a/b"]
)
def test_copy_sources(wire, key, bucket, source):
    answer = wire("PUT", f"/{bucket}/target", x_amz_copy_source=source)
    assert answer.status in (400, 404, 501)


def test_an_override_cannot_split_the_answer(wire, key):
    answer = wire("GET", f"{key}?response-content-type=a%0d%0aX-Evil:%20yes")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert "x-evil" not in answer.headers


def test_an_encoding_is_kept_and_not_undone(wire, bucket):
    wire("PUT", f"/{bucket}/zipped", b"not really", Content_Encoding="aws-chunked,gzip")
    answer = wire("GET", f"/{bucket}/zipped")
    assert (answer.headers["content-encoding"], answer.body) == ("gzip", b"not really")


# --- documents ------------------------------------------------------------------------------

BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><Delete><Object><Key>&j;</Key></Object></Delete>"
)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (BOMB, "MalformedXML"),
        (
            b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
            b"<Delete><Object><Key>&e;</Key></Object></Delete>",
            "MalformedXML",
        ),
        (b"<!DOCTYPE x><Delete><Object><Key>k</Key></Object></Delete>", "MalformedXML"),
        (b"<a>" * 100_000, "MalformedXML"),
        (b"<Delete>" + b" " * (3 << 20) + b"</Delete>", "MaxMessageLengthExceeded"),
        ("<Delete><Object><Key>k</Key></Object></Delete>".encode("utf-16"), "MalformedXML"),
        (b"<Delete><Object><Key>a\x00b</Key></Object></Delete>", "MalformedXML"),
        (b"<Delete><Object><Key>&#x1;</Key></Object></Delete>", "MalformedXML"),
        (b"<Other><Object><Key>k</Key></Object></Other>", "MalformedXML"),
        (b"<Delete/>", "MalformedXML"),
        (b"", "MalformedXML"),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else value,
)
def test_documents(wire, key, bucket, body, code):
    began = time.monotonic()
    answer = wire("POST", f"/api/v1/s3/{bucket}?delete", body)
    assert (answer.status, answer.code) == (400, code)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("upload", ["../../x", "x" * 10_000, "%00", "%ff", ""])
def test_upload_ids(wire, key, upload):
    for method, more in (("GET", ""), ("DELETE", ""), ("POST", ""), ("PUT", "&partNumber=1")):
        answer = wire(
            method, f"{key}?uploadId={upload}{more}", b"<x/>" if method == "POST" else b""
        )
        assert answer.status in (400, 404)


@pytest.mark.parametrize(
    "query", ["torrent", "restore", "select&select-type=2", "acl", "legal-hold", "renameObject"]
)
def test_a_sub_resource_never_falls_through(wire, key, query):
    for method in ("PUT", "POST", "DELETE"):
        assert wire(method, f"{key}?{query}", b"<x/>").status in (405, 501)
