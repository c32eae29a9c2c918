"""The contract of a metadata store: an ordered, transactional key-value store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Snapshot(Protocol):
    """One unchanging view of all keys; valid only inside the function it was handed to."""

    def get(self, key: bytes, /) -> bytes | None:
        """Give a key's value, or None."""
        ...

    def scan(
        self, start: bytes, stop: bytes, /, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Give keys and values of the half-open range in byte order, lazily."""
        ...


class Transaction(Snapshot, Protocol):
    """A snapshot that can be changed; it sees its own changes."""

    def put(self, key: bytes, value: bytes, /) -> None:
        """Set a key."""
        ...

    def delete(self, key: bytes, /) -> None:
        """Remove a key; a missing one is fine."""
        ...


class MetadataStore(Protocol):
    """Keeps the catalog. Small enough for any engine with ordered keys and transactions."""

    shared_between_processes: bool
    durable: bool
    """Whether a durable write survives a power cut."""

    def read(self, fn: Callable[[Snapshot], T], /) -> T:
        """Run `fn` on one snapshot and return its answer."""
        ...

    def write(self, fn: Callable[[Transaction], T], /, *, durable: bool = True) -> T:
        """Run `fn` in one serializable transaction, commit it and return its answer.

        `fn` is pure: no I/O, results are values, because it may be run again, and several
        calls may share one commit. Its exception rolls back only its own changes and passes
        on. With `durable` the commit survives a power cut before this returns; a failed
        commit raises StorageError for everyone who shared it.
        """
        ...

    def close(self) -> None:
        """Let go of everything; no method is called after it."""
        ...


MetadataStoreFactory = Callable[[Mapping[str, Any]], MetadataStore]
"""``factory(options)``: `options` are the keys of ``[metadata]`` but ``kind``."""
