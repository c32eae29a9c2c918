"""What waits for a store that was down is due as soon as the store answers again.

A job's pauses grow up to an hour, so that a store which is down is left in peace; but its return
shall not be slept through. One thread for each such mount asks a small question meanwhile.
"""

from __future__ import annotations

import random
import threading
from functools import partial

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Job
from forebay.errors import ForebayError, NotFound, ServiceUnavailable, Unavailable
from forebay.objects.opening import NOT_THERE
from forebay.objects.shared import Shared, log, now_ms
from forebay.stores.metadata import Snapshot, Transaction

PAUSE, LONGEST = 1.0, 3600.0
"""Seconds between two questions; doubled for each answer that helped no job, up to the longest."""
_CHUNK = 500
"""Jobs that are made due in one transaction."""

Place = tuple[int, int, str]


def is_down(failure: Exception) -> bool:
    """Tell whether a job failed because its store did not answer."""
    return isinstance(failure, Unavailable | ServiceUnavailable)


class Comeback:
    """Asks the stores of mounts whose jobs failed, and makes those jobs due when they answer."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._asking: dict[str, threading.Thread] = {}
        self._missed: set[str] = set()
        self._pauses: dict[str, float] = {}

    def missed(self, path: str) -> None:
        """Note that the store of the mount at `path` did not answer a job."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._missed.add(path)
            if path not in self._asking:
                self._asking[path] = threading.Thread(
                    target=self._ask, args=(path,), name=f"ask {path}", daemon=True
                )
                self._asking[path].start()

    def served(self, path: str) -> None:
        """Note that a job of the mount at `path` is done."""
        with self._lock:
            self._pauses.pop(path, None)

    def stop(self) -> None:
        """End the questions; one that hangs is left to itself, and changes nothing any more."""
        self._stopping.set()
        with self._lock:
            asking = list(self._asking.values())
        for thread in asking:
            thread.join(1.0)

    def _ask(self, path: str) -> None:
        try:
            while self._goes_on(path):
                pause = self._pauses.get(path, PAUSE)
                if self._stopping.wait(pause * random.uniform(0.75, 1.0)):
                    return
                if not self._answers(path) or self._stopping.is_set():
                    continue
                with self._lock:
                    # One that answers and still takes nothing is asked more and more rarely.
                    self._pauses[path] = min(pause * 2, LONGEST)
                    self._missed.discard(path)
                self._hasten(path)
        except ForebayError as failure:
            log.warning("what waits for the store of %s stays in its pauses: %s", path, failure)
        finally:
            with self._lock:
                # Its place may be another thread's by now.
                if self._asking.get(path) is threading.current_thread():
                    del self._asking[path]

    def _goes_on(self, path: str) -> bool:
        """Tell whether a job was missed since the last answer; else this thread is at its end."""
        with self._lock:
            if path not in self._missed:
                del self._asking[path]
            return path in self._missed

    def _answers(self, path: str) -> bool:
        """Ask the store of a mount; one that is mounted no more need not be waited for."""
        mount = next((one for one in self._shared.mounts if one.config.path == path), None)
        if mount is None:
            return True
        try:
            mount.store.head(NOT_THERE)
        except Unavailable:
            return False
        except NotFound:
            return True
        # A plugin may refuse such a key in any way: it is there to refuse it.
        except Exception as refusal:
            log.info("the under store of %s answers: %r", path, refusal)
        return True

    def _hasten(self, path: str) -> None:
        waiting = self._shared.catalog.read(lambda snapshot: self._waiting(snapshot, path))
        for at in range(0, len(waiting), _CHUNK):
            if self._stopping.is_set():
                return
            some = waiting[at : at + _CHUNK]
            self._shared.catalog.write(partial(_make_due, places=some), durable=False)
        if waiting:
            log.info("the under store of %s answers; %d objects go on to it", path, len(waiting))
            self._shared.jobs_wait.set()

    def _waiting(self, snapshot: Snapshot, path: str) -> list[Place]:
        """Give the places in the queue of the jobs of a mount that failed and are not due yet."""
        found = []
        begin = keys.QUEUE + keys.number(now_ms() + 1)
        for row, _ in snapshot.scan(begin, keys.end(keys.QUEUE)):
            due = int.from_bytes(row[1:9], "big")
            bucket_id, key = keys.location(row, 9)
            job = catalog.get(snapshot, keys.job_row(bucket_id, key), Job)
            if job is None or job.due != due or not _slept(job):
                continue
            if self._shared.mounts.find(job.bucket, key).config.path == path:
                found.append((due, bucket_id, key))
        return found


def _slept(job: Job) -> bool:
    """Tell whether a job waits for its next try; a parked one waits for an operator."""
    return bool(job.attempts) and not job.owner and not job.parked


def _make_due(tx: Transaction, places: list[Place]) -> None:
    now = now_ms()
    for due, bucket_id, key in places:
        job = catalog.get(tx, keys.job_row(bucket_id, key), Job)
        if job is not None and job.due == due and _slept(job):
            tx.delete(keys.queue_row(due, bucket_id, key))
            catalog.put_job(tx, bucket_id, key, msgspec.structs.replace(job, due=now))
