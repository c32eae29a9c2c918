"""Connections to a storage: made when first used, dropped when lost, never two threads in one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from forebay.errors import ForebayError, Unavailable
from forebay_fsspec.faults import kind_of

T = TypeVar("T")


def run(fs: Any, work: Coroutine[Any, Any, T], timeout: float) -> T:
    """Run a coroutine on the loop of an asynchronous file system; cancel it at the time-out."""
    return begin(fs, work, timeout).result()


def begin(fs: Any, work: Coroutine[Any, Any, T], timeout: float) -> Future[T]:
    """Begin a coroutine on the loop of an asynchronous file system."""
    return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout), fs.loop)


class Connections:
    """File systems of one mount, each a connection.

    With `most` None all threads share one; otherwise each use has one of at most `most` to
    itself, and waits up to `timeout` seconds for its turn. A connection that turns out to be
    lost is closed, and the next use makes another; so is one that waited and is not `usable`.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        close: Callable[[Any], object] = lambda fs: None,
        usable: Callable[[Any], bool] = lambda fs: True,
        most: int | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._make = make
        self._close = close
        self._usable = usable
        self._timeout = timeout
        self._turns = None if most is None else threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self._generation = 0

    @contextmanager
    def use(self) -> Iterator[Any]:
        """Give a file system for the time of one operation."""
        if self._turns is None:
            yield from self._shared()
            return
        if not self._turns.acquire(timeout=self._timeout):
            raise Unavailable("all connections to the store are busy")
        try:
            fs, generation = self._taken()
            if fs is None:
                fs = self._made()
            lost = True
            try:
                yield fs
                lost = False
            except Exception as error:
                lost = _is_lost(error)
                raise
            finally:
                self._give_back(fs, None if lost else generation)
        finally:
            self._turns.release()

    def _shared(self) -> Iterator[Any]:
        with self._lock:
            if not self._idle:
                self._idle.append(self._made())
            fs = self._idle[0]
        try:
            yield fs
        except Exception as error:
            if _is_lost(error):
                with self._lock:
                    if fs in self._idle:
                        self._idle.remove(fs)
                # Others may be using it: it is closed when the last of them lets go of it.
            raise

    def close(self) -> None:
        """Close every connection; one that is in use, when it is given back."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._generation += 1
        for fs in idle:
            self._drop(fs)

    def _taken(self) -> tuple[Any, int]:
        """Take a connection that waits and can be used; None if there is none."""
        while True:
            with self._lock:
                fs = self._idle.pop() if self._idle else None
                generation = self._generation
            if fs is None or self._usable(fs):
                return fs, generation
            self._drop(fs)

    def _made(self) -> Any:
        try:
            return self._make()
        except Exception as error:
            if isinstance(error, ForebayError):
                raise
            said = str(error) or type(error).__name__
            raise kind_of(error)(f"no connection to the store: {said}") from error

    def _give_back(self, fs: Any, generation: int | None) -> None:
        with self._lock:
            if generation == self._generation:
                self._idle.append(fs)
                return
        self._drop(fs)

    def _drop(self, fs: Any) -> None:
        # A connection that is being given up may fail in any way; there is nobody to tell.
        with suppress(Exception):
            self._close(fs)


def _is_lost(error: Exception) -> bool:
    return issubclass(kind_of(error), Unavailable)
