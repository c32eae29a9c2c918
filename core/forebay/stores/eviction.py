"""The contract of an eviction policy: pure, in memory, no I/O, called under the tier's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from forebay.types import PageId


class EvictionPolicy(Protocol):
    """Decides which page goes next; it is told of every page that comes, is used and goes."""

    def on_put(self, page: PageId, size: int, /) -> None:
        """Take note of a page that is new, or again, on the shelf; `size` in bytes."""
        ...

    def on_get(self, page: PageId, /) -> None:
        """Take note of a use; an unknown page is ignored."""
        ...

    def on_delete(self, page: PageId, /) -> None:
        """Forget a page; an unknown page is ignored."""
        ...

    def victims(self) -> Iterator[PageId]:
        """Give pages in the order in which they should go; changes nothing by itself.

        The caller may skip a page (pinned, unpersisted) and tells of each it took by
        `on_delete`, after it stopped iterating.
        """
        ...


EvictionPolicyFactory = Callable[[Mapping[str, Any]], EvictionPolicy]
"""``factory(options)``: `options` has ``capacity`` in bytes."""
