"""Signals as a list that is asked for, so that no work is done inside a signal handler."""

import os
import select
import signal
from collections import deque
from collections.abc import Collection, Iterable
from contextlib import suppress
from types import FrameType, TracebackType

STOPS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """What to do with the signals `numbers`: take note of them and wake who waits.

    `ignored` ones are not even noted. `impatient`: the second of `STOPS` ends the process at once.
    """

    def __init__(
        self,
        *numbers: signal.Signals,
        ignored: Collection[signal.Signals] = (),
        impatient: bool = False,
    ) -> None:
        """Change nothing yet; entering does."""
        self._numbers, self._ignored, self._impatient = numbers, ignored, impatient
        self._seen: deque[int] = deque()
        self._stops = 0

    def __enter__(self) -> "Signals":
        """Install the handlers; only the main thread may."""
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._old_descriptor = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, self._take) for number in self._numbers}
        self._old |= {number: signal.signal(number, signal.SIG_IGN) for number in self._ignored}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Put back the handlers that were there."""
        for number, before in self._old.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._old_descriptor)
        self._close()

    def abandon(self) -> None:
        """Let go of it in a child, which will have signals of its own."""
        signal.set_wakeup_fd(-1)
        self._close()

    def _close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._seen.append(number)
        self._stops += number in STOPS
        if self._impatient and self._stops > 1:
            os._exit(128 + number)

    def wake(self) -> None:
        """End the waiting of another thread."""
        with suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._writing, b"\0")

    def wait(
        self, timeout: float | None = None, readable: Iterable[int] = ()
    ) -> tuple[set[int], set[int]]:
        """Wait for a signal, `wake`, a readable descriptor, or `timeout` seconds.

        Gives the signals since the last call and the descriptors that are readable or closed.
        """
        poller = select.poll()
        for descriptor in (self._reading, *readable):
            poller.register(descriptor, select.POLLIN)
        ready = {
            descriptor for descriptor, _ in poller.poll(None if timeout is None else timeout * 1000)
        }
        if self._reading in ready:
            os.read(self._reading, 65536)
        seen = set()
        while self._seen:
            seen.add(self._seen.popleft())
        return seen, ready - {self._reading}
