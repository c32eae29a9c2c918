"""Opening under stores: each on a thread of its own, tried again for as long as it is down."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from forebay.errors import ConfigurationError, NotFound, Unavailable
from forebay.objects.shared import log
from forebay.stores.under import ObjectReader, UnderStore
from forebay.streams import Reader
from forebay.types import Attributes, ByteRange, Capabilities, CommonPrefix, ObjectInfo

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the second try, doubled for each, with jitter, up to the longest."""
NOT_THERE = ".forebay-asks-whether-you-answer"
"""A key that no store has, for asking whether it answers at all."""


class UnreachableStore:
    """Stands for an under store that could not be opened yet: every call is Unavailable.

    It is taken for a store that processes share and that keeps what it is given.
    """

    capabilities = Capabilities(shared_between_processes=True)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def head(self, key: str, /) -> ObjectInfo:
        """Raise Unavailable."""
        raise Unavailable(self.reason)

    def open(
        self, key: str, /, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> AbstractContextManager[ObjectReader]:
        """Raise Unavailable."""
        raise Unavailable(self.reason)

    def put(
        self,
        key: str,
        /,
        body: Reader,
        *,
        size: int | None,
        attributes: Attributes,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> ObjectInfo:
        """Raise Unavailable; the body is not read."""
        raise Unavailable(self.reason)

    def delete(self, key: str, /) -> None:
        """Raise Unavailable."""
        raise Unavailable(self.reason)

    def list(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = ""
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """Raise Unavailable."""
        raise Unavailable(self.reason)

    def close(self) -> None:
        """Do nothing: nothing is open."""


class Opener:
    """Opens the under store of the mount at `path`, and tries again while that fails.

    `tried` is set after the first attempt; `store` is then there, or `fault` says why it is
    not. `on_open` is called, on the thread of the opener, when an attempt succeeded. A store
    behind a network is then asked until it has answered once, so that the log of a start says
    what is down; requests do not wait for that.
    """

    def __init__(
        self,
        path: str,
        open_store: Callable[[], UnderStore],
        on_open: Callable[[], object] = lambda: None,
    ) -> None:
        self.tried = threading.Event()
        self.store: UnderStore | None = None
        self.fault: Exception | None = None
        self.silent = ""
        """Why an open store has not answered yet."""
        self._path = path
        self._open_store = open_store
        self._on_open = on_open
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"open {path}", daemon=True)
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the first attempt; tell whether it came."""
        return self.tried.wait(max(0.0, timeout))

    @property
    def reason(self) -> str:
        """Why there is no store, in words."""
        if self.fault is None:
            return f"the under store of {self._path} does not answer yet"
        return f"the under store of {self._path} cannot be opened: {self.fault}"

    def stop(self, timeout: float = 0.0) -> None:
        """End the tries, and close what was opened and nobody took.

        An attempt under way is waited for up to `timeout` seconds, then left to itself: what it
        opens it closes.
        """
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        store = self.take()
        if store is not None:
            store.close()

    def take(self) -> UnderStore | None:
        """Give the store, once; it is the caller's to close from now on."""
        with self._lock:
            store, self.store = self.store, None
            return store

    def _run(self) -> None:
        pause, told = FIRST_PAUSE, ""
        while (store := self._attempt()) is None:
            reason = self.reason
            first, told = reason != told, reason
            # A fault of the configuration at start is the caller's to tell.
            if first and (self.tried.is_set() or isinstance(self.fault, Unavailable)):
                log.warning("%s; it is tried again", reason)
            self.tried.set()
            if self._stopping.wait(pause * random.uniform(0.75, 1.0)):
                return
            pause = min(pause * 2, LONGEST_PAUSE)
        if self.tried.is_set() and not self._stopping.is_set():
            log.info("the under store of %s is open now", self._path)
        self.tried.set()
        if not self._stopping.is_set():
            self._on_open()
            if store.capabilities.persistent and not store.capabilities.local_files:
                self._ask(store)

    def _attempt(self) -> UnderStore | None:
        try:
            store = self._open_store()
        # A plugin may fail in any way; whoever waits decides what it means.
        except Exception as fault:
            self.fault = fault
            return None
        with self._lock:
            if not self._stopping.is_set():
                self.store, self.fault = store, None
                return store
        store.close()
        return store

    def _ask(self, store: UnderStore) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                store.head(NOT_THERE)
            except Unavailable as failure:
                if not self.silent:
                    log.warning("the under store of %s does not answer: %s", self._path, failure)
                self.silent = f"the under store of {self._path} does not answer: {failure}"
            except NotFound:
                break
            except Exception as refusal:
                # No news of a store that is down; requests will hear it themselves.
                log.info("the under store of %s answers: %r", self._path, refusal)
                break
            else:
                break
            self._stopping.wait(pause * random.uniform(0.75, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE)
        if self.silent:
            log.info("the under store of %s answers now", self._path)
            self.silent = ""


def first_tries(openers: list[Opener], patience: float) -> list[Exception]:
    """Wait up to `patience` seconds for the first attempt of each; give the lasting faults.

    A store that is down, or silent for longer, is no fault: it is tried again.
    """
    end = time.monotonic() + patience
    for opener in openers:
        opener.wait(end - time.monotonic())
    found = (opener.fault for opener in openers)
    return [fault for fault in found if fault is not None and not isinstance(fault, Unavailable)]


def told(path: str, fault: Exception) -> list[str]:
    """Put a fault of the mount at `path` in words, a line for each reason."""
    reasons = fault.faults if isinstance(fault, ConfigurationError) else (str(fault),)
    return [f"mounts.{path}: {reason}" for reason in reasons]
