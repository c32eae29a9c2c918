"""What the policies keep: queues of pages in order of arrival, each with its size in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from forebay.types import PageId


class Entry:
    """What a policy remembers of one page, on the shelf or gone from it.

    `size` in bytes, at least 1: an empty page takes a place too. `uses` counts since it came
    into its queue, as far as the policy cares. `offered` is the number that the last
    walk for victims gave it; 0 when it was used since.
    """

    __slots__ = ("offered", "page", "queue", "size", "uses")

    def __init__(self, page: PageId, size: int, queue: Queue) -> None:
        """Put the page at the young end of `queue`."""
        self.page = page
        self.size = max(size, 1)
        self.uses = 0
        self.offered = 0
        self.queue = queue
        queue.order[self] = None
        queue.size += self.size

    def move(self, queue: Queue, *, uses: int = 0) -> None:
        """Go to the young end of `queue`, which may be the one it is in, with `uses` from now."""
        self.leave()
        self.uses = uses
        self.queue = queue
        queue.order[self] = None
        queue.size += self.size

    def leave(self) -> None:
        """Leave the queue."""
        del self.queue.order[self]
        self.queue.size -= self.size

    def resize(self, size: int) -> None:
        """Take note of another size in bytes."""
        self.queue.size -= self.size
        self.size = max(size, 1)
        self.queue.size += self.size


class Queue:
    """Entries from the oldest to the youngest; `size` is the bytes of all together.

    `order` is keyed by the entries themselves, so that only the first look-up of a call has to
    hash a page.
    """

    __slots__ = ("order", "size")

    def __init__(self) -> None:
        self.order: OrderedDict[Entry, None] = OrderedDict()
        self.size = 0

    def __iter__(self) -> Iterator[Entry]:
        """Give the entries, oldest first; the queue must not change meanwhile."""
        return iter(self.order)

    def __bool__(self) -> bool:
        return bool(self.order)

    def oldest(self) -> Entry:
        """Give the entry at the old end. Raises StopIteration when there is none."""
        return next(iter(self.order))
