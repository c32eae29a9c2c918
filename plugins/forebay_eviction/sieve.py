"""SIEVE: one queue and a hand that passes over what was used since it came by.

Source: Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is simpler than LRU", NSDI 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, takewhile
from typing import Any

from forebay.types import PageId
from forebay_eviction.options import capacity_of
from forebay_eviction.queues import Entry, Queue


class SievePolicy:
    """Exact SIEVE; a hit costs one look-up and marks the page.

    The queue is kept in two halves that meet at the hand: the older one it has passed, the
    younger one lies ahead. A deletion moves the hand only when the page was given by the latest
    walk for victims, and was neither used nor put since. A page that was skipped keeps its
    place.
    """

    def __init__(self) -> None:
        self._pages: dict[PageId, Entry] = {}
        self._passed = Queue()
        self._ahead = Queue()
        self._walk = 1

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> SievePolicy:
        """Make an empty policy; `options` has ``capacity`` alone. Raises ConfigurationError."""
        capacity_of("sieve", options)
        return cls()

    def on_put(self, page: PageId, size: int, /) -> None:
        """Take a page at the young end; of a page that is known it is a use."""
        if page in self._pages:
            self.on_get(page)
        else:
            self._pages[page] = Entry(page, size, self._ahead)

    def on_get(self, page: PageId, /) -> None:
        """Mark a known page as used."""
        entry = self._pages.get(page)
        if entry is not None:
            entry.offered = 0
            entry.uses = 1

    def on_delete(self, page: PageId, /) -> None:
        """Forget a page; an eviction leaves the hand where the page was."""
        entry = self._pages.pop(page, None)
        if entry is None:
            return
        if entry.offered == self._walk:
            self._reach(entry)
        entry.leave()
        if not self._ahead:
            self._passed, self._ahead = self._ahead, self._passed

    def victims(self) -> Iterator[PageId]:
        """Give pages as the hand would meet them unmarked, taking marks in mind only."""
        self._walk += 1
        marked: tuple[list[Entry], list[Entry]] = ([], [])
        for half, left in zip((self._ahead, self._passed), marked, strict=True):
            for entry in half:
                if entry.uses:
                    left.append(entry)
                else:
                    entry.offered = self._walk
                    yield entry.page
        for entry in chain(*marked):
            entry.offered = self._walk
            yield entry.page

    def _reach(self, victim: Entry) -> None:
        """Move the hand to `victim`, taking the marks of those it passes."""
        while victim.uses or victim.queue is self._passed:
            for entry in list(self._ahead):
                entry.move(self._passed)
            self._passed, self._ahead = self._ahead, self._passed
        for entry in list(takewhile(lambda each: each is not victim, self._ahead)):
            if entry.uses:
                entry.move(self._passed)
