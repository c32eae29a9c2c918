"""Fetches: runs of pages on their way from a source into the cache, and to all who wait."""

from __future__ import annotations

import logging
import resource
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from forebay.cache.cache import Cache, SegmentWriter
from forebay.cache.claims import Claims
from forebay.cache.line import Line
from forebay.cache.slots import Slots
from forebay.errors import SourceChanged, StorageError, Unavailable
from forebay.lanes import Lanes
from forebay.streams import Chunk
from forebay.types import ByteRange

_log = logging.getLogger(__name__)

CLAIM_WAIT = 2.0
"""Longest wait, in seconds, for another process that fetches the same pages."""
PAGE_WAIT = 0.5
"""Longest wait for it, in seconds, of who wants a single page, which is cheap to ask for twice."""
STALL = 60.0
"""Seconds without a new byte after which a reader gives a fetch up."""
_TURN = 0.5
"""Longest wait, in seconds, of what was brought for its shelf, while anybody is being fed."""
_LOOK = 0.05
"""Seconds between two looks whether another process waits for what waits for its shelf."""
_GRACE = 0.2
"""Seconds in which who is attached to a fetch that is over may read what it came for."""
_CLOSE_WAIT = 5.0
"""Seconds in which fetches under way may end when the cache is closed."""

Bring = Callable[[ByteRange], Iterator[Chunk]]
"""Gives the bytes of a range from the source, all of one version. Raises StorageError."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of a segment come from: `size` bytes, by `bring`, over the mount `name`."""

    name: str
    segment: str
    size: int
    bring: Bring


