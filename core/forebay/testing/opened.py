"""A Forebay opened for a test: its work done when the test says so, its stores made to fail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from forebay.catalog import keys
from forebay.catalog.records import Bucket, Record
from forebay.config import Config
from forebay.errors import (
    BodyError,
    NoSuchKey,
    Unavailable,
)
from forebay.objects.write import Written
from forebay.runtime import Forebay
from forebay.streams import BLOCK, BytesReader
from forebay.testing.faults import (
    At,
    FailingUnderStore,
    FullPageStore,
    PageStoreLayer,
    UnderStoreLayer,
)
from forebay.types import Attributes, WriteType

KEPT = Attributes({"content-type": "text/x-test"}, {"made-by": "matrix"}, {"team": "sea"})


class Content:
    """A verified body of known bytes; `fault` says how its end turns out.

    ``digest``: all bytes come and then do not fit; ``short``: they stop after half.
    """

    def __init__(self, content: bytes, fault: str = "") -> None:
        self.length: int | None = len(content)
        self.checksums: Mapping[str, str] = {}
        self.md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self._fault = fault
        self._reader = BytesReader(content[: len(content) // 2] if fault == "short" else content)

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes; raises BodyError at the end of a bad body."""
        block = self._reader.read(size)
        if not block and self._fault:
            raise BodyError("BadDigest" if self._fault == "digest" else "IncompleteBody")
        return block


def content_of(name: str, size: int) -> bytes:
    """Make `size` bytes that nothing else has."""
    return (hashlib.sha512(name.encode()).digest() * (size // 64 + 1))[:size]


class OpenedForebay:
    """A Forebay whose work behind the requests is done when a test says so, and its layers."""

    def __init__(self, config: Config, plugins: Sequence[object] = ()) -> None:
        self.under = UnderStoreLayer(FailingUnderStore)
        self.pages = PageStoreLayer(FullPageStore)
        self.forebay = Forebay(config, plugins=[self.under, self.pages, *plugins])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forebay.close()

    @property
    def bucket(self) -> Bucket:
        """The bucket of all tests."""
        return self.forebay.buckets.get("bucket")

    @property
    def raw(self) -> Any:
        """The under store of the mount ``/`` behind every layer of the tests."""
        return self.under.stores[0].inner

    def put(self, key: str, content: bytes, write_type: WriteType, fault: str = "") -> Written:
        """Write an object."""
        return self.forebay.writes.put(
            self.bucket,
            key,
            Content(content, fault),
            attributes=KEPT,
            owner="tester",
            requested=write_type,
        )

    def get(self, key: str) -> bytes | None:
        """Read an object whole, or None."""
        try:
            with self.forebay.reads.get(self.bucket, key, lambda _: None) as opened:
                return b"".join(iter(lambda: opened.read(BLOCK), b""))
        except NoSuchKey:
            return None

    def head(self, key: str) -> Record | None:
        """Give the record of an object, or None."""
        try:
            return self.forebay.reads.head(self.bucket, key)
        except NoSuchKey:
            return None

    def listed(self) -> dict[str, int]:
        """Give every listed key and its size."""
        entries = self.forebay.listings.objects(self.bucket).entries
        return {e.key: e.size for e in entries}  # type: ignore[union-attr]  # no delimiter

    def fail(self, at: At | None, error: Callable[[], Exception] = Unavailable) -> None:
        """Let every put of the under store fail at a moment, or heal it."""
        for store in self.under.stores:
            store.at, store.error = at, error

    def fill(self, full: bool = True) -> None:
        """Take every tier's room away, or give it back."""
        for store in self.pages.stores:
            store.full = full

    def persist(self) -> None:
        """Do every persist job that is due."""
        while self.forebay.persist.run_one():
            pass

    def clean(self) -> None:
        """Let what was read reach its shelf, and do the work of housekeeping."""
        assert self.forebay._shared.fetches.settle(30)
        self.forebay.housekeeping.settle_late()
        while self.forebay.housekeeping.empty_trash():
            pass
        self.forebay.cache.recount()

    def held(self, kind: bytes) -> list[bytes]:
        """Give the names of the catalog's rows of a kind."""
        return self.forebay.catalog.read(lambda s: [row for row, _ in s.scan(kind, kind + b"\xff")])

    def leavings(self) -> dict[str, object]:
        """Say what is where nothing may be left: in the trash, on the shelves, reserved."""
        self.clean()
        used = {row[1:].split(b"\0")[0].decode() for row in self.held(b"s")}
        shelved = list(self.forebay.cache.segments())
        objects = {record.object_id for record in self._records()}
        left = {
            "trash": self.held(keys.TRASH),
            "intents": self.held(keys.INTENTS),
            "unsettled": list(self.forebay.housekeeping._shared.unsettled),
            "segments of nobody": [
                page for _, page, _ in shelved if page.segment not in used | objects
            ],
            "uses of nothing": sorted(used - {page.segment for _, page, _ in shelved}),
            "inline of nobody": sorted(
                {row[1:].decode() for row in self.held(b"n")} - objects,
            ),
            "room": sum(room.used for room in self.forebay.cache.room())
            - sum(size for _, _, size in shelved),
        }
        return {what: found for what, found in left.items() if found}

    def _records(self) -> list[Record]:
        from forebay.catalog.catalog import rows

        return self.forebay.catalog.read(lambda s: [record for _, record in rows(s, b"o", Record)])
