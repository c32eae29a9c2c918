"""Reading an object by ranges in parallel: a small one first, the next ones on their way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol

from forebay.errors import NotSupported
from forebay.types import ByteRange, ObjectInfo

FIRST: Final = 256 << 10
"""Bytes of the first range: small, so that the first byte leaves early."""
RANGE: Final = 8 << 20
"""Bytes of every other range."""
BUDGET: Final = 2
"""Ranges a store keeps in memory ahead of its readers, as a multiple of its parallel reads."""


class Ranges(Protocol):
    """Bytes of one version, by any range of them."""

    def read(self, start: int, stop: int, /) -> bytes:
        """Read the half-open range, whole. Raises SourceChanged."""
        ...

    def close(self) -> None:
        """Let go of the object."""
        ...


class Fetchers:
    """The threads of one store that fetch ranges, and the bound on what they keep in memory.

    At most ``parallel`` ranges are under way, and ``BUDGET * parallel`` lie ahead of all readers
    together; each reader may have one more, so that none waits for another.
    """

    def __init__(self, parallel: int) -> None:
        self.parallel = parallel
        self.budget = threading.BoundedSemaphore(BUDGET * parallel)
        self.threads = ThreadPoolExecutor(parallel, "forebay-fetch") if parallel > 1 else None

    def close(self) -> None:
        """Wait for what is under way and end the threads."""
        if self.threads is not None:
            self.threads.shutdown(cancel_futures=True)


class RangeReader:
    """Gives the bytes of `byte_range` of one source, in order."""

    def __init__(
        self, info: ObjectInfo, source: Ranges, byte_range: ByteRange | None, fetchers: Fetchers
    ) -> None:
        self.info = info
        self._source = source
        self._fetchers = fetchers
        self._cuts = _cuts(byte_range or ByteRange(0, info.size), info.size)
        self._ahead: deque[tuple[Future[bytes], bool]] = deque()
        self._rest = memoryview(b"")

    def begin(self) -> None:
        """Fetch the first range. Raises SourceChanged, when nothing has been given yet."""
        self._rest = memoryview(self._next())

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes. Raises SourceChanged."""
        if not self._rest:
            self._rest = memoryview(self._next())
        block = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        return block

    def fileno(self) -> int:
        """Raise NotSupported: there is no local file."""
        raise NotSupported("an object of another storage has no file here")

    def close(self) -> None:
        """Stop; the source is closed as soon as no range of it is under way."""
        self._rest = memoryview(b"")
        running = [future for future, paid in self._ahead if not self._dropped(future, paid)]
        self._ahead.clear()
        left = _Countdown(len(running), self._source.close)
        for future in running:
            future.add_done_callback(left.one)

    def _next(self) -> bytes:
        threads = self._fetchers.threads
        if threads is None:
            cut = next(self._cuts, None)
            return b"" if cut is None else self._source.read(cut.start, cut.stop)
        while len(self._ahead) < self._fetchers.parallel:
            paid = bool(self._ahead)
            if paid and not self._fetchers.budget.acquire(blocking=False):
                break
            cut = next(self._cuts, None)
            if cut is None:
                self._pay_back(paid)
                break
            self._ahead.append((threads.submit(self._source.read, cut.start, cut.stop), paid))
        if not self._ahead:
            return b""
        future, paid = self._ahead.popleft()
        try:
            return future.result()
        finally:
            self._pay_back(paid)

    def _dropped(self, future: Future[bytes], paid: bool) -> bool:
        """Cancel a range; tell whether it is not, or no longer, under way."""
        if future.cancel():
            self._pay_back(paid)
            return True
        future.add_done_callback(lambda _: self._pay_back(paid))
        return False

    def _pay_back(self, paid: bool) -> None:
        if paid:
            self._fetchers.budget.release()


class _Countdown:
    """Calls `then` when it was called `count` times; at once when that is 0."""

    def __init__(self, count: int, then: Callable[[], object]) -> None:
        self._left = count
        self._then = then
        self._lock = threading.Lock()
        if not count:
            self._done()

    def one(self, _: object) -> None:
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            self._done()

    def _done(self) -> None:
        self._then()


def _cuts(wanted: ByteRange, size: int) -> Iterator[ByteRange]:
    at, stop = wanted.start, min(wanted.stop, size)
    step = FIRST
    while at < stop:
        yield ByteRange(at, min(at + step, stop))
        at += step
        step = RANGE
