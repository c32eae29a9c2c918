"""Stores that fail, wait or kill: layers around a contract, and plugins that put them in place."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Literal

from forebay.errors import NoSpace, Unavailable
from forebay.hookspecs import hookimpl
from forebay.streams import Reader
from forebay.types import Attributes, ObjectInfo, PageId

CRASH = "FOREBAY_CRASH_AT"
"""Environment variable that names the point at which this process dies, and at which visit."""

At = Literal["start", "middle", "end"]
"""Before a put has read anything; when it has read all (or half) and shown nothing; after it
has published."""


class Around:
    """Passes on to a store whatever a layer does not do itself."""

    def __init__(self, store: Any) -> None:
        self.inner = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class FailNth(Around):
    """Lets the `n`-th call (from 1) of `operation` fail; with `forever` all that follow, too.

    `error` makes the exception. `calls` counts the calls: raise `n` until it is not reached,
    and every call was the failing one once.
    """

    def __init__(
        self,
        store: Any,
        operation: str,
        n: int,
        error: Callable[[], Exception] = Unavailable,
        *,
        forever: bool = False,
    ) -> None:
        super().__init__(store)
        self.calls = 0
        self._operation = operation
        self._n = n
        self._error = error
        self._forever = forever
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return partial(self._call, found) if name == self._operation else found

    def _call(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with self._lock:
            self.calls += 1
            fails = self.calls == self._n or (self._forever and self.calls > self._n)
        if fails:
            raise self._error()
        return call(*args, **options)


class FailingUnderStore(Around):
    """Lets every put fail while `at` is set: ``store.at = None`` heals it.

    ``middle`` fails after half of the body was read, or all of a body of one block.
    """

    def __init__(
        self, store: Any, at: At | None = None, error: Callable[[], Exception] = Unavailable
    ) -> None:
        super().__init__(store)
        self.at = at
        self.error = error

    def put(
        self, key: str, /, body: Reader, *, size: int | None, attributes: Attributes, **ifs: Any
    ) -> ObjectInfo:
        """Fail at the chosen moment."""
        if self.at == "start":
            raise self.error()
        if self.at == "middle":
            body = _Breaking(body, size, self.error)
        info: ObjectInfo = self.inner.put(key, body, size=size, attributes=attributes, **ifs)
        if self.at == "end":
            raise self.error()
        return info


class SilentUnderStore(Around):
    """Answers nothing while `down`: a put reads its whole body first, as over a network."""

    down = False

    def put(self, key: str, /, body: Reader, **options: Any) -> ObjectInfo:
        """Put, or fail with nothing published."""
        while self.down:
            if not body.read(1 << 20):
                raise Unavailable("no answer")
        info: ObjectInfo = self.inner.put(key, body, **options)
        return info

    def head(self, key: str, /) -> ObjectInfo:
        """Look, or fail."""
        self._ask()
        info: ObjectInfo = self.inner.head(key)
        return info

    def delete(self, key: str, /) -> None:
        """Delete, or fail with nothing deleted."""
        self._ask()
        self.inner.delete(key)

    def _ask(self) -> None:
        if self.down:
            raise Unavailable("no answer")


class _Breaking:
    """A body that breaks off when half of it, or all that is left, was given."""

    def __init__(self, body: Reader, size: int | None, error: Callable[[], Exception]) -> None:
        self._body = body
        self._left = (size or 2) // 2
        self._error = error

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes of the first half."""
        block = self._body.read(max(1, min(size, self._left)))
        self._left -= len(block)
        if self._left <= 0 or not block:
            raise self._error()
        return block


class HangingUnderStore(Around):
    """Lets one put wait for `release` at a chosen moment; `entered` is set when it is there.

    ``middle`` is the moment when all was read, the end included, and nothing is published.
    """

    def __init__(self, store: Any, release: threading.Event, at: At = "start") -> None:
        super().__init__(store)
        self.entered = threading.Event()
        self.armed = True
        self._release = release
        self._at = at

    def put(self, key: str, /, body: Reader, **options: Any) -> ObjectInfo:
        """Wait once, then put."""
        if not self.armed:
            found: ObjectInfo = self.inner.put(key, body, **options)
            return found
        self.armed = False
        if self._at == "start":
            self._wait()
        if self._at == "middle":
            body = _Waiting(body, self._wait)
        info: ObjectInfo = self.inner.put(key, body, **options)
        if self._at == "end":
            self._wait()
        return info

    def _wait(self) -> None:
        self.entered.set()
        if not self._release.wait(30):
            raise Unavailable("nobody let the put go on")


