"""A circuit breaker: a store that fails again and again is left alone for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from forebay.errors import StorageError, Unavailable


class _Ending(Enum):
    ANSWERED = "the store is there"
    FAILED = "it is not"
    UNKNOWN = "something else went wrong"


class LeftAlone(Unavailable):
    """The breaker is open: the store was not asked."""


class Breaker:
    """Lets calls through while they succeed; safe for threads.

    After `failures` failures in a row it opens: calls are refused at once. After `pause`
    seconds it lets one call through as a probe, whose success closes it. A call that has
    been under way for more than `patience` seconds counts as a failure, though it goes on; if
    it ends well after all, that is not counted. `changed` is told the reason when it opens,
    and None when it closes; no lock is held then.
    """

    def __init__(
        self,
        what: str,
        *,
        failures: int,
        pause: float,
        patience: float,
        changed: Callable[[str | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._failures = failures
        self._pause = pause
        self._patience = patience
        self._changed = changed
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._open_until: float | None = None
        self._probe: object | None = None
        self._reason = ""
        # The calls under way by when they began, the longest first; those counted are gone.
        self._under_way: dict[object, float] = {}

    @property
    def is_open(self) -> bool:
        """Whether the store is left alone."""
        return self._open_until is not None

    @contextmanager
    def call(
        self, *, begun: bool = False, blamed: Callable[[Unavailable], bool] = lambda _: True
    ) -> Iterator[None]:
        """Make one call of the store inside of this; one that goes on with what was `begun` is
        counted, but never refused. A failure for which it is not `blamed` says nothing of it.
        Raises LeftAlone.
        """
        if not self._failures:
            yield
            return
        mark = object()
        self._admit(mark, begun)
        try:
            yield
        except Unavailable as error:
            self._end(mark, _Ending.FAILED if blamed(error) else _Ending.UNKNOWN, str(error))
            raise
        except StorageError:
            self._end(mark, _Ending.ANSWERED)  # any other answer is one: the store is there
            raise
        except BaseException:
            self._end(mark, _Ending.UNKNOWN)
            raise
        self._end(mark, _Ending.ANSWERED)

    def _admit(self, mark: object, begun: bool) -> None:
        now = self._clock()
        with self._lock:
            opened = self._count_overdue(now)
            refusal: LeftAlone | None = None
            if self._open_until is not None and not begun:
                wait = self._open_until - now
                if wait > 0 or self._probe is not None:
                    refusal = LeftAlone(
                        f"{self._what} fails: {self._reason}; it is tried again in"
                        f" {max(wait, 0.0):.1f} seconds"
                    )
                else:
                    self._probe = mark
            if refusal is None:
                self._under_way[mark] = now
        if opened:
            self._changed(self._reason)
        if refusal is not None:
            raise refusal

    def _end(self, mark: object, ending: _Ending, reason: str = "") -> None:
        closed = opened = False
        with self._lock:
            if self._under_way.pop(mark, None) is None:
                return  # counted already, as overdue
            if ending is _Ending.FAILED:
                opened = self._count(mark, reason, self._clock())
            elif ending is _Ending.ANSWERED and (self._open_until is None or mark is self._probe):
                closed = self._open_until is not None
                self._in_a_row, self._open_until, self._probe = 0, None, None
            elif mark is self._probe:
                self._probe = None
        if opened:
            self._changed(self._reason)
        if closed:
            self._changed(None)

    def _count_overdue(self, now: float) -> bool:
        """Count the calls that take too long; tell whether that opened the breaker."""
        opened = False
        for mark, began in list(self._under_way.items()):
            if now - began <= self._patience:
                break
            del self._under_way[mark]
            opened |= self._count(mark, f"a call takes more than {self._patience:g} seconds", now)
        return opened

    def _count(self, mark: object, failure: str, now: float) -> bool:
        """Count a failure; tell whether it opened the breaker. The lock is held."""
        self._in_a_row += 1
        if self._open_until is not None:
            if mark is self._probe:
                self._probe, self._open_until = None, now + self._pause
            return False
        if self._in_a_row < self._failures:
            return False
        self._reason, self._open_until = failure, now + self._pause
        return True
