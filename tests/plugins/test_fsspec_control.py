"""The control connection of FTP over a server that says what it is told to, also unasked."""

from __future__ import annotations

import datetime
import ftplib
import socket
import ssl
import threading
import time
from contextlib import suppress

import pytest

from forebay.errors import (
    KeyTooLong,
    NotFound,
    NotSupported,
    PermissionDenied,
    StorageError,
    Unavailable,
)
from forebay_fsspec.connections import Connections
from forebay_fsspec.control import Control
from forebay_fsspec.opening import open_store

ANSWERS = {
    "USER": "331 Go on",
    "PASS": "230 Be welcome",
    "FEAT": "211-Features:\r\n MLST type*;size*;modify*;\r\n UTF8\r\n211 End",
    "MLST": "250-Listing\r\n type=file;size=1;modify=20260102030405; key\r\n250 End",
    "DELE": "250 Gone",
    "RMD": "250 Gone",
    "TYPE": "200 Set",
    "CWD": "250 There",
    "SIZE": "213 5",
    "MDTM": "213 20260102030405",
    "AUTH": "234 Begin",
    "PBSZ": "200 None",
    "PROT": "200 Private",
}


class Script:
    """A server of control connections only; `answers` gives the reply to each command."""

    def __init__(self, context=None):
        self.answers = dict(ANSWERS)
        self.heard = []
        self.lines = []
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ftp://tester:secret@127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(line,)))
                self._threads[-1].start()

    def _serve(self, line):
        line.sendall(b"220 Hello\r\n")
        place = len(self.lines)
        self.lines.append(line)
        unread = b""
        with suppress(OSError):
            while True:
                while b"\r\n" not in unread:
                    block = line.recv(8192)
                    if not block:
                        return
                    unread += block
                command, _, unread = unread.partition(b"\r\n")
                self.heard.append(command.decode())
                answer = self.answers.get(command.decode().split(" ")[0], "502 What")
                line.sendall(f"{answer}\r\n".encode())
                if command == b"AUTH TLS":
                    line = self._context.wrap_socket(line, server_side=True)
                    self.lines[place] = line

    def push(self, text):
        """Say something unasked, and wait until it has come."""
        self.lines[-1].sendall(text.encode())
        time.sleep(0.05)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self.lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for line in self.lines:
            line.close()


def certificate(path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    plain = serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, kind, plain)
        + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture(params=["plain", "tls"])
def script(request, tmp_path):
    tls = request.param == "tls"
    script = Script(certificate(tmp_path / "pem") if tls else None)
    script.options = {"timeout": 5, "tls": tls}
    yield script
    script.close()


@pytest.fixture
def store(script):
    store = open_store(script.url, script.options)
    yield store
    store.close()


@pytest.fixture
def files(store):
    return store._files


def test_a_connection_on_which_nothing_waits_is_used_again(script, files):
    for _ in range(3):
        files.remove("/key")
        assert files.info("/key").size == 1
        time.sleep(0.02)  # what comes late below TLS is no reply
    assert len(script.lines) == 1


@pytest.mark.parametrize("said", ["250 Gone\r\n", "421 You were idle\r\n", "25"])
def test_after_an_unasked_reply_the_connection_is_not_used_again(script, files, said):
    files.remove("/key")
    script.push(said)
    script.answers["DELE"] = "550 Not found"
    with pytest.raises(NotFound):
        files.remove("/key")
    assert len(script.lines) == 2


def test_two_replies_to_one_command_are_one_too_many(script, files):
    script.answers["DELE"] = "550 Not found\r\n250 Gone"
    for n in range(3):
        with pytest.raises(NotFound):
            files.remove("/key")
        assert len(script.lines) == n + 1


