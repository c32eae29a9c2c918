"""The threads that run the application: some always, more while others wait for something slow."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

from waitress.task import ThreadedTaskDispatcher

from forebay.lanes import Lanes

SPARE = 10.0
"""Seconds after which a thread beyond the ordinary ones ends for want of work."""


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """The threads that run the application; it can wait for their end.

    Of those threads `threads` run at once. Up to `slow_threads` more wait for something slow:
    whoever begins such a wait (see `forebay.lanes`) lets another one run instead.
    """

    # A queue is the ordinary state of a busy server: no line for each request of it.
    queue_logger = logging.getLogger("forebay.server.queue")
    queue_logger.setLevel(logging.ERROR)

    def __init__(self, threads: int, slow_threads: int) -> None:
        """Start the threads."""
        super().__init__()
        self.lanes = Lanes(slow_threads, self._changed)
        self._alive: list[threading.Thread] = []
        self._most = threads
        self._slow = 0
        self._busy = 0
        self.set_thread_count(threads)

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        """Start one worker thread and remember it."""
        thread = threading.Thread(
            target=target, name=f"forebay-request-{thread_no}", args=(thread_no,), daemon=True
        )
        self._alive = [other for other in self._alive if other.is_alive()]
        self._alive.append(thread)
        thread.start()

    def handler_thread(self, thread_no: int) -> None:
        """Run requests, while fewer than `threads` others run and do not wait."""
        self.lanes.enter()
        while (task := self._next(thread_no)) is not None:
            try:
                task.service()
            except BaseException:
                self.logger.exception("Exception when servicing %r", task)
            with self.lock:
                self._busy -= 1

    def finish(self, timeout: float) -> int:
        """End the threads, for `timeout` seconds at most; return how many still run."""
        if self.shutdown(timeout=timeout) and not self.threads:
            for thread in self._alive:
                thread.join()
        return len(self.threads)

    def _next(self, thread_no: int) -> Any:
        """Wait for the next request that may run; None when this thread is to end."""
        with self.lock:
            while self.stop_count == 0 and not (self.queue and self._may_run()):
                # Idle threads are counted by `add_task`, too.
                self.active_count -= 1
                woken = self.queue_cv.wait(SPARE)
                self.active_count += 1
                spare = len(self.threads) - self.stop_count > self._most
                if not (woken or self.queue) and spare:
                    self.stop_count += 1
            if self.stop_count > 0:
                self.active_count -= 1
                self.stop_count -= 1
                self.threads.discard(thread_no)
                self.thread_exit_cv.notify()
                return None
            self._busy += 1
            return self.queue.popleft()

    def _may_run(self) -> bool:
        return self._busy - self._slow < self._most

    def _changed(self, change: int) -> None:
        """Let another thread run in the place of one that waits, and make one where none is."""
        with self.lock:
            self._slow += change
            if change < 0 or self.stop_count:
                return
            self.queue_cv.notify()
            if len(self.threads) < self._most + min(self._slow, self.lanes.limit):
                number = next(n for n in itertools.count() if n not in self.threads)
                self.threads.add(number)
                self.active_count += 1
                self.start_new_thread(self.handler_thread, number)
