"""Requests of our own: signed as another implementation signs, repeated only where that is safe."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from awscrt.auth import AwsCredentialsProvider
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from forebay.errors import NotSupported, Unavailable
from forebay.types import Attributes
from forebay_obstore.carrier import Condition
from forebay_obstore.options import Patience
from forebay_obstore.s3 import S3Requests
from forebay_obstore.wire import Wire, provider_of

LOOPBACK = ip_address("127.0.0.1")
both = pytest.mark.parametrize("tls", [False, True])
FAST = Patience(timeout=5, connect=1, retries=2, total=5)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Odd: \xc3\xbc\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"


class Server:
    """Answers one request after the other by a script; None hangs up instead, a tuple after it."""

    def __init__(self, script, tls=None):
        self.requests, self._script, self._tls = [], iter(script), tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()

    def _run(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(10)
            self._threads.append(threading.Thread(target=self._serve_and_close, args=(client,)))
            self._threads[-1].start()

    def _serve_and_close(self, client):
        with client, contextlib.suppress(ssl.SSLError, ConnectionError):
            if self._tls is not None:
                with self._tls.wrap_socket(client, server_side=True) as encrypted:
                    self._serve(encrypted)
            else:
                self._serve(client)

    def _serve(self, client):
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                try:
                    block = client.recv(65536)
                except OSError:
                    return
                if not block:
                    return
                received += block
            head = received.partition(b"\r\n\r\n")[0]
            received = b""  # only the last request of a script has a body
            self.requests.append(head.decode("latin-1"))
            answer = next(self._script, None)
            if answer is None:
                return
            if isinstance(answer, tuple):
                client.sendall(answer[0])
                return
            client.sendall(answer)

    @property
    def connections(self):
        return len(self._threads) - 1

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(15)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Give the file of a certificate of its own authority, as people make them, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + own)
    return path


@pytest.fixture
def serve(certificate):
    """Start a server with a script; give it and a wire to it."""
    opened = []

    def serve(*script, provider=None, patience=FAST, tls=False, known=True):
        ours = ssl.create_default_context(cafile=certificate if known else None)
        theirs = None
        if tls:
            theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            theirs.load_cert_chain(certificate)
        server = Server(script, theirs)
        base = f"http{'s' if tls else ''}://127.0.0.1:{server.port}/bucket"
        wire = Wire(base, "eu-central-1", provider, patience, ours)
        opened.extend((wire, server))
        return server, wire

    yield serve
    for one in opened:
        one.close()


@pytest.mark.parametrize(
    "key", ["a/b", "a//b/", "../x", "./.", "é ~+%25&=?#", "\t\n", "\U0001f30a", "*'()!:@$,;"]
)
@pytest.mark.parametrize("token", [None, "a token"])
def test_signature_is_what_botocore_makes_of_it(serve, key, token):
    provider = AwsCredentialsProvider.new_static("AKID", "secret", token)
    server, wire = serve(OK, provider=provider)
    query = [("uploadId", "a/b+c="), ("partNumber", "1"), ("acl", "")]
    wire.send("PUT", key, query, {"x-amz-meta-a": "b  c", "content-type": "text/x"}, b"body")
    line, *rows = server.requests[0].split("\r\n")
    sent = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
    target = line.split(" ")[1]

    class Then(S3SigV4Auth):
        def _modify_request_before_signing(self, request):
            request.context["timestamp"] = sent["x-amz-date"]
            super()._modify_request_before_signing(request)

    names = sent["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest(
        "PUT",
        f"http://{sent['host']}{target}",
        {name: sent[name] for name in names if name not in ("host", "x-amz-date")},
        b"body",
    )
    request.context["timestamp"] = sent["x-amz-date"]
    auth = Then(Credentials("AKID", "secret", token), "s3", "eu-central-1")
    canonical = auth.canonical_request(request_with_date(request, sent))
    expected = auth.signature(auth.string_to_sign(request, canonical), request)
    assert sent["authorization"].endswith(f"Signature={expected}")
    assert ("x-amz-security-token" in names) == (token is not None)
    assert "content-type" not in names


def request_with_date(request, sent):
    request.headers["X-Amz-Date"] = sent["x-amz-date"]
    return request


def test_anonymous_requests_bear_no_signature(serve):
    server, wire = serve(OK)
    assert wire.send("GET", "k").body == b"ok"
    assert "uthorization" not in server.requests[0]
    assert server.requests[0].startswith("GET /bucket/k HTTP/1.1\r\n")


def test_connection_is_kept_and_replaced_when_the_server_closed_it(serve):
    server, wire = serve(OK, None, OK)
    assert wire.send("GET", "a").status == 200
    assert wire.send("GET", "b").status == 200
    assert [line.split(" ")[1] for line in server.requests] == ["/bucket/a"] + ["/bucket/b"] * 2


def test_answer_that_is_longer_than_expected_is_not_read(serve):
    server, wire = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nbody", OK)
    assert wire.send("GET", "a", most=2).body == b"bo"
    assert wire.send("GET", "b").body == b"ok"
    assert len(server.requests) == 2


def test_busy_server_is_asked_again(serve):
    server, wire = serve(BUSY, BUSY, OK)
    assert wire.send("GET", "a").status == 200
    assert len(server.requests) == 3


def test_server_that_stays_busy_has_the_last_word(serve):
    server, wire = serve(BUSY, BUSY, BUSY, OK)
    assert wire.send("GET", "a").status == 503
    assert len(server.requests) == 1 + FAST.retries


def test_what_may_have_been_done_is_not_repeated(serve):
    server, wire = serve(OK, None, OK)
    wire.send("GET", "a")
    with pytest.raises(Unavailable):
        wire.send("POST", "a", again=False)
    assert len(server.requests) == 2
    server, wire = serve(BUSY, OK)
    assert wire.send("POST", "a", again=False).status == 503


def test_hanging_server_is_unavailable(serve):
    _, wire = serve(b"", patience=Patience(timeout=0.2, connect=1, retries=0))
    with pytest.raises(Unavailable):
        wire.send("GET", "a")


LAST = b'Last-Modified: Mon, 23 Nov 2026 10:33:39 GMT\r\nETag: "e"\r\n'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n" + LAST + b"\r\n"


HEADER = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\nETag: "e"\r\nx-amz-meta-a: b\r\n\r\n'


@pytest.fixture
def requests(serve):
    with ThreadPoolExecutor(4) as pool:
        yield lambda *script: S3Requests("bucket", serve(*script)[1], pool, counts=True)


def test_answer_is_given_as_soon_as_it_begins(serve):
    _, wire = serve(b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\n\r\nbody", OK)
    with closing(wire.open("k", {})) as got:
        assert got.answer.status == 206
        assert next(got.blocks) == b"body", "the rest never comes"
    assert wire.send("GET", "k").body == b"ok"


def test_answer_that_is_cut_off_is_unavailable(serve):
    _, wire = serve((b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\n\r\nbody",))
    with closing(wire.open("k", {})) as got, pytest.raises(Unavailable):
        assert list(got.blocks) == "never"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("end", range(1, len(HEADER)))
def test_header_that_is_cut_off_is_no_answer(serve, method, end):
    server, wire = serve((HEADER[:end],), HEADER + b"x" * 12)
    answer = wire.send(method, "k")
    assert answer.headers["content-length"] == "12"
    assert answer.headers["x-amz-meta-a"] == "b"
    assert server.connections == 2


@both
def test_answer_goes_straight_into_memory_and_the_connection_is_kept(serve, tls):
    some = b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\n\r\nsome body"
    server, wire = serve(some, OK, OK, tls=tls)
    room = memoryview(bytearray(12))
    with closing(wire.open("k", {})) as got:
        assert got.into(room[:4]) == 4
        assert got.into(room[4:]) == 5
        assert got.into(room) == 0
    assert bytes(room) == b"some body\0\0\0"
    assert wire.send("GET", "k").body == b"ok"
    assert server.connections == 1


@both
def test_large_answer_goes_into_memory_whole(serve, tls):
    body = os.urandom(3 << 20)
    _, wire = serve(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (3 << 20, body), tls=tls)
    room, got = memoryview(bytearray(3 << 20)), 0
    with closing(wire.open("k", {})) as answer:
        while count := answer.into(room[got : got + (1 << 20)]):
            got += count
    assert bytes(room[:got]) == body


@both
def test_answer_that_is_cut_off_goes_into_memory_as_far_as_it_came(serve, tls):
    cut = (b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\n\r\nbody",)
    server, wire = serve(cut, OK, tls=tls)
    with closing(wire.open("k", {})) as got:
        assert got.into(memoryview(bytearray(9))) == 4
        assert got.into(memoryview(bytearray(9))) == 0
    assert wire.send("GET", "k").body == b"ok"
    assert server.connections == 2, "the connection was of no more use"


@both
def test_hanging_answer_is_unavailable(serve, tls):
    patience = Patience(timeout=0.2, connect=1, retries=0)
    part = b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\n\r\nbody"
    _, wire = serve(part, patience=patience, tls=tls)
    with closing(wire.open("k", {})) as got, pytest.raises(Unavailable):
        got.into(memoryview(bytearray(9)))


def test_certificate_that_nobody_vouches_for_is_told_with_what_to_do(serve):
    server, wire = serve(OK, tls=True, known=False)
    with pytest.raises(Unavailable, match=r"certificate.*`ca_file`"):
        wire.send("GET", "k")
    assert server.requests == []


def test_whole_object_in_place_of_a_range_is_taken_where_it_fits(requests):
    found = requests(WHOLE + b"body").stream("k", 0, 9, "e")
    assert (b"".join(found.blocks), found.info.size) == (b"body", 4)
    with pytest.raises(NotSupported):
        requests(WHOLE + b"body").stream("k", 1, 9, "e")


@pytest.mark.parametrize(
    "answer", [WHOLE + b"body", b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"]
)
def test_server_without_tags_is_known_by_its_answer(requests, answer):
    head = WHOLE.replace(b"ETag", b"x-amz-tagging-count: 1\r\nETag")
    assert requests(head, answer).head("k").attributes.tags == {}


def test_error_behind_a_good_status_is_an_error(requests):
    error = b"<Error><Code>InternalError</Code></Error>"
    begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"

    def ok(body):
        return b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: %d\r\n\r\n%b' % (len(body), body)

    carrier = requests(ok(begun), ok(b""), ok(error), ok(b""))
    with pytest.raises(Unavailable, match="InternalError"):
        carrier.upload("k", iter([b"x"]), 1, Attributes(), Condition())
    with pytest.raises(Unavailable, match="InternalError"):
        requests(ok(error)).copy("a", "b", Attributes(), 1, "e")


def test_credentials_are_those_of_the_options():
    options = {"access_key_id": "a", "secret_access_key": "b", "session_token": "c"}
    found = provider_of(options).get_credentials().result(5)
    assert (found.access_key_id, found.secret_access_key, found.session_token) == ("a", "b", "c")
    assert provider_of({"anonymous": True}) is None


def test_profile_of_the_aws_files_is_used(tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text(
        "[lake]\naws_access_key_id = from-file\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    found = provider_of({"profile": "lake"}).get_credentials().result(5)
    assert found.access_key_id == "from-file"


def test_closed_wire_keeps_no_connection(serve):
    server, wire = serve(OK)
    with closing(wire):
        wire.send("GET", "a")
        assert server._threads[1].is_alive(), "it is kept until then"
    server._threads[1].join(5)
    assert not server._threads[1].is_alive()
