"""The bytes of a segment that comes from elsewhere: from pages, and into pages on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from types import TracebackType
from typing import Self

from forebay.cache.cache import Cache, SegmentWriter
from forebay.errors import Corrupt, SourceChanged, StorageError
from forebay.stores.pages import PageReader
from forebay.streams import BLOCK, ChunksReader, Segment
from forebay.types import ByteRange, PageId

_log = logging.getLogger(__name__)

RUN = 8 << 20
"""Most bytes of one fetch; runs begin and end at its multiples, so that they meet."""
_OPENED = 16
"""Pages that `plan` opens and keeps open."""
_LOOKED_AT = 1024
"""Pages that `plan` looks for at most; a longer range is judged by its beginning."""
_WAIT = 2.0
"""Longest wait, in seconds, for somebody else's fetch of the same run; its client may be slow."""

Fetch = Callable[[ByteRange], Iterator[bytes]]
"""Gives the bytes of a range from the source, all of one version. Raises StorageError."""


class PageBody:
    """Gives bytes of a segment: page by page where they are, else from the source.

    What is fetched feeds the reader and the pages at once. Pages are admitted when their whole
    fetch proved right; the last bytes of the body are given only after that, so a reader who
    has them all has them of one version.
    """

    cache: str = ""
    """HIT, MISS or PARTIAL, as `plan` found it."""

    def __init__(
        self, cache: Cache, segment: str, size: int, byte_range: ByteRange, fetch: Fetch
    ) -> None:
        """Prepare to give `byte_range` (within 0 to `size`) of a segment of `size` bytes."""
        self._cache = cache
        self._segment = segment
        self._size = size
        self._range = byte_range
        self._fetch = fetch
        self._page = cache.page_size
        self._first = byte_range.start // self._page
        self._stop = -(-byte_range.stop // self._page) if byte_range.length else self._first
        self._in_run = max(1, RUN // self._page)
        self._held: dict[int, PageReader] = {}
        self._chunks = self._blocks()
        self._reader = ChunksReader(self._chunks)

    def plan(self) -> str:
        """Look which pages are there and set `cache`; opens the first ones, reads no source."""
        if self.cache:
            return self.cache
        window = min(self._stop, self._first + _OPENED)
        seen = {self._keep(index) for index in range(self._first, window)}
        for index in range(window, min(self._stop, self._first + _LOOKED_AT)):
            if len(seen) > 1:
                break
            seen.add(self._cache.holds_page(self._segment, index))
        self.cache = "PARTIAL" if len(seen) > 1 else "MISS" if False in seen else "HIT"
        return self.cache

    def segments(self) -> list[Segment] | None:
        """Give the body as pieces of files, valid until `close`; None unless all of it is.

        To be asked after `plan`, instead of reading.
        """
        pieces = []
        for index in range(self._first, self._stop):
            reader = self._held.get(index)
            fd = None if reader is None else reader.fileno()
            if fd is None:
                return None
            part = self._part(index)
            pieces.append(Segment(fd, part.start, part.length))
        return pieces

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes; none only at the end.

        Raises SourceChanged when the source gives another length than it should, and what
        `fetch` raises.
        """
        return self._reader.read(size)

    def close(self) -> None:
        """Stop; a fetch under way is left, and its pages are not admitted."""
        self._chunks.close()
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

    def _blocks(self) -> Generator[bytes, None, None]:
        self.plan()
        index = self._first
        while index < self._stop:
            if self._keep(index):
                yield from self._from_page(index)
                index += 1
                continue
            run = index // self._in_run
            mine = self._claim(index, run)
            try:
                # Whoever had the run before may have brought the page.
                if not self._keep(index):
                    stop = index + 1
                    limit = min(self._stop, (run + 1) * self._in_run)
                    while stop < limit and not self._keep(stop):
                        stop += 1
                    yield from self._from_source(index, stop)
                    index = stop
            finally:
                if mine:
                    self._cache.flights.release(self._segment, run)

    def _claim(self, index: int, run: int) -> bool:
        """Claim the run of a page; False when the page came meanwhile, or too slowly."""
        deadline = time.monotonic() + _WAIT
        while not self._cache.flights.claim(self._segment, run, deadline - time.monotonic()):
            if self._keep(index) or time.monotonic() >= deadline:
                return False
        return True

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

    def _from_page(self, index: int) -> Iterator[bytes]:
        part = self._part(index)
        offset = part.start
        with closing(self._held.pop(index)) as reader:
            while offset < part.stop:
                block = reader.pread(min(BLOCK, part.stop - offset), offset)
                if not block:
                    raise Corrupt(f"page {index} of segment {self._segment} ends early")
                offset += len(block)
                yield block

    def _from_source(self, first: int, stop: int) -> Iterator[bytes]:
        run = ByteRange(first * self._page, min(stop * self._page, self._size))
        wanted = self._range
        position = run.start
        last: list[bytes] = []
        lengths = {index: self._length(index) for index in range(first, stop)}
        shelf = _Shelf(self._cache, self._segment, lengths)
        chunks = self._fetch(run)
        try:
            for block in chunks:
                if position + len(block) > run.stop:
                    break
                shelf.write(block)
                part = block[max(0, wanted.start - position) : max(0, wanted.stop - position)]
                position += len(block)
                if position >= wanted.stop:
                    last.append(part)
                elif part:
                    yield part
            else:
                if position == run.stop:
                    shelf.commit()
                    yield from last
                    return
            raise SourceChanged(f"segment {self._segment}: the source is not {self._size} bytes")
        finally:
            shelf.abort()
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _length(self, index: int) -> int:
        return min(self._page, self._size - index * self._page)

    def _part(self, index: int) -> ByteRange:
        """Give what is wanted of a page, as offsets in it."""
        begin = index * self._page
        stop = min(self._range.stop - begin, self._length(index))
        return ByteRange(max(0, self._range.start - begin), stop)


class _Shelf:
    """The pages of one fetch on their way into the cache: all that found room, or none."""

    def __init__(self, cache: Cache, segment: str, lengths: Mapping[int, int]) -> None:
        self._cache = cache
        self._segment = segment
        self._lengths = iter(lengths.items())
        self._left = 0
        self._writer: SegmentWriter | None = None
        self._whole: list[SegmentWriter] = []

    def write(self, block: bytes) -> None:
        """Spread a block over pages; a page that fails is left out, the reader goes on."""
        rest = memoryview(block)
        while rest:
            if not self._left:
                index, self._left = next(self._lengths)
                self._writer = self._cache.page_writer(self._segment, index, self._left)
            part = rest[: self._left]
            if self._writer is not None:
                try:
                    self._writer.write(block if len(part) == len(block) else bytes(part))
                except StorageError as error:
                    self._leave(self._writer, error)
                    self._writer = None
            rest = rest[len(part) :]
            self._left -= len(part)
            if not self._left and self._writer is not None:
                self._whole.append(self._writer)
                self._writer = None

    def commit(self) -> None:
        """Admit every page that is whole."""
        while self._whole:
            writer = self._whole.pop(0)
            try:
                writer.commit(sync=False)
            except StorageError as error:
                self._leave(writer, error)

    def abort(self) -> None:
        """Leave every page that was not admitted."""
        if self._writer is not None:
            self._whole.append(self._writer)
            self._writer = None
        while self._whole:
            self._whole.pop().abort()

    def _leave(self, writer: SegmentWriter, error: StorageError) -> None:
        _log.warning("a page of segment %s is not kept: %s", self._segment, error)
        writer.abort()
