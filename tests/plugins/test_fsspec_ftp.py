"""FTP: facts and lists as servers write them, and what breaks off."""

from __future__ import annotations

import os

import pytest
from botocore.exceptions import ClientError

import forebay
from forebay.errors import KeyTooLong, PermissionDenied, SourceChanged, StorageError, Unavailable
from forebay.streams import BLOCK
from forebay.testing.under_kit import Failing, exists, names, put, read
from forebay_fsspec import reading
from forebay_fsspec.files import UNKNOWN
from forebay_fsspec.ftp import _of_facts, _of_list
from forebay_fsspec.opening import open_store


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture(params=[(), ("MLST", "MLSD"), ("MFMT",)], ids=["", "no-mlst", "no-mfmt"])
def under(request, home, servers):
    with servers.ftp_server(home, without=request.param) as url:
        store = open_store(f"{url}/lake", {"timeout": 10})
        store.lacks = request.param
        yield store
        store.close()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("type=file;size=3;modify=20260102030405; a b", ("a b", False, 3)),
        ("Type=FILE;Size=3;Modify=20260102030405.123;UNIX.mode=0644; a", ("a", False, 3)),
        ("type=dir;modify=20260102030405; d", ("d", True, 0)),
        ("type=cdir; .", None),
        ("type=OS.unix=slink:/x; link", None),
    ],
)
def test_facts_are_read_as_rfc_3659_says(line, told):
    entry = _of_facts(line)
    assert (entry and (entry.name, entry.is_directory, entry.size)) == told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-rw-r--r--   1 owner group   1803128 Jul 10 10:18 a b.txt", ("a b.txt", False, UNKNOWN)),
        ("drwxr-xr-x  12 owner group      4096 Jan  1  2026 d", ("d", True, UNKNOWN)),
        ("lrwxrwxrwx   1 owner group        12 Jan  1  2026 l -> d", None),
        ("total 12", None),
        ("drwxr-xr-x   2 owner group      4096 Jan  1  2026 ..", None),
    ],
)
def test_lists_are_read_as_ls_writes_them(line, told):
    entry = _of_list(line)
    assert (entry and (entry.name, entry.is_directory, entry.size)) == told


def test_a_body_that_fails_leaves_the_old_object_and_usable_connections(under, home):
    put(under, "key", b"old")
    for _ in range(6):  # more than there are connections
        with pytest.raises(ValueError, match="bad"):
            under.put(
                "key", Failing(b"n" * 3 * BLOCK, ValueError("bad")), size=None, attributes=None
            )
    assert read(under, "key") == b"old"
    assert names(under.list()) == ["key"]
    assert os.listdir(home / "lake" / ".forebay-tmp") == []


def test_two_puts_within_a_second_differ_or_are_refused(under):
    seen, there = [], b""
    for n in range(4):
        try:
            seen.append(put(under, "key", b"%d" % n).fingerprint)
            there = b"%d" % n
        except Unavailable:
            assert "MFMT" in under.lacks
        assert read(under, "key") == there
    assert len(set(seen)) == len(seen)
    assert len(seen) == 4 or "MFMT" in under.lacks


def test_a_change_between_ranges_is_noticed(under, home, monkeypatch):
    monkeypatch.setattr(reading, "RANGE", 32 << 10)
    put(under, "key", b"o" * (3 * BLOCK))
    os.utime(home / "lake" / "key", (1, 1))  # within one second only the size would tell
    with under.open("key") as reader:
        got = reader.read(1000)
        (home / "lake" / "key").write_bytes(b"n" * (3 * BLOCK + 1))
        try:
            while block := reader.read(BLOCK):
                got += block
        except SourceChanged:
            assert len(got) < 3 * BLOCK
        else:
            pytest.fail("it was not noticed")
    assert set(got) == set(b"o")


def test_a_wrong_password_is_refused(home, servers):
    with servers.ftp_server(home) as url:
        store = open_store(url.replace("secret", "wrong"), {"timeout": 10})
        with pytest.raises(PermissionDenied, match="no connection to the store: 530"):
            store.head("key")
        store.close()


