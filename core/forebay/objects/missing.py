"""What the cache lacks of one object: what a load fetches of it, and what of that stayed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from forebay.catalog import catalog
from forebay.catalog.records import Record
from forebay.objects.shared import Shared
from forebay.types import ByteRange, PageId, PersistState


@dataclass(slots=True)
class Brought:
    """What came of one object: bytes that were fetched, that were there, that did not stay."""

    fetched: int = 0
    present: int = 0
    unkept: int = 0


class Missing:
    """The missing pages of one object, run by run; all of one version, or from the start again."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.object_id = ""
        self._at = 0
        self.settled = False
        self.brought = Brought()

    def select(self, record: Record) -> ByteRange:
        """Choose the next missing run of an object; an empty one when all of them were fetched."""
        if record.object_id != self.object_id:
            self.object_id, self._at = record.object_id, 0
        refs = self._shared.catalog.read(lambda s: catalog.segments(s, record))
        near = record.local or record.inline or record.state is not PersistState.PERSISTED
        find = self._shared.cache.find
        if not near and refs:
            near = all(ref.segment and find(PageId(ref.segment)) for ref in refs if ref.length)
        missing = None if near else self._missing(record)
        if missing is not None:
            return missing
        fetched = self.brought.fetched
        self.settled = True
        self.brought.present = max(0, record.size - fetched)
        if fetched and not near:
            # Others may need the room more: what did not stay is told, and no failure.
            self.brought.unkept = self._gone(record)
        return ByteRange(0, 0)

    def _gone(self, record: Record) -> int:
        """Count the bytes of an object that are not there, of those that were fetched."""
        self._at, gone = 0, 0
        while (missing := self._missing(record)) is not None:
            gone += missing.length
        return min(gone, self.brought.fetched)

    def _missing(self, record: Record) -> ByteRange | None:
        page, find = self._shared.cache.page_size, self._shared.cache.find
        pages = -(-record.size // page)

        def there(index: int) -> bool:
            return bool(find(PageId(record.object_id, page, index)))

        first = next(itertools.filterfalse(there, range(self._at, pages)), None)
        if first is None:
            self._at = pages
            return None
        stop = next((i for i in range(first + 1, pages) if there(i)), pages)
        self._at = stop
        return ByteRange(first * page, min(stop * page, record.size))
