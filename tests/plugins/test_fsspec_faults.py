"""What foreign errors become, and that a server which is down, mute or gone is Unavailable."""

import errno
import ftplib
import socket
import threading
from contextlib import closing

import aiohttp
import asyncssh
import pytest
import requests

from forebay.errors import (
    BodyError,
    InvalidKey,
    NoSpace,
    NotFound,
    NotSupported,
    PermissionDenied,
    StorageError,
    Unavailable,
)
from forebay.testing.under_kit import put, read
from forebay_fsspec.faults import Translated, kind_of, kind_of_status
from forebay_fsspec.opening import open_store

URIS = ["sftp://t:s@{}/x", "ftp://t:s@{}/x", "http://{}/x", "webhdfs://{}/x", "zip://http://{}/x"]


class Answer(Exception):
    def __init__(self, status):
        super().__init__("answer")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError("x"), NotFound),
        (IsADirectoryError("x"), StorageError),
        (PermissionError("x"), PermissionDenied),
        (ConnectionRefusedError("x"), Unavailable),
        (TimeoutError("x"), Unavailable),
        (OSError(errno.ENOSPC, "x"), NoSpace),
        (OSError(errno.ENAMETOOLONG, "x"), InvalidKey),
        (OSError(errno.ENETUNREACH, "x"), Unavailable),
        (OSError(errno.EIO, "x"), StorageError),
        (socket.gaierror(-2, "Name or service not known"), Unavailable),
        (ftplib.error_perm("550 No such file"), NotFound),
        (ftplib.error_perm("550 Permission denied"), PermissionDenied),
        (ftplib.error_perm("530 Login incorrect"), PermissionDenied),
        (ftplib.error_perm("552 Quota exceeded"), NoSpace),
        (ftplib.error_temp("421 Too many users"), Unavailable),
        (asyncssh.SFTPNoSuchFile("x"), NotFound),
        (asyncssh.SFTPPermissionDenied("x"), PermissionDenied),
        (asyncssh.SFTPNoSpaceOnFilesystem("x"), NoSpace),
        (asyncssh.SFTPConnectionLost("x"), Unavailable),
        (asyncssh.SFTPFailure("x"), StorageError),
        (asyncssh.PermissionDenied("x"), PermissionDenied),
        (asyncssh.HostKeyNotVerifiable("x"), PermissionDenied),
        (aiohttp.ClientPayloadError("x"), Unavailable),
        (aiohttp.ServerDisconnectedError("x"), Unavailable),
        (requests.exceptions.ReadTimeout("x"), Unavailable),
        (requests.exceptions.ConnectionError("x"), Unavailable),
        (Answer(403), PermissionDenied),
        (Answer(414), InvalidKey),
        (Answer(503), Unavailable),
        (RuntimeError("x"), StorageError),
    ],
    ids=lambda one: getattr(one, "__name__", None) or type(one).__name__,
)
def test_a_foreign_error_becomes_ours_with_its_cause(error, kind):
    assert kind_of(error) is kind
    with pytest.raises(StorageError) as raised, Translated("some/key"):
        raise error
    assert type(raised.value) is kind
    assert raised.value.__cause__ is error
    assert "some/key" in str(raised.value)


def test_an_error_of_the_root_names_it():
    with pytest.raises(PermissionDenied, match=r"^'/': not you$"), Translated(""):
        raise PermissionError("not you")


def test_our_own_errors_and_those_that_are_no_errors_pass_through():
    for error in (BodyError("BadDigest"), KeyboardInterrupt(), NotFound("x")):
        with pytest.raises(type(error)) as raised, Translated("key"):
            raise error
        assert raised.value is error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFound),
        (401, PermissionDenied),
        (429, Unavailable),
        (500, Unavailable),
        (507, NoSpace),
        (501, NotSupported),
        (418, StorageError),
    ],
)
def test_a_status_of_http_is_an_error_of_ours(status, kind):
    assert kind_of_status(status) is kind


@pytest.fixture
def closed_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def mute_port():
    """A server that takes connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        taken = []

        def accept():
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in taken:
            one.close()


def _every_way(store):
    yield lambda: store.head("object")
    yield lambda: read(store, "object")
    yield lambda: list(store.list())
    if not store._row.read_only:
        yield lambda: put(store, "object", b"x")
        yield lambda: store.delete("object")


@pytest.mark.parametrize("uri", URIS)
def test_a_server_that_is_down_is_unavailable(uri, closed_port):
    store = open_store(uri.format(f"127.0.0.1:{closed_port}"), {})  # which does not connect
    for way in _every_way(store):
        with pytest.raises(Unavailable):
            way()
    store.close()


@pytest.mark.parametrize("uri", URIS[:4])
def test_a_server_that_is_mute_is_unavailable_when_the_time_is_over(uri, mute_port):
    store = open_store(uri.format(f"127.0.0.1:{mute_port}"), {"timeout": 0.3})
    for way in _every_way(store):
        with pytest.raises(Unavailable):
            way()
    store.close()
