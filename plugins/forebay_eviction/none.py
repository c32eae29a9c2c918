"""Nothing goes: a tier that is full takes no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forebay.types import PageId
from forebay_eviction.options import capacity_of


class NoPolicy:
    """Never gives a victim, and so remembers nothing."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> NoPolicy:
        """Make one; `options` has ``capacity`` alone. Raises ConfigurationError."""
        capacity_of("none", options)
        return cls()

    def on_put(self, page: PageId, size: int, /) -> None:
        """Do nothing."""

    def on_get(self, page: PageId, /) -> None:
        """Do nothing."""

    def on_delete(self, page: PageId, /) -> None:
        """Do nothing."""

    def victims(self) -> Iterator[PageId]:
        """Give no page."""
        return iter(())
