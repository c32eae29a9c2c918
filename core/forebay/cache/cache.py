"""The tiers together: where a segment goes, where it is found, and how it leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from forebay.cache.residency import Eviction, Report, Residency, Whereabouts
from forebay.cache.tier import Tier, TierRoom
from forebay.errors import Corrupt, NoSpace, StorageError
from forebay.stores.pages import PageReader
from forebay.streams import Chunk
from forebay.types import PageId

_log = logging.getLogger(__name__)

OnCorrupt = Callable[[str, PageId, bool], None]
"""``on_corrupt(tier name, page, evictable)``: an evictable page was dropped."""


class Knows(Protocol):
    """Who knows what lies where on this node: the residency, or a line to it."""

    def missed(self, segment: str) -> None:
        """Take note that a page of a segment has to be fetched."""

    def report(self) -> Report:
        """Tell how the cache of this node does."""

    def whereabouts(self, segment: str) -> list[Whereabouts]:
        """Give every page of a segment, by tier and index."""

    def hits(self, segment: str, page_size: int, first: int, stop: int) -> dict[int, int]:
        """Count the uses of pages `first` to `stop` of a segment on all tiers, by index."""

    def evictions(self, segment: str) -> dict[PageId, Eviction]:
        """Give the last eviction of each page of a segment, as far as they are remembered."""


class Cache:
    """Segments and pages on ordered tiers, the fastest first; knows nothing of objects."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        *,
        page_size: int,
        on_corrupt: OnCorrupt | None = None,
        residency: Knows | None = None,
    ) -> None:
        """Take over `tiers`, which are closed with the cache; `page_size` of fills in bytes.

        `residency` is that of the tiers, or a line to the process that has it.
        """
        self.page_size = page_size
        self._tiers = list(tiers)
        self._on_corrupt = _report if on_corrupt is None else on_corrupt
        self._residency = residency or Residency(tiers, on_corrupt=self._on_corrupt)

    def writer(self, segment: str, size: int | None, *, durable: bool) -> SegmentWriter:
        """Begin a whole segment of `size` bytes (None: not known) on the first tier with room.

        With `durable` only durable tiers are asked, unless there are none: the writer's own
        `durable` tells the truth. Evicts what may go to make room. Raises NoSpace, or what the
        last tier asked failed with.
        """
        tiers = [tier for tier in self._tiers if tier.durable] if durable else []
        page = PageId(segment)
        return SegmentWriter(tiers or self._tiers, page, size, required=durable)

    @property
    def largest(self) -> int:
        """The capacity of the largest tier that a durable writer may write to, in bytes."""
        durable = [tier for tier in self._tiers if tier.durable]
        return max((tier.capacity for tier in durable or self._tiers), default=0)

    @property
    def outlives_process(self) -> bool:
        """Whether what a durable writer commits is still there when this process has died."""
        return any(tier.durable for tier in self._tiers) or all(
            tier.store.shared_between_processes for tier in self._tiers
        )

    def page_writer(self, segment: str, index: int, size: int) -> SegmentWriter | None:
        """Begin page `index`, which was fetched, of `size` bytes.

        None when no tier takes it, or one has it: no room is made for it in vain.
        """
        page = PageId(segment, self.page_size, index)
        if self.holds_page(segment, index):
            return None
        self._residency.missed(segment)
        try:
            return SegmentWriter(self._tiers, page, size, required=False)
        except NoSpace:
            for tier in self._tiers[:1]:
                tier.notes.refused()
            return None
        except StorageError as error:
            _log.debug("no tier takes a page: %s", error)
            return None

    def open(self, segment: str) -> PageReader | None:
        """Open a whole segment from the first tier that has it, and note the use.

        Raises what went wrong when it was not found but a tier failed that holds the only
        copy: Corrupt, or another StorageError.
        """
        return self._find(PageId(segment))

    def open_page(self, segment: str, index: int) -> PageReader | None:
        """Open page `index` of a segment from the first tier that has it, and note the use."""
        return self._find(PageId(segment, self.page_size, index))

    def holds_page(self, segment: str, index: int) -> bool:
        """Tell whether a page is close at hand, without opening it where that is known."""
        page = PageId(segment, self.page_size, index)
        return any(tier.knows(page) for tier in self._tiers) or any(
            tier.holds(page) for tier in self._tiers
        )

    def find(self, page: PageId) -> list[tuple[str, int]]:
        """Tell on which tiers a page is, and its size there; this is no use of it."""
        return [
            (tier.name, size) for tier in self._tiers if (size := tier.size_of(page)) is not None
        ]

    def delete(self, segment: str, length: int) -> None:
        """Remove a segment, whole and page by page, from every tier, and give its room back.

        `length` is the segment's true length in bytes; where it is not known, `drop` each page.
        """
        self.drop(PageId(segment), length)
        for index in range(-(-length // self.page_size)):
            size = min(self.page_size, length - index * self.page_size)
            self.drop(PageId(segment, self.page_size, index), size)

    def drop(self, page: PageId, size: int | None = None) -> bool:
        """Remove one page, or whole segment, from every tier; tell whether it was anywhere.

        `size` is its true size in bytes, as `segments` tells it; None: not known.
        """
        deleted = [tier.delete(page, size) for tier in self._tiers]
        return True in deleted

    def free(self, segment: str, length: int) -> int:
        """Remove what is a copy of a segment from every tier; give the bytes that are free now.

        What is the only copy stays. `length` as for `delete`.
        """
        pages = [PageId(segment)]
        pages += [PageId(segment, self.page_size, i) for i in range(-(-length // self.page_size))]
        freed = 0
        for tier in self._tiers:
            for page in pages:
                whole = length if not page.page_size else self.page_size
                size = min(whole, length - page.index * self.page_size)
                if tier.expendable(page) and tier.delete(page, size):
                    freed += size
        return freed

    def report(self) -> Report:
        """Tell how the tiers of this node do, and what each mount has of them."""
        return self._residency.report()

    def whereabouts(self, segment: str) -> list[Whereabouts]:
        """Give every page of a segment that is known, by tier and index."""
        return self._residency.whereabouts(segment)

    def hits(self, segment: str, page_size: int, first: int, stop: int) -> dict[int, int]:
        """Count the uses of pages `first` to `stop` of a segment on all tiers, by index."""
        return self._residency.hits(segment, page_size, first, stop)

    def evictions(self, segment: str) -> dict[PageId, Eviction]:
        """Give the last eviction of each page of a segment, as far as they are remembered."""
        return self._residency.evictions(segment)

    def room(self) -> list[TierRoom]:
        """Tell how full each tier is."""
        return [tier.room() for tier in self._tiers]

    def segments(self) -> Iterator[tuple[str, PageId, int]]:
        """Give tier name, page and size of everything on the shelves, lazily."""
        for tier in self._tiers:
            for page, size in tier.store.pages():
                yield tier.name, page, size

    def prime(self) -> None:
        """Meet what is on the shelves now; else the first write that needs room does it."""
        for tier in self._tiers:
            tier.prime()

    def recount(self) -> None:
        """Count the room of each tier anew where a killed process left it in doubt."""
        for tier in self._tiers:
            if tier.doubtful:
                tier.prime()

    def close(self) -> None:
        """Close every tier."""
        for tier in self._tiers:
            tier.close()

    def _find(self, page: PageId) -> PageReader | None:
        failure: StorageError | None = None
        for tier in self._tiers:
            try:
                reader = tier.open(page)
            except StorageError as error:
                evictable = tier.expendable(page)
                tier.failed(error)
                if isinstance(error, Corrupt):
                    if evictable:
                        tier.delete(page)
                    self._on_corrupt(tier.name, page, evictable)
                elif evictable:
                    _log.debug("tier %s counts as a miss: %s", tier.name, error)
                if not evictable:
                    failure = failure or error
                continue
            if reader is not None:
                return reader
        if failure is not None:
            raise failure
        return None


class SegmentWriter:
    """A segment, or a page of one, on its way into the first tier that takes it."""

    tier: str
    """Name of the tier that is being written to."""
    durable: bool
    """Whether that tier can survive a power cut."""

    def __init__(
        self, tiers: Iterable[Tier], page: PageId, size: int | None, *, required: bool
    ) -> None:
        self._tiers = iter(tiers)
        self._page = page
        self._size = size
        self._required = required
        self._begun = False
        self._take_next(NoSpace("no tier may take this"))

    def write(self, block: Chunk, /) -> None:
        """Append bytes. Raises NoSpace or StorageError; the writer must then be aborted."""
        while True:
            try:
                self._writer.write(block)
            except StorageError as error:
                if self._begun:
                    raise
                # Nothing is lost yet: the next tier can have the same block.
                self._writer.abort()
                self._take_next(error)
            else:
                self._begun = self._begun or bool(block)
                return

    def commit(self, *, sync: bool) -> None:
        """Make it visible, whole. With `sync` it survives a power cut before this returns."""
        self._writer.commit(sync=sync)

    def abort(self) -> None:
        """Forget what was written; harmless after `commit` and when called twice."""
        self._writer.abort()

    def _take_next(self, failure: StorageError) -> None:
        for tier in self._tiers:
            try:
                self._writer = tier.writer(self._page, self._size, required=self._required)
            except StorageError as error:
                failure = error
                continue
            self.tier, self.durable = tier.name, tier.durable
            return
        raise failure


def _report(tier: str, page: PageId, evictable: bool) -> None:
    _log.error("tier %s: %s is corrupt%s", tier, page, "" if evictable else " and the only copy")
