"""The contract of a page store: the shelves of one cache tier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from forebay.streams import Chunk
from forebay.types import PageId


class PageWriter(Protocol):
    """One page on its way to the shelf; nothing is visible before `commit`."""

    def write(self, block: Chunk, /) -> None:
        """Append bytes, whose memory is another's again afterwards.

        Raises NoSpace; the writer must then be aborted.
        """
        ...

    def commit(self, *, sync: bool) -> None:
        """Make the page visible, whole. With `sync` it survives a power cut before this returns.

        A failed sync is never tried again on the same file: the page is lost and the error
        passes on as StorageError.
        """
        ...

    def abort(self) -> None:
        """Forget what was written; harmless after `commit` and when called twice."""
        ...


class PageReader(Protocol):
    """One open page; it stays readable after the page was deleted."""

    size: int

    def pread(self, length: int, offset: int, /) -> bytes:
        """Read up to `length` bytes at `offset`; fewer only at the end."""
        ...

    def fileno(self) -> int | None:
        """Give the descriptor of the file that holds exactly this page, or None."""
        ...

    def close(self) -> None:
        """Let go of the page."""
        ...


class PageStore(Protocol):
    """Shelves for pages; keeps what it is told and evicts nothing of its own accord."""

    durable: bool
    """Whether a committed page can survive a power cut (a disk, not a tmpfs)."""
    shared_between_processes: bool

    def writer(self, page: PageId, /, size: int | None) -> PageWriter:
        """Begin a page of `size` bytes (None: not known). Raises NoSpace.

        Writing a page that is there already replaces it at commit.
        """
        ...

    def open(self, page: PageId, /) -> PageReader | None:
        """Open a page, or say that it is not there. Raises Corrupt."""
        ...

    def delete(self, page: PageId, /) -> bool:
        """Remove a page; tell whether it was there."""
        ...

    def pages(self) -> Iterator[tuple[PageId, int]]:
        """Give every page and its size, in the order of last use where the store knows it."""
        ...

    def close(self) -> None:
        """Let go of everything; no method is called after it."""
        ...


@runtime_checkable
class SupportsVerify(Protocol):
    """A page store that keeps checksums: for the copies between tiers, and for the scrubber."""

    def verify(self, page: PageId, /) -> bool:
        """Hold all bytes of a page against its checksums now; False when it is not there.

        Raises Corrupt.
        """
        ...


@runtime_checkable
class SupportsMending(Protocol):
    """A page store whose shelves may vanish under it, and can be made again."""

    def mend(self) -> None:
        """Make the shelves again if they are gone and their place is still there.

        Called now and then while the store fails. Raises StorageError.
        """
        ...


PageStoreFactory = Callable[[Mapping[str, Any]], PageStore]
"""``factory(options)``: `options` are the tier's own keys (``path`` for ``disk``)."""