def test_a_server_that_was_away_is_found_again(home, servers):
    with servers.ftp_server(home) as url:
        store = open_store(url, {"timeout": 5})
        put(store, "key", b"x")
    with pytest.raises(Unavailable):
        store.head("key")
    with servers.ftp_server(home, port=int(url.rpartition(":")[2])):
        for _ in range(5):  # each connection may be one of before
            try:
                assert read(store, "key") == b"x"
                break
            except StorageError:
                continue
        else:
            pytest.fail("it was not found again")
        store.close()


# --- commands that are too long ------------------------------------------------------------

LONG = "ü" * 512
"""A key of 1,024 bytes, the most that S3 allows; escaped it is three times as long."""


def error_code(call, **what):
    with pytest.raises(ClientError) as raised:
        call(**what)
    return raised.value.response["Error"]["Code"]


def test_a_key_that_is_too_long_is_refused_and_disturbs_no_other(home, servers, tmp_path):
    with servers.ftp_server(home) as url:
        config = tmp_path / "forebay.toml"
        config.write_text(
            f'''state = "{tmp_path}/state"
[mounts."/"]
under = "{url}/lake"
write_type = "THROUGH"
metadata_sync = "always"
'''
        )
        with forebay.Gateway(str(config)) as gateway:
            s3 = gateway.client()
            s3.create_bucket(Bucket="bucket")
            where = {"Bucket": "bucket", "Key": LONG}
            for _ in range(4):  # as many as there are connections
                assert error_code(s3.head_object, **where) == "404"
                assert error_code(s3.get_object, **where) == "NoSuchKey"
                assert error_code(s3.put_object, **where, Body=b"x") == "KeyTooLongError"
                s3.delete_object(**where)
            assert os.listdir(home / "lake" / ".forebay-tmp") == []
            for n in range(4):
                key = {"Bucket": "bucket", "Key": f"dir/{n}"}
                s3.put_object(**key, Body=b"x")
                assert (home / "lake" / "bucket" / "dir" / f"{n}").exists()
                assert s3.get_object(**key)["Body"].read() == b"x"
                s3.delete_object(**key)
                assert not (home / "lake" / "bucket" / "dir" / f"{n}").exists()
            assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0


def test_a_server_of_shorter_commands_refuses_a_key_and_stays_in_step(home, servers):
    with servers.ftp_server(home, longest=700) as url:
        store = open_store(f"{url}/lake", {"timeout": 5})
        put(store, "key", b"x")
        for _ in range(5):
            with pytest.raises(KeyTooLong, match="longest_command"):
                put(store, "n" * 700, b"x")
            assert not exists(store, "n" * 700)
            store.delete("n" * 700)
            put(store, "other", b"y")
            store.delete("other")
            assert names(store.list()) == ["key"]
        store.close()


def test_a_key_may_be_as_long_as_the_longest_command_leaves_room_for(home, servers):
    with servers.ftp_server(home, longest=700) as url:
        store = open_store(url, {"timeout": 5, "longest_command": 700})
        longest = "/".join(["d" * 99, "d" * 99, "d" * 99, "d" * 99, "d" * 99, "d" * 99, "k" * 92])
        assert len(f"MLST /{longest}\r\n") == 700
        put(store, longest, b"x")
        assert read(store, longest) == b"x"
        assert names(store.list()) == [longest]
        with pytest.raises(KeyTooLong, match="takes 693"):
            put(store, f"{longest}k", b"x")
        # Its file cannot be moved to its escape, so it stays and keeps its name.
        with pytest.raises(KeyTooLong):
            put(store, f"{longest}/x", b"x")
        store.delete(longest)
        assert names(store.list()) == []
        store.close()


def test_a_name_that_is_not_utf8_ends_no_listing(home, servers):
    with servers.ftp_server(home) as url:
        store = open_store(f"{url}/lake", {"timeout": 5})
        put(store, "key", b"x")
        for name in (b"\xff", b".forebay~f~\xff"):
            (home / "lake" / os.fsdecode(name)).write_bytes(b"x")
        for _ in range(2):
            assert names(store.list()) == ["key"]
        store.close()
