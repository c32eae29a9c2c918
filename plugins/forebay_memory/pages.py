"""The page store in memory: for tests, and for a cache of one process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from forebay.errors import ConfigurationError, StorageError
from forebay.streams import Chunk
from forebay.types import PageId

TIER: Final = frozenset(["name", "kind", "path", "capacity", "eviction", "min_free", "plugin"])
"""Keys of a tier that are none of its shelves' business."""


class MemoryPageWriter:
    """One page on its way into the store."""

    def __init__(self, pages: MemoryPageStore, page: PageId, size: int | None) -> None:
        self._pages = pages
        self._page = page
        self._size = size
        self._content: bytearray | None = bytearray()

    def write(self, block: Chunk, /) -> None:
        """Append bytes."""
        self._open_content().extend(block)

    def commit(self, *, sync: bool) -> None:
        """Make the page visible, whole; nothing here survives a power cut."""
        content = self._open_content()
        self.abort()
        if self._size not in (None, len(content)):
            raise StorageError(f"page of {self._size} bytes was given {len(content)}")
        self._pages._keep(self._page, bytes(content))

    def abort(self) -> None:
        """Forget what was written."""
        self._content = None

    def _open_content(self) -> bytearray:
        if self._content is None:
            raise StorageError("the page writer has ended already")
        return self._content


class MemoryPageReader:
    """One open page."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def pread(self, length: int, offset: int, /) -> bytes:
        """Read up to `length` bytes at `offset`; fewer only at the end."""
        return self._content[offset : offset + length]

    def fileno(self) -> int | None:
        """Say that there is no file."""
        return None

    def close(self) -> None:
        """Let go of the page."""


class MemoryPageStore:
    """Keeps pages as `bytes` as long as the process lives."""

    durable = False
    shared_between_processes = False

    def __init__(self) -> None:
        self._shelf: OrderedDict[PageId, bytes] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> MemoryPageStore:
        """Open an empty store; it has no options beyond the tier's own."""
        cls.check(options)
        return cls()

    @staticmethod
    def check(options: Mapping[str, Any]) -> None:
        """Raise ConfigurationError with every fault."""
        faults = [
            f"cache.tiers: unknown option {name!r}; kind 'memory' has none"
            for name in options
            if name not in TIER
        ]
        if faults:
            raise ConfigurationError(*faults)

    def writer(self, page: PageId, /, size: int | None) -> MemoryPageWriter:
        """Begin a page of `size` bytes (None: not known)."""
        return MemoryPageWriter(self, page, size)

    def open(self, page: PageId, /) -> MemoryPageReader | None:
        """Open a page, or say that it is not there."""
        with self._lock:
            content = self._shelf.get(page)
            if content is None:
                return None
            self._shelf.move_to_end(page)
        return MemoryPageReader(content)

    def delete(self, page: PageId, /) -> bool:
        """Remove a page; tell whether it was there."""
        with self._lock:
            return self._shelf.pop(page, None) is not None

    def pages(self) -> Iterator[tuple[PageId, int]]:
        """Give every page and its size, the longest unused first."""
        with self._lock:
            found = [(page, len(content)) for page, content in self._shelf.items()]
        return iter(found)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._shelf.clear()

    def _keep(self, page: PageId, content: bytes) -> None:
        with self._lock:
            self._shelf[page] = content
            self._shelf.move_to_end(page)
