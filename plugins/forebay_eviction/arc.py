"""ARC: two LRU queues whose shares follow the ghosts that are asked for.

Source: Megiddo, Modha: "ARC: a self-tuning, low overhead replacement cache", FAST 2003.
Queues are weighed in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forebay.types import PageId
from forebay_eviction.options import capacity_of
from forebay_eviction.queues import Entry, Queue


class ArcPolicy:
    """ARC; pages seen once are in one queue, pages seen again in the other.

    ARC learns from a miss before it chooses a victim for it. A caller that tells of misses too
    by `on_get` has it so; for one that does not, it learns at `on_put`, one victim later.

    A deletion is an eviction, and leaves a ghost, when the page was given by the latest walk
    for victims, and was neither used nor put since. A page that was skipped keeps its place.
    """

    def __init__(self, capacity: int) -> None:
        """Take the capacity in bytes; ghosts stand for no more than as many."""
        self._capacity = capacity
        self._share = 0.0  # what the queue of pages seen once should have, in bytes
        self._pages: dict[PageId, Entry] = {}
        self._once = Queue()
        self._again = Queue()
        self._ghosts_once = Queue()
        self._ghosts_again = Queue()
        self._walk = 1

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ArcPolicy:
        """Make an empty policy; `options` has ``capacity`` alone. Raises ConfigurationError."""
        return cls(capacity_of("arc", options))

    def on_put(self, page: PageId, size: int, /) -> None:
        """Take a page as seen once, or as seen again when it is a ghost or on the shelf."""
        entry = self._pages.get(page)
        if entry is None:
            self._pages[page] = Entry(page, size, self._once)
        else:
            self.on_get(page)
            entry.resize(size)
            entry.move(self._again)
        while self._ghosts_once and self._once.size + self._ghosts_once.size > self._capacity:
            self._drop(self._ghosts_once.oldest())
        while self._ghosts_again and self._remembered() > 2 * self._capacity:
            self._drop(self._ghosts_again.oldest())

    def on_get(self, page: PageId, /) -> None:
        """Take a page that is on the shelf as seen again; learn once from one that is a ghost."""
        entry = self._pages.get(page)
        if entry is None:
            return
        queue = entry.queue
        if queue is self._again:
            entry.offered = 0
            queue.order.move_to_end(entry)
        elif queue is self._once:
            entry.offered = 0
            entry.move(self._again)
        elif not entry.uses:
            entry.uses = 1
            self._learn(entry)

    def on_delete(self, page: PageId, /) -> None:
        """Forget a page; one that was evicted leaves its ghost."""
        entry = self._pages.get(page)
        if entry is None:
            return
        if entry.offered == self._walk:
            entry.offered = 0
            entry.move(self._ghosts_once if entry.queue is self._once else self._ghosts_again)
        else:
            self._drop(entry)

    def victims(self) -> Iterator[PageId]:
        """Give pages of the queue that has more than its share, the longest unused first."""
        self._walk += 1
        once, again = iter(self._once), iter(self._again)
        left_once, left_again = self._once.size, self._again.size
        while left_once or left_again:
            if left_once and (left_once > self._share or not left_again):
                entry = next(once)
                left_once -= entry.size
            else:
                entry = next(again)
                left_again -= entry.size
            entry.offered = self._walk
            yield entry.page

    def in_ghost(self, page: PageId, /) -> bool:
        """Tell whether a page was evicted lately."""
        entry = self._pages.get(page)
        return entry is not None and entry.queue in (self._ghosts_once, self._ghosts_again)

    def _learn(self, ghost: Entry) -> None:
        """Give more room to the queue that let `ghost` go too early."""
        once, again = self._ghosts_once.size, self._ghosts_again.size
        if ghost.queue is self._ghosts_once:
            step = ghost.size * max(1.0, again / once)
            self._share = min(self._share + step, self._capacity)
        else:
            step = ghost.size * max(1.0, once / again)
            self._share = max(self._share - step, 0.0)

    def _remembered(self) -> int:
        queues = (self._once, self._again, self._ghosts_once, self._ghosts_again)
        return sum(queue.size for queue in queues)

    def _drop(self, entry: Entry) -> None:
        entry.leave()
        del self._pages[entry.page]