class Fetches:
    """The fetches of one process: each page is fetched once however many ask for it.

    `parallel` fetches may be under way for one reader, and all of them together take `memory`
    bytes.
    """

    def __init__(self, cache: Cache, claims: Claims, *, parallel: int, memory: int) -> None:
        """Take over `claims`; threads are made at the first fetch: after a fork, not before."""
        self.cache = cache
        self.claims = claims
        self.parallel = parallel
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.files = 1 << 20 if files == resource.RLIM_INFINITY else files
        self.closed = False
        self.slots = Slots(memory // 4)
        self._line = Line(memory)
        self._reading = 0
        self._quiet = threading.Condition()
        self._lock = threading.Lock()
        self._flying: dict[tuple[str, int], Fetch] = {}

    def join(self, source: Source, first: int, stop: int, *, sure: bool = False) -> Fetch:
        """Attach to the fetch that brings page `first`, or begin one of `first` to `stop`.

        It ends earlier where another fetch begins. With `sure` it is asked of the source even
        if the page is found in the cache meanwhile. `detach` it afterwards. Raises Unavailable.
        """
        with self._lock:
            if self.closed:
                raise Unavailable("the gateway is being closed")
            fetch = self._flying.get((source.segment, first))
            if fetch is None:
                fetch = self._begin(source, first, stop, sure)
                self._line.add(fetch)
                self._take_off(fetch)
            fetch.attach()
            return fetch

    def try_join(self, source: Source, first: int, stop: int, *, attach: bool) -> Fetch | None:
        """As `join`, for pages that nobody waits for yet; None when there is no room for that.

        Without `attach` the fetch is on its own.
        """
        with self._lock:
            fetch = self._flying.get((source.segment, first))
            if fetch is None:
                fetch = self._begin(source, first, stop, sure=False)
                if not self._line.offer(fetch):
                    return None
                self._take_off(fetch)
            if attach:
                fetch.attach()
            return fetch

    def has(self, segment: str, index: int) -> bool:
        """Tell whether a page is in memory, proved right and on its way to a shelf."""
        fetch = self._flying.get((segment, index))
        return fetch is not None and fetch.proved

    def settle(self, timeout: float) -> bool:
        """Wait until nothing is under way any more; tell whether that came about."""
        deadline = time.monotonic() + timeout
        while self._flying or self._line.busy:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def landed(self, segment: str, timeout: float) -> bool:
        """Wait until no page of a segment is on its way any more; tell whether that came about."""
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                flying = any(name == segment for name, _ in self._flying)
            if not flying or time.monotonic() > deadline:
                return not flying
            time.sleep(0.001)

    def count_reader(self, more: int) -> None:
        """Count readers that come or go: `Fetch.attach` and `Fetch.detach`."""
        with self._quiet:
            self._reading += more
            if not self._reading:
                self._quiet.notify_all()

    def wait_for_quiet(self, fetch: Fetch, until: float) -> None:
        """Let those who read have the processor first, till `until` on the monotonic clock.

        A fetch that is `hurried`, or that another process waits for, does not wait.
        """
        pages = fetch.source_of.segment, fetch.first, fetch.stop
        with self._quiet:
            while self._reading and not fetch.hurried and not self.closed:
                left = until - time.monotonic()
                if left <= 0 or self.claims.wished(*pages):
                    break
                self._quiet.wait(min(left, _LOOK))

    def hurry(self, fetch: Fetch) -> None:
        """Let a fetch go to its shelf, whoever reads."""
        with self._quiet:
            fetch.hurried = True
            self._quiet.notify_all()

    def land(self, fetch: Fetch) -> None:
        """Forget a fetch that is over: whoever comes later looks at the pages."""
        with self._lock:
            for index in range(fetch.first, fetch.stop):
                if self._flying.get((fetch.source_of.segment, index)) is fetch:
                    del self._flying[fetch.source_of.segment, index]

    def let_go(self, fetch: Fetch) -> None:
        """Give back the memory of a fetch that is over and that nobody reads any more."""
        self._line.let_go(fetch)

    def close(self) -> None:
        """End the fetches under way; one whose store hangs touches the cache no more."""
        self.closed = True
        with self._lock:
            flying = set(self._flying.values())
        for fetch in flying:
            fetch.fail(Unavailable("the gateway is being closed"))
        self._line.close(_CLOSE_WAIT)
        self.claims.close()

    def _begin(self, source: Source, first: int, stop: int, sure: bool) -> Fetch:
        after = first + 1
        while after < stop and (source.segment, after) not in self._flying:
            after += 1
        return Fetch(self, source, first, after, sure)

    def _take_off(self, fetch: Fetch) -> None:
        for index in range(fetch.first, fetch.stop):
            self._flying[fetch.source_of.segment, index] = fetch


class Fetch:
    """Pages `first` to `stop` of a segment, bytes `start` to `end`, as they arrive.

    All of it stays in memory until it is over and was read by all who are attached, or until
    the memory is wanted for others: a slow reader never holds it up.
    """

    def __init__(self, fetches: Fetches, source: Source, first: int, stop: int, sure: bool) -> None:
        page = fetches.cache.page_size
        self.source_of = source
        self.source = source.name
        self.first = first
        self.stop = stop
        self.start = first * page
        self.end = min(stop * page, source.size)
        self.size = self.end - self.start
        self.hurried = False
        self._fetches = fetches
        self._sure = sure
        self._changed = threading.Condition()
        self._blocks: list[Chunk] = []
        self._begins: list[int] = []
        self._arrived = self.start
        self._readers = 0
        self._wanted = False
        self._over = False
        self._over_at = 0.0
        self._proved = False
        self._gone = False
        self._failure: Exception | None = None

    @property
    def proved(self) -> bool:
        """Whether all bytes came and are right; no page need be on a shelf yet."""
        return self._proved

    # --- for readers ------------------------------------------------------------------

    def attach(self) -> None:
        """Become a reader: what arrives stays until `detach`."""
        self._fetches.count_reader(1)
        with self._changed:
            self._readers += 1

    def detach(self) -> None:
        """Read no more. A fetch that nobody has read a byte of is broken off."""
        self._fetches.count_reader(-1)
        with self._changed:
            self._readers -= 1
            if self._readers:
                return
            self._changed.notify_all()
            over = self._over
            unwanted = not self._proved and not self._wanted and not over
            if unwanted:
                self._gone = True
            if over:
                self._blocks.clear()
        if over:
            self._fetches.let_go(self)
        elif unwanted:
            self._fetches.land(self)

    def read(self, at: int, stop: int, *, refuse: bool) -> Chunk:
        """Give bytes from `at`, up to `stop` or fewer; none when they have to be looked for anew.

        Those at `stop` are given only after the whole fetch proved right. Waits in the lane of
        the source (see `Lanes.slow` for `refuse`). Raises what the fetch failed with, and
        Unavailable when nothing arrives any more.
        """
        with self._changed:
            self._wanted = True
            block = self._ready(at, stop)
        if block is None:
            with Lanes.slow(self.source, refuse=refuse), self._changed:
                while (block := self._ready(at, stop)) is None:
                    arrived = self._arrived
                    if not self._changed.wait(STALL) and arrived == self._arrived:
                        raise Unavailable(f"{self.source}: no byte came for {STALL:.0f} seconds")
        return block

    def prove(self) -> None:
        """Wait until the whole fetch proved right. Raises as `read` does."""
        self.read(self.end, self.end, refuse=False)

    def rest(self, timeout: float) -> None:
        """Have the pages put on their shelf now; wait for it `timeout` seconds at most."""
        self._fetches.hurry(self)
        with self._changed:
            self._changed.wait_for(lambda: self._over, timeout)

    def _ready(self, at: int, stop: int) -> Chunk | None:
        """Give what can be given now; None: wait."""
        if self._failure is not None:
            # One error must not collect the tracebacks of many readers.
            raise self._failure.with_traceback(None)
        if self._gone or (self._proved and at >= self.end):
            return b""
        if at < self._arrived:
            number = bisect_right(self._begins, at) - 1
            begin, block = self._begins[number], self._blocks[number]
            if self._proved or begin + len(block) < stop:
                return block[at - begin : stop - begin]
        return None

    def fail(self, error: Exception) -> None:
        """Let all who wait, and all who come, have `error`."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    # --- for the line -----------------------------------------------------------------

    def shed(self) -> bool:
        """Give the memory up, if the fetch is over for a moment; its readers look for the pages.

        One that is not over goes to its shelf now.
        """
        self._fetches.hurry(self)
        with self._changed:
            over = self._over and time.monotonic() >= self._over_at + _GRACE
            if over:
                self._gone = True
                self._blocks.clear()
            return over

    def run(self) -> None:
        """Bring the pages, unless another process brought them meanwhile."""
        try:
            self._run()
        except Exception as error:
            self.fail(error)
        finally:
            # Registered as long as it runs, so that nobody begins it a second time.
            self._fetches.land(self)
            with self._changed:
                self._over, self._over_at = True, time.monotonic()
                left = not self._readers
                if left:
                    self._blocks.clear()
                self._changed.notify_all()
            if left:
                self._fetches.let_go(self)

    def _run(self) -> None:
        claims, segment = self._fetches.claims, self.source_of.segment
        claimed = self._claim()
        try:
            if self._gone or self._fetches.closed:
                self._gone = True
                return
            # Whoever had the claim before may have brought the pages.
            if not self._sure and self._fetches.cache.holds_page(segment, self.first):
                self._gone = True
                return
            self._bring()
        finally:
            if claimed and not self._fetches.closed:
                claims.drop(segment, self.first, self.stop)

    def _claim(self) -> bool:
        """Claim the pages; False when another process had them for too long, or brought them."""
        claims, pages = self._fetches.claims, (self.source_of.segment, self.first, self.stop)
        if claims.take(*pages):
            return True
        pause = 0.0005
        alone = self.stop - self.first == 1
        deadline = time.monotonic() + (min(PAGE_WAIT, CLAIM_WAIT) if alone else CLAIM_WAIT)
        with claims.wish(*pages):
            while time.monotonic() < deadline and not self._fetches.closed:
                time.sleep(pause)
                pause = min(pause * 1.5, 0.02)
                if self._fetches.cache.holds_page(self.source_of.segment, self.first):
                    return False
                if claims.take(*pages):
                    return True
        return False

    def _bring(self) -> None:
        """Bring the bytes to the readers, and then to the pages: nobody waits for a shelf."""
        source = self.source_of
        page, indexes = self._fetches.cache.page_size, range(self.first, self.stop)
        lengths = {index: min(page, source.size - index * page) for index in indexes}
        shelf = _Shelf(self._fetches.cache, source.segment, lengths)
        try:
            if self._receive(shelf):
                until = time.monotonic() + _TURN
                for block in self._blocks[1:]:
                    self._fetches.wait_for_quiet(self, until)
                    if self._fetches.closed:
                        return
                    shelf.write(block)
                shelf.commit()
        finally:
            # Closed stores must not be touched; the next start finds what is left.
            if not self._fetches.closed:
                shelf.abort()

    def _receive(self, shelf: _Shelf) -> bool:
        """Take what the source gives; tell whether all of it came and was right."""
        source, chunks = self.source_of, self.source_of.bring(ByteRange(self.start, self.end))
        at = self.start
        try:
            for block in chunks:
                if self._gone or self._fetches.closed:
                    return False
                at += len(block)
                if at > self.end:
                    break
                if not block:
                    continue
                if not self._blocks:
                    shelf.write(block)
                    if not shelf.keeps:
                        # Others would wait in vain for pages that find no room.
                        self._fetches.claims.drop(source.segment, self.first, self.stop)
                self._add(block)
            if at != self.end:
                raise SourceChanged(
                    f"segment {source.segment}: the source is not {source.size} bytes"
                )
            with self._changed:
                self._proved = True
                self._changed.notify_all()
            return True
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _add(self, block: Chunk) -> None:
        with self._changed:
            self._begins.append(self._arrived)
            self._blocks.append(block)
            self._arrived += len(block)
            self._changed.notify_all()


class _Shelf:
    """The pages of one fetch on their way into the cache: all that found room, or none."""

    def __init__(self, cache: Cache, segment: str, lengths: Mapping[int, int]) -> None:
        self._cache = cache
        self._segment = segment
        self._lengths = iter(lengths.items())
        self._left = 0
        self._writer: SegmentWriter | None = None
        self._whole: list[SegmentWriter] = []

    def write(self, block: Chunk) -> None:
        """Spread a block over pages; a page that fails is left out, the reader goes on."""
        rest = memoryview(block)
        while rest:
            if not self._left:
                index, self._left = next(self._lengths)
                self._writer = self._cache.page_writer(self._segment, index, self._left)
            part = rest[: self._left]
            if self._writer is not None:
                try:
                    self._writer.write(part)
                except StorageError as error:
                    self._leave(self._writer, error)
                    self._writer = None
            rest = rest[len(part) :]
            self._left -= len(part)
            if not self._left and self._writer is not None:
                self._whole.append(self._writer)
                self._writer = None

    @property
    def keeps(self) -> bool:
        """Whether any page found room so far."""
        return self._writer is not None or bool(self._whole)

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
