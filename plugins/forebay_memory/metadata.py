"""The metadata store in memory: an ordered map under one lock."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from forebay.errors import ConfigurationError, NotSupported, StorageError
from forebay.stores.metadata import Snapshot, Transaction

T = TypeVar("T")
V = TypeVar("V", bound="_Snapshot")


class _Snapshot:
    """The map as one function sees it; nobody else runs meanwhile."""

    def __init__(self, keys: list[bytes], values: dict[bytes, bytes]) -> None:
        self._keys = keys
        self._values = values
        self._ended = False

    def get(self, key: bytes, /) -> bytes | None:
        self._check()
        return self._values.get(key)

    def scan(
        self, start: bytes, stop: bytes, /, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        # Each step looks for its place anew, so changes made meanwhile do no harm.
        at = bisect_left(self._keys, stop if reverse else start)
        while True:
            self._check()
            at -= reverse
            if not 0 <= at < len(self._keys) or not start <= (key := self._keys[at]) < stop:
                return
            yield key, self._values[key]
            at = bisect_left(self._keys, key) if reverse else bisect_right(self._keys, key)

    def end(self, *, undo: bool) -> None:
        self._ended = True

    def _check(self) -> None:
        if self._ended:
            raise StorageError("a snapshot was used after its function had ended")


class _Transaction(_Snapshot):
    """A snapshot that can be changed, and back."""

    def __init__(self, keys: list[bytes], values: dict[bytes, bytes]) -> None:
        super().__init__(keys, values)
        self._undo: list[tuple[bytes, bytes | None]] = []

    def put(self, key: bytes, value: bytes, /) -> None:
        self._check()
        self._undo.append((key, self._set(key, value)))

    def delete(self, key: bytes, /) -> None:
        self._check()
        self._undo.append((key, self._set(key, None)))

    def end(self, *, undo: bool) -> None:
        super().end(undo=undo)
        while undo and self._undo:
            self._set(*self._undo.pop())

    def _set(self, key: bytes, value: bytes | None) -> bytes | None:
        old = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
            if old is None:
                insort(self._keys, key)
        elif old is not None:
            del self._keys[bisect_left(self._keys, key)]
        return old


class MemoryMetadataStore:
    """Keeps keys and values as long as the process lives; one function runs at a time."""

    shared_between_processes = False
    durable = False

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._values: dict[bytes, bytes] = {}
        self._lock = threading.Lock()
        self._running: int | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> MemoryMetadataStore:
        """Open an empty store; it has no options, and a `path` is of no use to it."""
        cls.check(options)
        return cls()

    @staticmethod
    def check(options: Mapping[str, Any]) -> None:
        """Raise ConfigurationError with every fault."""
        faults = [
            f"metadata: unknown option {name!r}; kind 'memory' has none"
            for name in options
            if name != "path"
        ]
        if faults:
            raise ConfigurationError(*faults)

    def read(self, fn: Callable[[Snapshot], T], /) -> T:
        """Run `fn` on one snapshot and return its answer."""
        return self._run(fn, _Snapshot(self._keys, self._values))

    def write(self, fn: Callable[[Transaction], T], /, *, durable: bool = True) -> T:
        """Run `fn` in one transaction and return its answer; nothing here is durable."""
        return self._run(fn, _Transaction(self._keys, self._values))

    def close(self) -> None:
        """Wait for the running function and forget everything."""
        with self._lock:
            self._keys.clear()
            self._values.clear()

    def _run(self, fn: Callable[[V], T], view: V) -> T:
        if self._running == threading.get_ident():
            raise NotSupported("a function that runs in the store must not call the store")
        with self._lock:
            self._running = threading.get_ident()
            failed = True
            try:
                answer = fn(view)
                failed = False
            finally:
                view.end(undo=failed)
                self._running = None
        return answer
