"""The threads that fetch, and the memory that fetches may take: demand before read-ahead."""

from __future__ import annotations

import logging
import threading
import time
from bisect import insort
from collections import Counter
from typing import Protocol

_log = logging.getLogger(__name__)

THREADS = 64
"""Most fetches at once in a process."""
_SPARE = 8
"""Threads that only demand may take."""
_LONG = 1.0
"""Seconds that a large job gives way to small ones which came after it."""
_SHED_AGAIN = 0.1
"""Seconds between two tries to have memory given up that jobs wait for."""
_IDLE = 10.0
"""Seconds after which a thread without work ends."""


class Job(Protocol):
    """One fetch: what it is from, and the bytes of memory that it takes until it is let go."""

    source: str
    size: int

    def run(self) -> None:
        """Do the work, in a thread of the line; raises nothing."""
        ...

    def shed(self) -> bool:
        """Give the memory up, if the work is done; tell whether it was. Takes no lock of ours."""
        ...


class Line:
    """Lets jobs run in the order in which they came, as threads and memory allow.

    One source gets three quarters of both at most, so that a store that hangs cannot stop the
    fetches of the others. A small job, up to a 64th of the memory, goes before larger ones, for
    a second at most, and a sixteenth more of its source's memory and threads are for small ones
    alone: who wants a page does not wait for those who want all. Threads are made when they are
    needed, and never keep the process from ending.
    """

    def __init__(self, memory: int, threads: int = THREADS) -> None:
        """Allow `memory` bytes; a single job may take more, when it is alone."""
        self._memory = memory
        self._threads = threads
        self._small = memory // 64
        self._share = max(1, threads * 3 // 4)
        self._share_of_large = max(1, threads * 11 // 16)
        self._lock = threading.Condition()
        # By when they are due: what is large later than it came.
        self._queue: list[tuple[float, int, Job]] = []
        self._came = 0
        self._alive: set[threading.Thread] = set()
        self._idle = 0
        self._running: Counter[str] = Counter()
        self._busy = 0
        self._taken: Counter[str] = Counter()
        self._held: dict[Job, None] = {}
        self._closed = False

    @property
    def held(self) -> int:
        """Bytes of memory that jobs hold now."""
        return self._taken.total()

    @property
    def busy(self) -> int:
        """How many jobs run now."""
        return self._busy

    def add(self, job: Job) -> None:
        """Run a job that somebody waits for, as soon as it can be."""
        with self._lock:
            self._append(job)
            self._wake()

    def offer(self, job: Job) -> bool:
        """Run a job that nobody waits for yet, if nobody would wait for it; tell whether."""
        with self._lock:
            # Those before it that will run at once; who waits for its source's share does not.
            before = [one for _, _, one in self._queue if self._in_share(one)]
            room = self._memory * 3 // 4 - self.held - sum(one.size for one in before)
            queued = sum(one.size for one in before if one.source == job.source)
            of_source = self._taken[job.source] + queued
            if (
                self._closed
                or job.size > room
                or self._busy + len(before) >= self._threads - _SPARE
                or not self._in_share(job)
                # A demand that comes now finds some of its source's share left.
                or (of_source and of_source + job.size > self._memory // 2)
            ):
                return False
            self._append(job)
            self._wake()
            return True

    def let_go(self, job: Job) -> None:
        """Give back the memory of a job that ran; harmless when called twice."""
        with self._lock:
            if job in self._held:
                del self._held[job]
                self._taken[job.source] -= job.size
                self._wake()

    def close(self, timeout: float) -> None:
        """Run no more jobs, and wait up to `timeout` seconds in all for those that run."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            self._lock.notify_all()
            self._lock.wait_for(lambda: not self._alive, timeout)
            if self._alive:
                _log.warning("%d fetches did not end; their store hangs", len(self._alive))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.run()
            except BaseException:
                _log.exception("a fetch failed in a way it should not")
            with self._lock:
                self._busy -= 1
                self._running[job.source] -= 1

    def _next(self) -> Job | None:
        """Wait for the next job that may run; None when this thread should end."""
        with self._lock:
            while not self._closed:
                job = self._choose()
                if job is not None:
                    self._busy += 1
                    self._running[job.source] += 1
                    self._held[job] = None
                    self._taken[job.source] += job.size
                    if self._queue:
                        self._wake()
                    return job
                self._idle += 1
                woken = self._lock.wait(_SHED_AGAIN if self._queue and self._held else _IDLE)
                self._idle -= 1
                if not woken and not self._queue:
                    break
            self._alive.discard(threading.current_thread())
            self._lock.notify_all()
            return None

    def _choose(self) -> Job | None:
        """Take the first job that may run; one whose source has its share is passed over."""
        for place, (_, _, job) in enumerate(self._queue):
            if self._running[job.source] >= self._share_of(job):
                continue
            for done in list(self._held):
                crowded = self._crowded(job)
                if not crowded and not self._greedy(job):
                    break
                if (crowded or done.source == job.source) and done.shed():
                    del self._held[done]
                    self._taken[done.source] -= done.size
            if not self._greedy(job):
                # Who lacks the memory of all is not overtaken by who comes behind it.
                return None if self._crowded(job) else self._queue.pop(place)[2]
        return None

    def _crowded(self, job: Job) -> bool:
        return bool(self.held) and self.held + job.size > self._memory

    def _greedy(self, job: Job) -> bool:
        taken, share = self._taken[job.source], self._memory * 3 // 4
        if self._is_small(job):
            share += self._memory // 16
        return bool(taken) and taken + job.size > share

    def _share_of(self, job: Job) -> int:
        return self._share if self._is_small(job) else self._share_of_large

    def _is_small(self, job: Job) -> bool:
        return job.size <= self._small

    def _in_share(self, job: Job) -> bool:
        return self._running[job.source] < self._share_of(job) and not self._greedy(job)

    def _append(self, job: Job) -> None:
        self._came += 1
        due = time.monotonic() + (0.0 if self._is_small(job) else _LONG)
        insort(self._queue, (due, self._came, job))

    def _wake(self) -> None:
        # A thread that was woken counts as idle until it runs: count the jobs, too.
        if len(self._queue) > self._idle and len(self._alive) < self._threads:
            thread = threading.Thread(target=self._work, name="forebay-fetch", daemon=True)
            self._alive.add(thread)
            thread.start()
        self._lock.notify()
