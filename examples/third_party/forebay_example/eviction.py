"""First in, first out, but what was used since it came gets a second chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forebay.errors import ConfigurationError
from forebay.types import PageId


class ClockPolicy:
    """Pages in a ring; the hand takes the next one that was not used since it passed.

    The hand moves when a page that was offered is deleted: asking for victims changes nothing.
    """

    def __init__(self) -> None:
        self._used: dict[PageId, bool] = {}  # in the order in which the hand meets them
        self._offered: set[PageId] = set()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ClockPolicy:
        """Make an empty policy. Raises ConfigurationError for any option but ``capacity``."""
        faults = [f"{name!r} is no option of clock" for name in options if name != "capacity"]
        if faults:
            raise ConfigurationError(*faults)
        return cls()

    def on_put(self, page: PageId, size: int, /) -> None:
        """Take a page behind all others; of a page that is known it is a use."""
        self._used[page] = page in self._used

    def on_get(self, page: PageId, /) -> None:
        """Note a use of a known page."""
        if page in self._used:
            self._used[page] = True

    def on_delete(self, page: PageId, /) -> None:
        """Forget a page; if it was offered, the hand has passed the used ones before it."""
        if self._used.get(page) is False and page in self._offered:
            passed = []
            for other, used in self._used.items():
                if other == page:
                    break
                if used:
                    passed.append(other)
            for other in passed:
                del self._used[other]
                self._used[other] = False
        self._used.pop(page, None)
        self._offered.discard(page)

    def victims(self) -> Iterator[PageId]:
        """Give the unused pages as the hand would meet them, then the used ones."""
        self._offered.clear()
        for chance in (False, True):
            for page, used in self._used.items():
                if used is chance:
                    self._offered.add(page)
                    yield page
