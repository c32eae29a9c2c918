"""Least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from forebay.types import PageId
from forebay_eviction.options import capacity_of


class LruPolicy:
    """Exact LRU: every call is one step on a linked list."""

    def __init__(self) -> None:
        self._order: OrderedDict[PageId, None] = OrderedDict()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> LruPolicy:
        """Make an empty policy; `options` has ``capacity`` alone. Raises ConfigurationError."""
        capacity_of("lru", options)
        return cls()

    def on_put(self, page: PageId, size: int, /) -> None:
        """Make a page the most recently used one."""
        self._order[page] = None
        self._order.move_to_end(page)

    def on_get(self, page: PageId, /) -> None:
        """Make a known page the most recently used one."""
        if page in self._order:
            self._order.move_to_end(page)

    def on_delete(self, page: PageId, /) -> None:
        """Forget a page."""
        self._order.pop(page, None)

    def victims(self) -> Iterator[PageId]:
        """Give pages, the longest unused first."""
        return iter(self._order)
