"""Archives: one that is replaced or gone, one on a web server, and odd members."""

from __future__ import annotations

import os
import zipfile

import pytest

from forebay.errors import PermissionDenied, SourceChanged, Unavailable
from forebay.streams import BLOCK
from forebay.testing.under_kit import names, put, read
from forebay.types import ByteRange
from forebay_fsspec import reading
from forebay_fsspec.archive import ArchiveFiles
from forebay_fsspec.opening import open_store


def write(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "some archive.zip"
    write(path, {"a/b": b"0123456789", "c": b"", "d/": b"", "/e": b"1", "a/../f": b"2"})
    return path


@pytest.fixture
def under(archive):
    store = open_store(f"zip://{archive}", {})
    yield store
    store.close()


def test_members_are_objects_and_odd_names_do_not_get_out(under):
    assert isinstance(under._files, ArchiveFiles)
    listed = names(under.list())
    assert {"a/b", "c", "d/"} <= set(listed)
    assert not any(".." in name for name in listed)
    assert read(under, "a/b", ByteRange(3, 6)) == b"345"
    assert under.head("d/").size == 0
    with pytest.raises(PermissionDenied):
        put(under, "a/b", b"x")


def test_an_archive_that_is_replaced_is_opened_anew(under, archive):
    before = under.head("a/b")
    write(archive.with_name("new"), {"a/b": b"new", "z": b"z"})
    archive.with_name("new").rename(archive)
    assert read(under, "a/b") == b"new"
    assert under.head("a/b").fingerprint != before.fingerprint
    assert names(under.list()) == ["a/b", "z"]


def test_an_archive_that_is_gone_is_unavailable_and_its_members_are_not_deleted(under, archive):
    archive.unlink()
    for way in (lambda: under.head("a/b"), lambda: read(under, "a/b"), lambda: list(under.list())):
        with pytest.raises(Unavailable):
            way()


def test_an_archive_that_is_written_over_while_a_member_is_read_is_noticed(archive, monkeypatch):
    monkeypatch.setattr(reading, "FIRST", 1000)
    write(archive, {"a": b"o" * (3 * BLOCK)})
    store = open_store(f"zip://{archive}", {})
    with store.open("a") as reader:
        assert reader.read(1000) == b"o" * 1000
        write(archive.with_name("new"), {"a": b"n" * (3 * BLOCK)})
        with open(archive, "r+b") as file:
            file.write(archive.with_name("new").read_bytes())
        os.utime(archive)
        with pytest.raises(SourceChanged):
            reader.read(1000)
    store.close()


def test_an_archive_on_a_web_server(archive, servers):
    with servers.http_server(archive.parent) as url:
        store = open_store(f"zip://{url}/some%20archive.zip", {})
        assert read(store, "a/b") == b"0123456789"
        before = store.head("a/b").fingerprint
        write(archive.with_name("new"), {"a/b": b"new"})
        archive.with_name("new").rename(archive)
        assert read(store, "a/b") == b"new"
        assert store.head("a/b").fingerprint != before
        store.close()