class _Waiting:
    """A body that calls `wait` when its end was read."""

    def __init__(self, body: Reader, wait: Callable[[], None]) -> None:
        self._body = body
        self._wait = wait

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes."""
        block = self._body.read(size)
        if not block:
            self._wait()
        return block


class SlowUnderStore(Around):
    """Waits `seconds` before each head, open, put and delete."""

    def __init__(self, store: Any, seconds: float) -> None:
        super().__init__(store)
        self.seconds = seconds

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return partial(self._late, found) if name in ("head", "open", "put", "delete") else found

    def _late(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        time.sleep(self.seconds)
        return call(*args, **options)


class FullPageStore(Around):
    """Has no room for any page while `full`."""

    def __init__(self, store: Any, *, full: bool = False) -> None:
        super().__init__(store)
        self.full = full

    def writer(self, page: PageId, /, size: int | None) -> Any:
        """Begin a page. Raises NoSpace while the store is full."""
        if self.full:
            raise NoSpace("the shelves are full")
        return self.inner.writer(page, size)


class CrashPoint(Around):
    """Kills the process without a farewell before or after an operation of a store.

    The environment variable `FOREBAY_CRASH_AT` says where: ``under.put.before.1`` dies at the
    first put of the store that stands as ``under``, ``metadata.write.after.3`` when the third
    write has returned. ``under.put.middle.1`` dies when the whole body was read, and
    ``pages.commit.before.1`` at the first commit of any writer of pages.
    """

    def __init__(self, store: Any, place: str) -> None:
        super().__init__(store)
        self._place = place
        self._visits: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return partial(self._call, name, found) if callable(found) else found

    def _call(self, name: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self._reach(f"{name}.before")
        if name == "put":
            key, body, *rest = args
            args = (key, _Waiting(body, lambda: self._reach("put.middle")), *rest)
        answer = call(*args, **options)
        self._reach(f"{name}.after")
        return _Visited(answer, self._call) if name == "writer" else answer

    def _reach(self, point: str) -> None:
        if not os.environ.get(CRASH, "").startswith(f"{self._place}.{point}."):
            return  # visits count from when the variable is set
        with self._lock:
            self._visits[point] += 1
            visit = self._visits[point]
        if os.environ.get(CRASH) == f"{self._place}.{point}.{visit}":
            os.kill(os.getpid(), signal.SIGKILL)


class _Visited(Around):
    """A writer whose operations are visits of its store."""

    def __init__(self, writer: Any, visit: Callable[..., Any]) -> None:
        super().__init__(writer)
        self._visit = visit

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return partial(self._visit, name, found) if callable(found) else found


# --- plugins that put a layer in place ---------------------------------------------------

Wrap = Callable[[Any], Any]
Factory = Callable[..., Any]
_layers = itertools.count(1)


class _Layer:
    """What `wrap` made of each store, in the order of opening, is in `stores`."""

    def __init__(self, wrap: Wrap) -> None:
        # Plugins are told apart by name, and there may be several layers.
        self.__name__ = f"{type(self).__name__}-{next(_layers)}"
        self.stores: list[Any] = []
        self._wrap = wrap

    def _layered(self, factory: Factory | None) -> Factory | None:
        if factory is None:
            return None

        def make(*args: Any) -> Any:
            self.stores.append(self._wrap(factory(*args)))
            return self.stores[-1]

        return make


class UnderStoreLayer(_Layer):
    """A plugin that puts a layer around every under store."""

    @hookimpl(wrapper=True)
    def under_store_factory(self, scheme: str) -> Generator[None, Factory | None, Factory | None]:
        """Stand around whatever answers."""
        return self._layered((yield))


class PageStoreLayer(_Layer):
    """A plugin that puts a layer around every page store."""

    @hookimpl(wrapper=True)
    def page_store_factory(self, kind: str) -> Generator[None, Factory | None, Factory | None]:
        """Stand around whatever answers."""
        return self._layered((yield))


class MetadataStoreLayer(_Layer):
    """A plugin that puts a layer around the metadata store."""

    @hookimpl(wrapper=True)
    def metadata_store_factory(self, kind: str) -> Generator[None, Factory | None, Factory | None]:
        """Stand around whatever answers."""
        return self._layered((yield))


def crash_points() -> tuple[object, ...]:
    """Give plugins that put a `CrashPoint` around every store: under, pages, metadata."""
    return (
        UnderStoreLayer(partial(CrashPoint, place="under")),
        PageStoreLayer(partial(CrashPoint, place="pages")),
        MetadataStoreLayer(partial(CrashPoint, place="metadata")),
    )
