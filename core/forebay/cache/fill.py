"""The bytes of a segment that comes from elsewhere: from pages, else from fetches."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from types import TracebackType
from typing import Self

from forebay.cache.fetch import Fetch, Fetches, Source
from forebay.errors import Corrupt
from forebay.lanes import Lanes
from forebay.stores.pages import PageReader
from forebay.streams import BLOCK, Chunk, ChunksReader, Segment
from forebay.types import ByteRange, PageId

RUN = 8 << 20
"""Most bytes of one fetch; runs begin and end at its multiples, so that they meet."""
_OVER = 2 << 20
"""Most bytes in a row that a fetch brings although they are there: what a request costs."""
_OPENED = 256
"""Most pages that are kept open before they are read; fewer where a process may open few files."""
_FEW = 16
"""Pages that it opens of a longer range, which cannot be sent as files."""
_LOOKED_AT = 1024
"""Pages that `plan` looks for at most; a longer range is judged by its beginning."""
_REST = 0.2
"""Longest wait, in seconds, for the pages of a body that was read."""
_LOOKS = 3
"""How often a page may come and go before it is asked of the source whatever the cache says."""


def fetch_stop(index: int, limit: int, page: int, there: Callable[[int], bool]) -> int:
    """Give the end of the fetch from page `index`: of one run, its last page not `there` either.

    It goes on over a few pages that are there, of `page` bytes each: another request would cost
    more. It ends at `limit` at the latest.
    """
    in_run = max(1, RUN // page)
    at = stop = index + 1
    limit = min(limit, (index // in_run + 1) * in_run)
    while at < limit and (at - stop) * page <= _OVER:
        if not there(at):
            stop = at + 1
        at += 1
    return stop


class PageBody:
    """Gives bytes of a segment: page by page where they are, else from the source.

    What is fetched feeds the reader and the pages at once, several runs ahead of the reader.
    Pages are admitted when their whole fetch proved right; the last bytes of the body are
    given only after that, so a reader who has them all has them of one version.
    """

    cache: str = ""
    """HIT, MISS or PARTIAL, as `plan` found it."""

    def __init__(self, fetches: Fetches, source: Source, byte_range: ByteRange) -> None:
        """Prepare to give `byte_range` (within 0 to the size) of the segment of `source`."""
        self._fetches = fetches
        self._cache = fetches.cache
        self._source = source
        self._segment = source.segment
        self._size = source.size
        self._range = byte_range
        self._page = self._cache.page_size
        self._first = byte_range.start // self._page
        self._stop = -(-byte_range.stop // self._page) if byte_range.length else self._first
        self._in_run = max(1, RUN // self._page)
        self._at_once = self._in_run
        self._most = min(_OPENED, fetches.files // 64)
        self._held: dict[int, PageReader] = {}
        self._joined: dict[int, Fetch] = {}
        self._ahead = self._first
        self._looks = 0
        self._short = byte_range.length <= RUN
        self._read: list[Fetch] = []
        self._chunks = self._blocks()
        self._reader = ChunksReader(self._chunks)

    def plan(self) -> str:
        """Look which pages are there and set `cache`; opens the first ones, reads no source."""
        if self.cache:
            return self.cache
        count = self._stop - self._first
        window = self._first + (count if count <= self._most else _FEW)
        seen: set[bool] = set()
        for index in range(self._first, min(self._stop, self._first + _LOOKED_AT)):
            opens = index < window and False not in seen
            seen.add((opens and self._keep(index)) or self._near(index))
            if len(seen) > 1:
                break
        self.cache = "PARTIAL" if len(seen) > 1 else "MISS" if False in seen else "HIT"
        return self.cache

    def segments(self) -> list[Segment] | None:
        """Give the body as pieces of files, valid until `close`; None unless all of it is.

        To be asked after `plan`, instead of reading.
        """
        pieces = []
        start, page = self._range.start, self._page
        for index in range(self._first, self._stop):
            reader = self._held.get(index)
            fd = None if reader is None else reader.fileno()
            if fd is None:
                return None
            stop = min(self._range.stop, (index + 1) * page)
            pieces.append(Segment(fd, start - index * page, stop - start))
            start = stop
        return pieces

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes; none only at the end.

        Raises SourceChanged when the source gives another length than it should, what the
        source raises, and Unavailable when too many wait for it or nothing comes.
        """
        return self._reader.read(size)

    def view(self, size: int, /) -> Chunk:
        """Do as `read`; what was fetched is shown where it is."""
        return self._reader.view(size)

    def close(self) -> None:
        """Stop; a fetch under way of which nothing was read yet is broken off."""
        self._chunks.close()
        self._read += self._joined.values()
        while self._joined:
            self._joined.popitem()[1].detach()
        # Of a short body the pages are there when it is closed; a long one does not wait.
        until = time.monotonic() + _REST
        for fetch in self._read:
            if self._short and fetch.proved:
                with Lanes.aside(self._source.name):
                    fetch.rest(until - time.monotonic())
        while self._held:
            self._held.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _blocks(self) -> Generator[Chunk, None, None]:
        self.plan()
        at = self._range.start
        while at < self._range.stop:
            index = at // self._page
            # What waits in memory first: it is there whether its pages found room or not.
            if index not in self._joined and self._keep(index):
                for piece in self._from_page(index, at):
                    at += len(piece)
                    yield piece
                continue
            fetch = self._join(index)
            self._look_ahead(fetch.stop)
            stop = min(fetch.end, self._range.stop)
            self._looks += 1
            while at < stop:
                block = fetch.read(at, self._range.stop, refuse=at == self._range.start)
                if not block:
                    break
                self._looks = 0
                at += len(block)
                yield block
            else:
                fetch.prove()
                self._at_once = min(2 * self._at_once, self._in_run)
            if at < stop and not self._looks:
                # Others needed its memory: if its client is slow, little is held for it from now.
                self._at_once = 1
            self._joined.pop(index).detach()
            if self._short:
                self._read.append(fetch)

    def _join(self, index: int) -> Fetch:
        """Attach to the fetch that brings a page, which is not there, and those behind it."""
        if index not in self._joined:
            stop = self._missing(index)
            sure = self._looks > _LOOKS
            self._joined[index] = self._fetches.join(self._source, index, stop, sure=sure)
        return self._joined[index]

    def _look_ahead(self, index: int) -> None:
        """Have what the reader will need from page `index` fetched, as far as there is room."""
        self._ahead = max(self._ahead, index)
        parallel = self._fetches.parallel if self._at_once == self._in_run else 0
        limit = min(self._stop, index + parallel * self._in_run)
        while self._ahead < limit and len(self._joined) < parallel:
            if self._there(self._ahead):
                self._ahead += 1
                continue
            stop = self._missing(self._ahead)
            fetch = self._fetches.try_join(self._source, self._ahead, stop, attach=True)
            if fetch is None:
                return
            self._joined[self._ahead] = fetch
            self._ahead = fetch.stop

    def _missing(self, index: int) -> int:
        """Give the end of the fetch from page `index`; the pages that it brings are let go of."""
        stop = fetch_stop(index, min(self._stop, index + self._at_once), self._page, self._there)
        for brought in range(index, stop):
            if brought in self._held:
                self._held.pop(brought).close()
        return stop

    def _there(self, index: int) -> bool:
        """Tell whether a page is on a shelf; it is kept open, as it might go before it is read."""
        if len(self._held) < self._most:
            return self._keep(index)
        return index in self._held or self._cache.holds_page(self._segment, index)

    def _near(self, index: int) -> bool:
        """Tell whether a page is on a shelf, or in memory on its way there."""
        return self._fetches.has(self._segment, index) or self._cache.holds_page(
            self._segment, index
        )

    def _keep(self, index: int) -> bool:
        """Have a page open, if it is there."""
        if index in self._held:
            return True
        reader = self._cache.open_page(self._segment, index)
        if reader is None:
            return False
        if reader.size != self._length(index):
            reader.close()
            self._cache.drop(PageId(self._segment, self._page, index))
            return False
        self._held[index] = reader
        return True

    def _from_page(self, index: int, at: int) -> Iterator[bytes]:
        begin = index * self._page
        offset, stop = at - begin, min(self._range.stop - begin, self._length(index))
        with closing(self._held.pop(index)) as reader:
            while offset < stop:
                block = reader.pread(min(BLOCK, stop - offset), offset)
                if not block:
                    raise Corrupt(f"page {index} of segment {self._segment} ends early")
                offset += len(block)
                yield block

    def _length(self, index: int) -> int:
        return min(self._page, self._size - index * self._page)
