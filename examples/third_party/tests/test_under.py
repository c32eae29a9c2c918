"""The under store, held against Forebay's conformance kit."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest

from forebay.errors import ConfigurationError
from forebay.streams import BLOCK
from forebay.testing import ForebayMachine, UnderStoreTests, WriteTypeTests
from forebay.testing.under_kit import put, read
from forebay.types import Attributes, ByteRange
from forebay_example.under import PAGE, SqliteUnderStore

CONNECTED = []
sys.addaudithook(lambda name, args: CONNECTED.append(args) if name == "sqlite3.connect" else None)


class TestSqliteUnderStore(UnderStoreTests):
    """Every sentence of the contract."""

    many = 4 * PAGE

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "objects.db"

    @pytest.fixture
    def under(self, path):
        store = SqliteUnderStore(str(path), "process")
        yield store
        store.close()

    def poke(self, under, key, content):
        name = key.encode()
        with sqlite3.connect(under._path) as db:
            db.execute(
                "DELETE FROM blocks WHERE version IN (SELECT version FROM objects WHERE key = ?)",
                [name],
            )
            db.execute("DELETE FROM objects WHERE key = ?", [name])
            row = [name, len(content), datetime.now(UTC).timestamp(), "poked", "[{}, {}, {}]"]
            version = db.execute(
                "INSERT INTO objects (key, size, modified, etag, attributes)"
                " VALUES (?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            for at in range(0, len(content), BLOCK):
                block = content[at : at + BLOCK]
                db.execute("INSERT INTO blocks VALUES (?, ?, ?)", [version, at // BLOCK, block])
        db.close()

    def peek(self, under, key):
        query = "SELECT content FROM blocks NATURAL JOIN objects WHERE key = ? ORDER BY number"
        with sqlite3.connect(under._path) as db:
            rows = db.execute(query, [key.encode()]).fetchall()
        db.close()
        return b"".join(block for (block,) in rows) if rows else None

    def opening(self, under):
        return SqliteUnderStore.from_uri, (f"sqlite://{under._path}", {"durability": "process"})

    def steps(self, under, call):
        CONNECTED.clear()
        call()
        return len(CONNECTED)

    def sever(self, under):
        under._kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(under._path, "r+b") as file:
            file.write(b"no database at all")
        return True


class TestWriteTypes(WriteTypeTests):
    """What Forebay promises of every write type and delete type, over this store."""

    @pytest.fixture
    def mount_uri(self, tmp_path):
        return f"sqlite://{tmp_path}/objects.db"


class OverSqlite(ForebayMachine):
    def uri(self, directory):
        return f"sqlite://{directory}/objects.db"


class TestForebay(OverSqlite.TestCase):
    """A whole Forebay over this store, against a model of S3."""

    settings = OverSqlite.histories


@pytest.fixture
def store(tmp_path):
    with closing(SqliteUnderStore(str(tmp_path / "objects.db"))) as store:
        yield store


def test_a_range_over_blocks_is_cut_right(store):
    content = bytes(range(251)) * 13_000
    put(store, "k", content)
    for start, stop in ((0, 1), (BLOCK - 1, BLOCK + 1), (BLOCK, 2 * BLOCK), (5, 3 * BLOCK + 9)):
        assert read(store, "k", ByteRange(start, stop)) == content[start:stop]


def test_blocks_go_with_their_object(store, tmp_path):
    for content in (b"1" * BLOCK, b"2" * (2 * BLOCK)):
        put(store, "k", content, attributes=Attributes())
    store.delete("k")
    with sqlite3.connect(tmp_path / "objects.db") as db:
        assert db.execute("SELECT count(*) FROM blocks").fetchone() == (0,)
    db.close()


@pytest.mark.parametrize("uri", ["sqlite://host/x.db", "sqlite://", "sqlite:///"])
def test_another_uri_is_refused(uri):
    with pytest.raises(ConfigurationError, match="sqlite:///path"):
        SqliteUnderStore.from_uri(uri, {})


def test_another_option_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="'colour' is no option"):
        SqliteUnderStore.from_uri(f"sqlite://{tmp_path}/x.db", {"colour": "blue"})
