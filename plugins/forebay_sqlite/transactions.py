"""What a function sees of the table: a snapshot of one connection, or the write transaction."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from forebay.errors import StorageError

CHUNK: Final = 256
"""Rows at most that a scan inside a transaction fetches at a time."""

GET: Final = "SELECT v FROM kv WHERE k = ?"
PUT: Final = "INSERT INTO kv VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
DELETE: Final = "DELETE FROM kv WHERE k = ?"
SCAN: Final = {
    False: "SELECT k, v FROM kv WHERE k >= ? AND k < ? ORDER BY k",
    True: "SELECT k, v FROM kv WHERE k >= ? AND k < ? ORDER BY k DESC",
}


class TableSnapshot:
    """One read transaction, as long as its function runs."""

    __slots__ = ("_cursor", "_execute", "_scans")

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._execute: Callable[..., sqlite3.Cursor] = cursor.execute
        self._cursor: Callable[[], sqlite3.Cursor] = cursor.connection.cursor
        self._scans: list[weakref.ref[sqlite3.Cursor]] = []

    def get(self, key: bytes, /) -> bytes | None:
        """Give a key's value, or None."""
        row = self._execute(GET, (key,)).fetchone()
        return None if row is None else row[0]

    def scan(
        self, start: bytes, stop: bytes, /, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Give keys and values of the half-open range in byte order, lazily."""
        # A cursor is its own lazy iterator; held weakly, one that is dropped early is free.
        cursor = self._cursor()
        self._scans.append(weakref.ref(cursor))
        return cursor.execute(SCAN[reverse], (start, stop))

    def end(self) -> None:
        """Refuse every further use, and free what the function left open."""
        self._execute = self._cursor = _ended
        for reference in self._scans:
            if (cursor := reference()) is not None:
                cursor.close()


class TableTransaction:
    """One function's view of the write transaction that it may share with others.

    A scan sees every change of its own function, also one made while it runs.
    """

    __slots__ = ("_changes", "_execute")

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._execute: Callable[..., sqlite3.Cursor] = cursor.execute
        self._changes = 0

    def get(self, key: bytes, /) -> bytes | None:
        """Give a key's value, or None."""
        row = self._execute(GET, (key,)).fetchone()
        return None if row is None else row[0]

    def put(self, key: bytes, value: bytes, /) -> None:
        """Set a key."""
        self._changes += 1
        self._execute(PUT, (key, value))

    def delete(self, key: bytes, /) -> None:
        """Remove a key; a missing one is fine."""
        self._changes += 1
        self._execute(DELETE, (key,))

    def scan(
        self, start: bytes, stop: bytes, /, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Give keys and values of the half-open range in byte order, lazily."""
        # Chunks grow, so that a look at one row fetches one; a change drops what was fetched.
        limit = 1
        while True:
            seen = self._changes
            rows = self._execute(SCAN[reverse] + " LIMIT ?", (start, stop, limit)).fetchall()
            for row in rows:
                yield row
                if reverse:
                    stop = row[0]
                else:
                    start = row[0] + b"\0"
                if self._changes != seen:
                    break
            else:
                if len(rows) < limit:
                    return
                limit = min(limit * 4, CHUNK)

    def end(self) -> None:
        """Refuse every further use, and free what the function left open."""
        self._execute = _ended


def _ended(*_: object) -> NoReturn:
    raise StorageError("a snapshot was used after its function had ended")
