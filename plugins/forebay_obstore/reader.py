"""Reading by ranges in parallel: a small one first, then large ones ahead of the reader."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from forebay.errors import NotFound, NotSupported, PreconditionFailed, SourceChanged
from forebay.types import ObjectInfo
from forebay_obstore.carrier import Fetched

FIRST = 256 << 10
"""Bytes of the first range, whose answer lets the first byte leave."""
ALONE = 1 << 20
"""Bytes up to which one range is all: the answer to a small one would not come much sooner."""
RANGE = 8 << 20
WINDOW = 8 * RANGE
"""Bytes that one reader has in memory and under way at most."""

Fetch = Callable[[int, int], Fetched]
"""Gets a range of the one version that is being read."""


def first_length(total: int) -> int:
    """Give the length of the first of the ranges that are `total` bytes together."""
    return total if total <= ALONE else FIRST


class Budget:
    """Bytes that all readers of a store may have ahead of what they must have, shared evenly."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._readers = 0
        self._lock = threading.Lock()

    def join(self, readers: int) -> None:
        """Count readers in, or out when negative."""
        with self._lock:
            self._readers += readers

    def take(self, wanted: int, held: int) -> bool:
        """Take bytes for a reader that holds some, if its share allows it; never waits."""
        with self._lock:
            granted = wanted <= self._free and held + wanted <= self._total // self._readers
            if granted:
                self._free -= wanted
            return granted

    def give(self, taken: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._free += taken


@dataclass(slots=True)
class _Piece:
    start: int
    stop: int
    taken: int
    answer: Future[Fetched]


class RangesReader:
    """Gives bytes `start` to `stop` of one version of an object.

    `fetch` runs in threads of `pool`. `first` is the answer for the first `opening` bytes if they
    were asked for already. The constructor waits for the first range: its errors are the opener's.
    """

    def __init__(
        self,
        fetch: Fetch,
        start: int,
        stop: int,
        *,
        pool: ThreadPoolExecutor,
        budget: Budget,
        opening: int,
        first: Future[Fetched] | None = None,
    ) -> None:
        self._fetch = fetch
        self._pool = pool
        self._budget = budget
        self._next = start
        self._stop = stop
        self._coming: deque[_Piece] = deque()
        self._ahead = 0
        self._taken = 0
        self._joined = True
        budget.join(1)
        self._held: _Piece | None = None
        self._block = memoryview(b"")
        if start < stop:
            self._ask(min(opening, stop - start), 0, first)
            self._look_ahead()
        try:
            self.info: ObjectInfo | None = self._take().info if self._coming else None
        except BaseException:
            self.close()
            raise

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes. Raises SourceChanged, Unavailable."""
        if not self._block:
            self._let_go()
            if not self._coming:
                if self._next >= self._stop:
                    return b""
                # Nothing could be taken ahead: what is needed now is always allowed, but small.
                self._ask(min(ALONE, self._stop - self._next), 0)
            try:
                self._take()
            except (NotFound, PreconditionFailed) as error:
                raise SourceChanged(str(error)) from error
            self._look_ahead()
        block = bytes(self._block[:size])
        self._block = self._block[size:]
        return block

    def close(self) -> None:
        """Forget what is still under way."""
        self._let_go()
        if self._joined:
            self._joined = False
            self._budget.join(-1)
        while self._coming:
            piece = self._coming.popleft()
            piece.answer.cancel()
            piece.answer.add_done_callback(partial(self._give_back, piece.taken))

    def _give_back(self, taken: int, _: Future[Fetched]) -> None:
        self._budget.give(taken)

    def _ask(self, length: int, taken: int, asked: Future[Fetched] | None = None) -> None:
        start = self._next
        self._next += length
        answer = asked or self._pool.submit(self._fetch, start, self._next)
        self._coming.append(_Piece(start, self._next, taken, answer))
        self._ahead += length

    def _look_ahead(self) -> None:
        while (length := min(RANGE, self._stop - self._next)) > 0:
            if self._ahead + length > WINDOW or not self._budget.take(length, self._taken):
                return
            self._taken += length
            self._ask(length, length)

    def _take(self) -> Fetched:
        piece = self._coming.popleft()
        self._held = piece
        fetched = piece.answer.result()
        if len(fetched.content) != piece.stop - piece.start:
            raise SourceChanged(f"{fetched.info.key!r} is shorter than it was said to be")
        self._block = fetched.content
        return fetched

    def _let_go(self) -> None:
        piece, self._held = self._held, None
        self._block = memoryview(b"")
        if piece is not None:
            self._ahead -= piece.stop - piece.start
            self._taken -= piece.taken
            self._budget.give(piece.taken)


class ObstoreReader:
    """An open object of an object store."""

    def __init__(self, info: ObjectInfo, ranges: RangesReader | None) -> None:
        self.info = info
        self._ranges = ranges

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes. Raises SourceChanged, Unavailable."""
        return b"" if self._ranges is None else self._ranges.read(size)

    def fileno(self) -> int:
        """Raise NotSupported: there is no file."""
        raise NotSupported("an object in an object store has no file")
