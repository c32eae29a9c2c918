"""S3-FIFO: a small queue on trial, a main queue with second chances, and a list of ghosts.

Source: Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction",
SOSP 2023. Queues are weighed in bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from forebay.types import PageId
from forebay_eviction.options import capacity_of
from forebay_eviction.queues import Entry, Queue

_SMALL: Final = 10
"""The small queue gives the victim when it has at least one part in so many of all bytes."""
_PROVEN: Final = 2
"""Uses in the small queue that bring a page to the main one."""
_MOST_USES: Final = 3
"""Uses are counted up to here: two bits."""
_GHOSTS: Final = 0.9
"""Ghosts stand for at most this share of the capacity."""


class S3FifoPolicy:
    """S3-FIFO; a hit costs one look-up and counts one use.

    A deletion is an eviction when the page was given by the latest walk for victims, and was
    neither used nor put since. Only an eviction makes a ghost, and only it carries out the
    moves that the walk made in mind on its way to the victim. A page that was skipped keeps
    its place.
    """

    def __init__(self, capacity: int) -> None:
        """Take the capacity in bytes; it bounds what the ghosts stand for."""
        self._capacity = capacity
        self._filling = True
        self._pages: dict[PageId, Entry] = {}
        self._small = Queue()
        self._main = Queue()
        self._ghosts = Queue()
        # The latest walk for victims: its number, whom it passed in mind, how many really were.
        self._walk = 1
        self._passed: list[Entry] = []
        self._moved = 0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> S3FifoPolicy:
        """Make an empty policy; `options` has ``capacity`` alone. Raises ConfigurationError."""
        return cls(capacity_of("s3fifo", options))

    def on_put(self, page: PageId, size: int, /) -> None:
        """Take a page on trial, or into the main queue when it is a ghost; else it is a use.

        Until something had to go, what the small queue has no room for fills the main one.
        """
        entry = self._pages.get(page)
        if entry is None:
            spare = self._filling and self._small.size * _SMALL >= self._capacity
            self._pages[page] = Entry(page, size, self._main if spare else self._small)
            return
        entry.resize(size)
        if entry.queue is self._ghosts:
            entry.move(self._main)
        else:
            self.on_get(page)

    def on_get(self, page: PageId, /) -> None:
        """Count a use of a known page."""
        entry = self._pages.get(page)
        if entry is not None:
            entry.offered = 0
            if entry.uses < _MOST_USES:
                entry.uses += 1

    def on_delete(self, page: PageId, /) -> None:
        """Forget a page; one that was evicted from the small queue leaves its ghost."""
        entry = self._pages.get(page)
        if entry is None:
            return
        if entry.offered >= self._walk:
            self._filling = False
            self._follow(entry.offered - self._walk)
            entry.offered = 0
            if entry.queue is self._small:
                entry.move(self._ghosts)
                while self._ghosts.size > self._capacity * _GHOSTS:
                    self._drop(self._ghosts.oldest())
                return
        self._drop(entry)

    def victims(self) -> Iterator[PageId]:
        """Give pages as they would go if each were taken; second chances are given in mind."""
        # Numbers grow by more than a walk can use, so that none is mistaken for an older one's.
        walk = self._walk = self._walk + len(self._passed) + 1
        passed = self._passed = []
        self._moved = 0
        trial, proven = iter(self._small), iter(self._main)
        small, main = self._small.size, self._main.size
        again: deque[tuple[Entry, int]] = deque()
        while small or main:
            if small * _SMALL >= small + main:
                entry = next(trial)
                small -= entry.size
                if entry.uses >= _PROVEN:
                    main += entry.size
                    again.append((entry, 0))
                    passed.append(entry)
                    continue
            else:
                first = next(proven, None)
                entry, uses = again.popleft() if first is None else (first, first.uses)
                if uses:
                    again.append((entry, uses - 1))
                    passed.append(entry)
                    continue
                main -= entry.size
            entry.offered = walk + len(passed)
            yield entry.page

    def in_ghost(self, page: PageId, /) -> bool:
        """Tell whether a page was evicted lately before it had proven itself."""
        entry = self._pages.get(page)
        return entry is not None and entry.queue is self._ghosts

    def _follow(self, steps: int) -> None:
        """Really move the first pages that the walk passed, unless they moved or went since."""
        for entry in self._passed[self._moved : steps]:
            if entry in self._small.order:
                entry.move(self._main)
            elif entry in self._main.order and entry.uses:
                entry.move(self._main, uses=entry.uses - 1)
        self._moved = max(self._moved, steps)

    def _drop(self, entry: Entry) -> None:
        entry.leave()
        del self._pages[entry.page]