def test_a_reply_that_comes_amid_an_operation_is_no_answer_to_its_next_command(script, files):
    script.answers["RNFR"] = "350 Go on\r\n250 Moved"
    with pytest.raises(Unavailable, match="nobody had asked"):
        files.move("/one", "/two")
    assert not any(command.startswith("RNTO") for command in script.heard)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("200 Type set to: Binary", Unavailable),
        ("226 Transfer complete", Unavailable),
        ("350 Go on", Unavailable),
        ("450 Busy", Unavailable),
        ("nonsense", Unavailable),
        ("500 Command too long", StorageError),
        ("501 Which argument", StorageError),
        ("502 Not implemented", NotSupported),
        ("503 Not now", StorageError),
        ("530 Not logged in", PermissionDenied),
    ],
)
def test_a_delete_is_acknowledged_by_a_reply_that_fits_and_by_no_other(script, store, reply, kind):
    script.answers["DELE"] = reply
    for n in range(2):
        with pytest.raises(StorageError) as raised:
            store.delete("key")
        assert raised.type is kind
        assert len(script.lines) == n + 1
    script.answers["DELE"] = "250 Gone"
    store.delete("key")
    assert len(script.lines) == 3


def test_a_refusal_keeps_the_connection(script, files):
    script.answers["DELE"] = "550 Not found"
    script.answers["RMD"] = "550 Permission denied"
    for _ in range(3):
        with pytest.raises(NotFound):
            files.remove("/key")
        with pytest.raises(PermissionDenied):
            files.rmdir("/key")
    assert len(script.lines) == 1


def test_no_command_is_sent_that_is_too_long(script):
    store = open_store(script.url, {**script.options, "longest_command": 300})
    files = store._files
    files.info("/key")
    heard = list(script.heard)
    long = f"/{'n' * 292}"
    with pytest.raises(KeyTooLong, match="301 bytes"):
        files.move("/short", f"{long}n")
    with pytest.raises(KeyTooLong):
        files.remove(f"{long}n")
    with pytest.raises(KeyTooLong):
        files.ls(f"{long}n")
    with pytest.raises(KeyTooLong):
        files.create(f"{long}n")
    assert [command for command in script.heard if not command.startswith("TYPE")] == heard
    files.remove(long)
    assert script.heard[-1] == f"DELE {long}"
    assert len(script.lines) == 1
    store.close()


def test_what_the_server_can_do_is_learned_from_its_features(script, files):
    script.answers["FEAT"] = "211-Features:\r\n SIZE\r\n211 End"
    assert files.info("/key").size == 5
    assert not any(command.startswith("MLST") for command in script.heard)


@pytest.mark.parametrize("reply", ["500 What", "502 What", "211 None"])
def test_a_server_without_features_is_asked_by_parts(script, files, reply):
    script.answers["FEAT"] = reply
    assert files.info("/key").size == 5
    assert len(script.lines) == 1


def test_a_listing_that_is_none_costs_the_connection(script, files):
    script.answers["MLST"] = "250 Gone"
    with pytest.raises(StorageError, match="is none"):
        files.info("/key")
    script.answers["MLST"] = ANSWERS["MLST"]
    assert files.info("/key").size == 1
    assert len(script.lines) == 2


def test_a_connection_whose_beginning_fails_is_closed(script, files):
    script.answers["FEAT"] = "530 Log in first"
    with pytest.raises(PermissionDenied, match="Log in first"):
        files.info("/key")


def test_a_connection_that_is_closed_is_in_no_step(script):
    class System:
        ftp = ftplib.FTP(timeout=5)

    System.ftp.connect("127.0.0.1", int(script.url.rpartition(":")[2]))
    control = Control(System)
    assert control.is_in_step()
    control.close()
    assert not control.is_in_step()
    with pytest.raises(Unavailable, match="hung up"):
        control.ask("TYPE I", "200")


def test_a_waiting_connection_that_is_not_usable_is_closed_and_another_made():
    made, closed = [], []

    def make():
        made.append(object())
        return made[-1]

    connections = Connections(make, close=closed.append, usable=lambda one: one not in bad, most=1)
    bad = []
    with connections.use() as first:
        pass
    bad.append(first)
    with connections.use() as second:
        assert second is not first
    assert closed == [first]
