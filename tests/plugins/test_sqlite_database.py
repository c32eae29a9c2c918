import os
import sqlite3

import pytest

from forebay.errors import CatalogTooNew, ConfigurationError, Corrupt, StorageError, Unavailable
from forebay.testing.metadata import put, rows
from forebay_sqlite import database
from forebay_sqlite.metadata import SqliteMetadataStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.db"


def edit(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def mountinfo(tmp_path, kind):
    device = tmp_path.stat().st_dev
    written = tmp_path / "mountinfo"
    written.write_text(
        "22 1 0:99999 / /else rw - ext4 /dev/x rw\n"
        f"23 1 {os.major(device)}:{os.minor(device)} / /here rw,relatime shared:1 - {kind} src rw\n"
    )
    return written


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "ext4"])
def test_file_system_reads_the_kernels_table(tmp_path, kind):
    assert database.file_system(tmp_path, mountinfo(tmp_path, kind)) == kind


def test_file_system_is_unknown_where_there_is_no_table(tmp_path):
    assert database.file_system(tmp_path, tmp_path / "missing") == ""


@pytest.mark.parametrize("kind", ["nfs", "smb3", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(database.file_system, "__defaults__", (mountinfo(tmp_path, kind),))
    with pytest.raises(ConfigurationError, match=f"network file system .{kind}.*local disk"):
        SqliteMetadataStore(tmp_path / "catalog.db")


@pytest.mark.parametrize(("kind", "durable"), [("tmpfs", False), ("xfs", True)])
def test_memory_file_systems_are_not_durable(tmp_path, monkeypatch, kind, durable):
    monkeypatch.setattr(database.file_system, "__defaults__", (mountinfo(tmp_path, kind),))
    store = SqliteMetadataStore(tmp_path / "catalog.db")
    assert store.durable is durable
    store.close()


def test_missing_directories_are_made(tmp_path):
    SqliteMetadataStore(tmp_path / "a" / "b" / "catalog.db").close()
    assert (tmp_path / "a" / "b" / "catalog.db").exists()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file"):
        SqliteMetadataStore(tmp_path / "file" / "catalog.db")


def test_a_name_with_odd_characters_is_one_name(tmp_path):
    store = SqliteMetadataStore(tmp_path / "a b?mode=ro#%20.db")
    put(store, [(b"k", b"v")])
    store.close()
    assert (tmp_path / "a b?mode=ro#%20.db").exists()


def test_another_programs_database_is_refused_and_left_alone(path):
    edit(path, "CREATE TABLE mine (a)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another program's"):
        SqliteMetadataStore(path)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(path):
    SqliteMetadataStore(path).close()
    edit(path, f"PRAGMA user_version = {database.FORMAT + 1}")
    with pytest.raises(CatalogTooNew, match=r"format 2.*upgrade"):
        SqliteMetadataStore(path)


def test_a_file_that_is_no_database_is_corrupt(path):
    path.write_bytes(b"x" * 8192)
    with pytest.raises(Corrupt, match="not an SQLite database"):
        SqliteMetadataStore(path)


def test_a_damaged_page_is_corrupt_and_the_rest_is_readable(path):
    store = SqliteMetadataStore(path)
    put(store, [(b"%04d" % each, os.urandom(400)) for each in range(500)])
    store.close()
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xa5" * 4096)
    store = SqliteMetadataStore(path)
    with pytest.raises(Corrupt, match=r"damaged.*restore"):
        rows(store)
    assert store.read(lambda s: s.get(b"0000")) is not None
    store.close()


def test_another_programs_lock_is_unavailable(path):
    store = SqliteMetadataStore(path, busy_timeout=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="another program"):
        put(store, [(b"k", b"v")])
    other.execute("ROLLBACK")
    put(store, [(b"k", b"v")])
    assert rows(store) == [(b"k", b"v")]
    other.close()
    store.close()


def test_a_read_only_catalog_is_told_in_words(path):
    SqliteMetadataStore(path).close()
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("DELETE FROM kv")
    connection.close()
    said = database.told(caught.value, path)
    assert type(said) is StorageError
    assert "read-only; check the permissions" in str(said)
    assert said.__cause__ is caught.value


def test_an_error_without_a_saying_is_told_as_it_is(path):
    said = database.told(sqlite3.ProgrammingError("odd"), path)
    assert type(said) is StorageError
    assert "odd" in str(said)
