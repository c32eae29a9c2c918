"""Objects in one SQLite file: the under store for ``sqlite:///path/of/objects.db``."""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import unquote, urlsplit

from forebay.errors import (
    ConfigurationError,
    InvalidKey,
    NoSpace,
    NotFound,
    NotSupported,
    PreconditionFailed,
    StorageError,
    Unavailable,
)
from forebay.stores.listing import roll_up
from forebay.streams import BLOCK, ChunksReader, Reader
from forebay.types import Attributes, ByteRange, Capabilities, CommonPrefix, ObjectInfo

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS objects (
    version INTEGER PRIMARY KEY AUTOINCREMENT,  -- of an overwrite it is another one
    key BLOB NOT NULL UNIQUE,                   -- bytes: sorted as the contract wants it
    size INTEGER NOT NULL, modified REAL NOT NULL, etag TEXT NOT NULL, attributes TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS blocks (
    version INTEGER NOT NULL REFERENCES objects ON DELETE CASCADE,
    number INTEGER NOT NULL, content BLOB NOT NULL, PRIMARY KEY (version, number)
) WITHOUT ROWID;
"""
FIELDS = "key, version, size, modified, etag, attributes"
PAGE = 100
"""Objects that a listing reads at a time."""
SYNCHRONOUS = {"disk": "FULL", "process": "NORMAL"}


class SqliteReader(ChunksReader):
    """Gives the bytes of one version."""

    def __init__(self, info: ObjectInfo, chunks: Iterator[bytes]) -> None:
        super().__init__(chunks)
        self.info = info

    def fileno(self) -> int:
        """Raise NotSupported: no file holds the object alone."""
        raise NotSupported("an object in a database has no file of its own")


def check_options(uri: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError with every fault; makes no file."""
    parts = urlsplit(uri)
    faults = [f"{name!r} is no option of sqlite" for name in options if name != "durability"]
    if parts.netloc or len(parts.path) < 2:
        faults.append(f"{uri!r}: write sqlite:///path/of/objects.db")
    if faults:
        raise ConfigurationError(*faults)


class SqliteUnderStore:
    """A table of objects and a table of their blocks; a put is one transaction."""

    capabilities = Capabilities(
        any_key=True,
        atomic_put=True,
        conditional_put=True,
        attributes=True,
        strong_etag=True,
        shared_between_processes=True,
    )

    def __init__(self, path: str, durability: str = "disk") -> None:
        self._path = path
        self._synchronous = SYNCHRONOUS[durability]
        with self._errors(path):
            self._kept = self._connect()  # while one is open, closing another costs no checkpoint
            self._kept.executescript(SCHEMA)

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, Any]) -> SqliteUnderStore:
        """Open or make the file. Raises ConfigurationError, Unavailable."""
        check_options(uri, options)
        return cls(unquote(urlsplit(uri).path), options.get("durability", "disk"))

    def close(self) -> None:
        """Close the one connection that is not of a call."""
        with self._errors(self._path):
            self._kept.close()

    def head(self, key: str, /) -> ObjectInfo:
        """Tell of one object. Raises NotFound."""
        with self._errors(key), closing(self._connect()) as db:
            return _find(db, key)

    @contextmanager
    def open(
        self, key: str, /, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> Iterator[SqliteReader]:
        """Open an object: its transaction shows one version for as long as it is open."""
        with self._errors(key):
            connection = self._connect()
        with closing(connection) as db:
            with self._errors(key):
                db.execute("BEGIN")
                info = _find(db, key)
            if if_match not in (None, info.fingerprint):
                raise PreconditionFailed(f"{key!r} is not the version {if_match}")
            yield SqliteReader(info, self._blocks(db, info, byte_range or ByteRange(0, info.size)))

    def put(
        self,
        key: str,
        /,
        body: Reader,
        *,
        size: int | None,
        attributes: Attributes,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> ObjectInfo:
        """Stage the body outside of the database, which a slow client must not lock."""
        name, digest = _name(key), hashlib.md5(usedforsecurity=False)
        with TemporaryFile() as staged:
            while block := body.read(BLOCK):  # what it raises is the caller's
                digest.update(block)
                with self._errors(key):
                    staged.write(block)
            length = staged.tell()
            if size not in (None, length):
                raise StorageError(f"{key!r}: the body is not of the {size} bytes announced")
            row = [name, length, datetime.now(UTC).timestamp(), digest.hexdigest()]
            with self._errors(key), closing(self._connect()) as db:
                staged.seek(0)
                db.execute("BEGIN IMMEDIATE")
                found = _get(db, name)
                if (if_none_match and found) or (
                    if_match and (found is None or found.fingerprint != if_match)
                ):
                    raise PreconditionFailed(f"{key!r} is not as the condition wants it")
                db.execute("DELETE FROM objects WHERE key = ?", [name])
                version = db.execute(
                    "INSERT INTO objects (key, size, modified, etag, attributes)"
                    " VALUES (?, ?, ?, ?, ?)",
                    [*row, _packed(attributes)],
                ).lastrowid
                for number, block in enumerate(iter(lambda: staged.read(BLOCK), b"")):
                    db.execute("INSERT INTO blocks VALUES (?, ?, ?)", [version, number, block])
                db.execute("COMMIT")
                return _find(db, key)

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success."""
        with self._errors(key), closing(self._connect()) as db:
            db.execute("DELETE FROM objects WHERE key = ?", [_name(key)])

    def list(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = ""
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List objects in order, a page of the table at a time."""
        entries = self._from(max(prefix, start_after))
        return roll_up(entries, prefix=prefix, delimiter=delimiter, start_after=start_after)

    # --- inside --------------------------------------------------------------------------

    def _from(self, first: str) -> Iterator[ObjectInfo]:
        query = f"SELECT {FIELDS} FROM objects WHERE key >= ? ORDER BY key LIMIT {PAGE}"
        lowest = first.encode("utf-8", "surrogatepass")
        while True:
            with self._errors(first), closing(self._connect()) as db:
                rows = db.execute(query, [lowest]).fetchall()
            yield from map(_info, rows)
            if len(rows) < PAGE:
                return
            lowest = rows[-1][0] + b"\0"

    def _blocks(
        self, db: sqlite3.Connection, info: ObjectInfo, wanted: ByteRange
    ) -> Iterator[bytes]:
        first, version = wanted.start // BLOCK, int(info.fingerprint.partition("-")[0])
        query = "SELECT content FROM blocks WHERE version = ? AND number = ?"
        for number in range(first, -(-min(wanted.stop, info.size) // BLOCK)):
            with self._errors(info.key):
                (block,) = db.execute(query, [version, number]).fetchone()
            at = number * BLOCK
            yield block[max(0, wanted.start - at) : wanted.stop - at]

    def _connect(self) -> sqlite3.Connection:
        # A reader may be handed from thread to thread, but is never used by two at once.
        db = sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            db.execute(f"PRAGMA synchronous = {self._synchronous}")
            db.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error:
            db.close()
            raise
        return db

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
            raise (NoSpace if full else Unavailable)(f"{what!r}: {error}") from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (NoSpace if full else Unavailable)(f"{what!r}: {error}") from error


def _name(key: str) -> bytes:
    try:
        name = key.encode()
    except UnicodeEncodeError as error:
        raise InvalidKey(f"{key!r} is not UTF-8") from error
    if not 1 <= len(name) <= 1024 or b"\0" in name:
        raise InvalidKey(f"{key!r}: a key has 1 to 1,024 bytes without NUL")
    return name


def _get(db: sqlite3.Connection, name: bytes) -> ObjectInfo | None:
    row = db.execute(f"SELECT {FIELDS} FROM objects WHERE key = ?", [name]).fetchone()
    return row and _info(row)


def _find(db: sqlite3.Connection, key: str) -> ObjectInfo:
    found = _get(db, _name(key))
    if found is None:
        raise NotFound(f"{key!r}: there is no such object")
    return found


def _info(row: tuple[Any, ...]) -> ObjectInfo:
    key, version, size, modified, etag, attributes = row
    when = datetime.fromtimestamp(modified, UTC)
    # The ETag too: a new file in the place of this one counts its versions from 1 again.
    fingerprint = f"{version}-{etag}"
    return ObjectInfo(
        key.decode(), size, when, fingerprint, etag, Attributes(*json.loads(attributes))
    )


def _packed(attributes: Attributes) -> str:
    return json.dumps([dict(attributes.headers), dict(attributes.metadata), dict(attributes.tags)])
