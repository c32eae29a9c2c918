"""The tiers together: where a segment goes, where it is found, and how it leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from forebay.cache.tier import Tier, TierRoom
from forebay.errors import Corrupt, NoSpace, StorageError
from forebay.stores.pages import PageReader
from forebay.types import PageId

_log = logging.getLogger(__name__)

OnCorrupt = Callable[[str, PageId, bool], None]
"""``on_corrupt(tier name, page, evictable)``: an evictable page was dropped."""


class Cache:
    """Segments and pages on ordered tiers, the fastest first; knows nothing of objects."""

    def __init__(
        self, tiers: Sequence[Tier], *, page_size: int, on_corrupt: OnCorrupt | None = None
    ) -> None:
        """Take over `tiers`, which are closed with the cache; `page_size` of fills in bytes."""
        self.page_size = page_size
        self._tiers = list(tiers)
        self._on_corrupt = _report if on_corrupt is None else on_corrupt

    def writer(self, segment: str, size: int | None, *, durable: bool) -> SegmentWriter:
        """Begin a whole segment of `size` bytes (None: not known) on the first tier with room.

        With `durable` only durable tiers are asked, unless there are none: the writer's own
        `durable` tells the truth. Evicts what may go to make room. Raises NoSpace, or what the
        last tier asked failed with.
        """
        tiers = [tier for tier in self._tiers if tier.durable] if durable else []
        page = PageId(segment)
        return SegmentWriter(tiers or self._tiers, page, size, required=True)

    @property
    def outlives_process(self) -> bool:
        """Whether what a durable writer commits is still there when this process has died."""
        return any(tier.durable for tier in self._tiers) or all(
            tier.store.shared_between_processes for tier in self._tiers
        )

    def page_writer(self, segment: str, index: int, size: int) -> SegmentWriter | None:
        """Begin page `index` of `size` bytes, or None when no tier can take it now."""
        page = PageId(segment, self.page_size, index)
        try:
            return SegmentWriter(self._tiers, page, size, required=False)
        except NoSpace:
            return None
        except StorageError as error:
            _log.warning("no tier takes a page: %s", error)
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
        if any(tier.knows(page) for tier in self._tiers):
            return True
        reader = self._find(page)
        if reader is None:
            return False
        reader.close()
        return True

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

    def room(self) -> list[TierRoom]:
        """Tell how full each tier is."""
        return [tier.room() for tier in self._tiers]

    def segments(self) -> Iterator[tuple[str, PageId, int]]:
        """Give tier name, page and size of everything on the shelves, lazily."""
        for tier in self._tiers:
            for page, size in tier.store.pages():
                yield tier.name, page, size

    def prime(self) -> None:
        """List the shelves for the policies; else the first write that needs room does it."""
        for tier in self._tiers:
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
                evictable = tier.evictable(page)
                if isinstance(error, Corrupt):
                    if evictable:
                        tier.delete(page)
                    self._on_corrupt(tier.name, page, evictable)
                elif evictable:
                    _log.warning("tier %s counts as a miss: %s", tier.name, error)
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

    def write(self, block: bytes, /) -> None:
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
