"""Lanes: which request threads wait for something slow, so that the others keep their pace.

A server gives each of its request threads a lane by `Lanes.enter`. Whoever is about to wait
for an under store says so with `slow`; the server then lets another thread work meanwhile.
Threads without a lane (of persisting, of fetches) pass through `slow` untouched.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from forebay.errors import Unavailable


class _Here(threading.local):
    lanes: Lanes | None = None
    depth = 0


_here = _Here()


class Lanes:
    """The request threads of one server that wait, by the name of what they wait for.

    At most `limit` threads wait, and three quarters of them for the same; who would be one
    more is refused. `changed` is called when a thread begins (+1) or ends (-1) to wait.
    """

    def __init__(self, limit: int, changed: Callable[[int], None]) -> None:
        self.limit = limit
        self.quota = max(1, limit * 3 // 4)
        self._changed = changed
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()
        self._total = 0

    def enter(self) -> None:
        """Make this thread, until its end, one of the request threads."""
        _here.lanes = self

    def waiting(self) -> dict[str, int]:
        """Tell how many threads wait, by name."""
        with self._lock:
            return dict(self._waiting)

    @staticmethod
    def slow(name: str, *, refuse: bool = True) -> AbstractContextManager[object]:
        """Wait for `name` (the path of a mount) inside of this.

        Raises Unavailable at once when too many wait already, unless `refuse` is False: for
        those who have begun to answer and cannot say so any more.
        """
        return _Slow(name, refuse)

    @staticmethod
    def aside(name: str) -> AbstractContextManager[object]:
        """Wait for `name` inside of this, in the place of an ordinary thread if too many do."""
        return _Slow(name, refuse=False, counted=False)

    def _begin(self, name: str, refuse: bool, counted: bool) -> bool:
        with self._lock:
            if self._total >= self.limit or self._waiting[name] >= self.quota:
                if refuse:
                    raise Unavailable(f"{self._waiting[name]} requests wait for {name} already")
                if not counted:
                    return False
            self._waiting[name] += 1
            self._total += 1
        self._changed(1)
        return True

    def _end(self, name: str) -> None:
        with self._lock:
            self._total -= 1
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]
        self._changed(-1)


class _Slow:
    __slots__ = ("_counted", "_lanes", "_name", "_refuse")

    def __init__(self, name: str, refuse: bool, counted: bool = True) -> None:
        self._name = name
        self._refuse = refuse
        self._counted = counted
        self._lanes: Lanes | None = None

    def __enter__(self) -> Self:
        # The outermost counts: a thread waits once, whatever it waits for inside.
        lanes = None if _here.depth else _here.lanes
        if lanes is not None and lanes._begin(self._name, self._refuse, self._counted):
            self._lanes = lanes
        _here.depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _here.depth -= 1
        if self._lanes is not None:
            self._lanes._end(self._name)


class SlowStore:
    """An under store whose every call waits in the lane `name`; all else is the store's own."""

    def __init__(self, store: Any, name: str) -> None:
        self.inner = store
        self.lane = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name not in _WAITS:
            return found

        def call(*args: Any, **options: Any) -> Any:
            with Lanes.slow(self.lane):
                return found(*args, **options)

        return call

    def open(self, key: str, /, *args: Any, **options: Any) -> Any:
        """Open an object; opening it and reading of it wait in the lane."""
        return _SlowOpen(self.inner.open(key, *args, **options), self.lane)

    def list(self, prefix: str = "", /, **options: Any) -> Iterator[Any]:
        """List lazily; each step waits in the lane, which is refused only before the first."""
        entries = iter(self.inner.list(prefix, **options))
        begun = False
        while True:
            with Lanes.slow(self.lane, refuse=not begun):
                entry = next(entries, None)
            begun = True
            if entry is None:
                return
            yield entry


_WAITS = {
    *("head", "put", "delete", "copy"),
    *("begin_upload", "put_part", "complete_upload", "abort_upload"),
}


class _SlowOpen:
    def __init__(self, opened: AbstractContextManager[Any], lane: str) -> None:
        self._opened = opened
        self._lane = lane

    def __enter__(self) -> Any:
        with Lanes.slow(self._lane):
            return _SlowReader(self._opened.__enter__(), self._lane)

    def __exit__(self, *error: Any) -> bool | None:
        return self._opened.__exit__(*error)


class _SlowReader:
    def __init__(self, reader: Any, lane: str) -> None:
        self._reader = reader
        self._lane = lane

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes."""
        with Lanes.slow(self._lane, refuse=False):
            block: bytes = self._reader.read(size)
        return block
