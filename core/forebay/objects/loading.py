"""The work of load jobs: every object below a path, or of a list, is brought into the cache.

What is settled is written down twice a second, so a process that dies has a job of its go on
near where it was: pages that came are found and not fetched again.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Load, LoadFailure, decode, encode
from forebay.errors import (
    ForebayError,
    NoSuchKey,
    S3Condition,
    ServiceUnavailable,
    SlowDown,
    StorageError,
)
from forebay.events import LoadEnded
from forebay.objects.buckets import Buckets
from forebay.objects.listing import Listings
from forebay.objects.load_paths import LISTED, LoadPaths
from forebay.objects.loads import CANCELLED, DONE, PAUSED, RUNNING, purge
from forebay.objects.missing import Brought, Missing
from forebay.objects.read import Reads
from forebay.objects.scope import find_bucket, parse_object
from forebay.objects.shared import Shared, log, now_ms
from forebay.stores.metadata import Snapshot, Transaction
from forebay.streams import BLOCK

AT_ONCE = 2
"""Jobs that one process works on at once; they share ``cache.load_workers``."""
SAVE = 0.5
"""Seconds between two notes of how far a job is."""
STREAK = 100
"""Failures in a row after which a job stops: its store is down, not some objects."""
RETRY_AFTER = 2.0
"""Seconds before what failed is tried a second time."""
NOTHING = "nothing is there"
"""Why a job that is done brought no object."""
_LONGEST_WAIT = 30.0
LANDS = 60.0
"""Longest wait, in seconds, for pages that were fetched to be on their shelf."""
_LEAVE = 5.0
"""Seconds for objects under way to notice that their job stops; a store may hang longer."""

_Again = (ServiceUnavailable, SlowDown, StorageError)
"""What a listing may fail with that waiting can mend."""


class _Stopped(Exception):
    """The job was paused, or the process ends; what is under way is left."""


class _StoreDown(Exception):
    """Too much failed in a row; the text is the last failure."""


@dataclass(slots=True)
class _Task:
    """One object in the window: up to `cursor` all is settled when it is."""

    cursor: str
    path: str
    done: Future[Brought]


@dataclass(slots=True)
class _Run:
    """One job in the hands of this process; counters not written down yet are kept here."""

    load: Load
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    window: deque[_Task] = field(default_factory=deque)
    ahead: int = 0
    objects: int = 0
    fetched: int = 0
    present: int = 0
    present_size: int = 0
    unkept: int = 0
    lost: int = 0
    cursor: str = ""
    failures: dict[str, str] = field(default_factory=dict)
    mended: list[str] = field(default_factory=list)
    streak: int = 0
    reason: str = ""
    counted: tuple[int, int] | None = None
    saved: float = 0.0

    def arrived(self, size: int) -> None:
        """Count bytes as they come. Raises _Stopped when the job is to stop."""
        with self.lock:
            self.ahead += size
        if self.stop.is_set():
            raise _Stopped

    def arrived_not(self, size: int) -> None:
        """Count what came of an object that failed as fetched in vain."""
        with self.lock:
            self.ahead -= size
            self.lost += size


class Loading:
    """Does load jobs; each is in the hands of one process, several processes share them all."""

    def __init__(self, shared: Shared, buckets: Buckets, listings: Listings, reads: Reads) -> None:
        self._shared = shared
        self._buckets = buckets
        self._paths = LoadPaths(shared, buckets, listings)
        self._reads = reads
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._mine: set[int] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"load-{n}", daemon=True)
            for n in range(AT_ONCE)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; jobs under way are let go, for whoever comes next."""
        self._stopping.set()
        self._shared.loads_wait.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def run_some(self) -> bool:
        """Take a job that nobody has and work on it until it ends; tell whether there was one."""
        with self._lock:
            load = None
            if self._shared.catalog.read(self._free) is not None:
                load = self._shared.catalog.write(self._claim, durable=False)
            if load is None:
                return False
            self._mine.add(load.id)
        try:
            if load.state == CANCELLED:
                purge(self._shared, load.id)
            else:
                self._run(_Run(load))
        finally:
            self._mine.discard(load.id)
        return True

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._shared.loads_wait.clear()
            try:
                while not self._stopping.is_set() and self.run_some():
                    pass
            except StorageError as failure:
                log.warning("load jobs go on later: %s", failure)
            except Exception:
                log.exception("a load job failed")
                self._stopping.wait(5.0)
            self._shared.loads_wait.wait(1.0)

    def _free(self, snapshot: Snapshot) -> Load | None:
        own = self._shared.owner
        for _, load in catalog.rows(snapshot, keys.LOADS, Load):
            ours = load.owner == own.number and load.id not in self._mine
            if load.state in (RUNNING, CANCELLED) and (
                ours or not load.owner or not own.alive(load.owner)
            ):
                return load
        return None

    def _claim(self, tx: Transaction) -> Load | None:
        load = self._free(tx)
        if load is not None:
            load = msgspec.structs.replace(
                load, owner=self._shared.owner.number, ahead=0, reason=""
            )
            tx.put(keys.load_row(load.id), encode(load))
        return load

    # --- one job -----------------------------------------------------------------------

    def _run(self, run: _Run) -> None:
        run.cursor = run.load.cursor
        counting = None
        if not run.load.counted:
            counting = self._threads_of().submit(self._count, run)
        pause = 1.0
        try:
            while True:
                try:
                    self._pass(run, self._paths.of(run.load, run.cursor))
                    self._retry_failures(run)
                    self._end(run, DONE)
                    return
                except _Again as failure:
                    # What is in the window may still come; then the listing goes on behind it.
                    self._drain(run)
                    run.reason = f"waits: {_words(failure)}"
                    log.info("load %d waits: %s", run.load.id, _words(failure))
                    self._wait(run, pause)
                    pause = min(2 * pause, _LONGEST_WAIT)
                except S3Condition as failure:
                    self._drain(run)
                    self._end(run, PAUSED, _words(failure))
                    return
        except _Stopped:
            self._leave(run)
            self._write(run, owned=False)
        except _StoreDown as last:
            self._leave(run)
            self._end(run, PAUSED, f"{STREAK} objects failed in a row, the last: {last}")
        finally:
            run.stop.set()
            if counting is not None:
                counting.cancel()

    def _pass(self, run: _Run, paths: Iterator[tuple[str, str]]) -> None:
        """Bring every one of `paths`, some at once, and settle them in their order."""
        width = 2 * self._shared.config.cache.load_workers
        more = True
        while more or run.window:
            while more and len(run.window) < width:
                found = next(paths, None)
                if found is None:
                    more = False
                    break
                cursor, path = found
                done = self._threads_of().submit(self._bring, run, path)
                run.window.append(_Task(cursor, path, done))
            self._settle(run)

    def _settle(self, run: _Run) -> None:
        """Count what is done at the head of the window; wait for it until the next note is due."""
        if run.window:
            head = run.window[0].done
            with suppress(TimeoutError):
                head.exception(max(0.01, run.saved + SAVE - time.monotonic()))
        while run.window and run.window[0].done.done():
            task = run.window.popleft()
            failure = task.done.exception()
            if isinstance(failure, _Stopped):
                raise failure
            self._count_in(run, task, failure)
            if run.streak >= STREAK:
                raise _StoreDown(run.failures[task.path])
        if time.monotonic() >= run.saved + SAVE:
            self._save(run)

    def _count_in(self, run: _Run, task: _Task, failure: BaseException | None) -> None:
        run.cursor = task.cursor
        if failure is None:
            brought = task.done.result()
            run.streak = 0
            run.objects += 1
            run.fetched += brought.fetched
            run.present_size += brought.present
            run.unkept += brought.unkept
            run.present += not brought.fetched
            with run.lock:
                run.ahead -= brought.fetched
            run.mended.append(task.path)
            return
        if not isinstance(failure, ForebayError):
            log.error("loading %s failed", task.path, exc_info=failure)
        run.streak += 1
        run.failures[task.path] = _words(failure)

    def _drain(self, run: _Run) -> None:
        while run.window:
            self._settle(run)

    def _retry_failures(self, run: _Run) -> None:
        """Try once more what failed, now that all else is done."""
        self._save(run)
        first = self._shared.catalog.read(partial(_failed_once, run.load.id, "", 1))
        if not first:
            return
        run.load = msgspec.structs.replace(run.load, retrying=True)
        self._wait(run, RETRY_AFTER)
        self._pass(run, self._failed(run))

    def _failed(self, run: _Run) -> Iterator[tuple[str, str]]:
        after = ""
        while True:
            some = self._shared.catalog.read(partial(_failed_once, run.load.id, after, LISTED))
            for path in some:
                yield run.cursor, path
            if len(some) < LISTED:
                return
            after = some[-1]

    def _wait(self, run: _Run, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._save(run)
            self._stopping.wait(min(left, SAVE))

    # --- writing down -------------------------------------------------------------------

    def _save(self, run: _Run) -> None:
        """Write down how far the job is. Raises _Stopped when it is not to go on."""
        load = self._write(run)
        run.saved = time.monotonic()
        if load is None or load.state != RUNNING or self._stopping.is_set():
            run.stop.set()
            raise _Stopped

    def _write(
        self, run: _Run, state: str | None = None, reason: str | None = None, *, owned: bool = True
    ) -> Load | None:
        failures, mended, counted = dict(run.failures), list(run.mended), run.counted
        with run.lock:
            ahead, lost = max(0, run.ahead), run.lost

        def write(tx: Transaction) -> Load | None:
            row = keys.load_row(run.load.id)
            load = catalog.get(tx, row, Load)
            if load is None or load.owner != self._shared.owner.number:
                return None
            failed = load.failed
            for path in mended:
                failure = keys.load_failure_row(load.id, path)
                if load.failed and tx.get(failure) is not None:
                    tx.delete(failure)
                    failed -= 1
            for path, why in failures.items():
                failed += _note_failure(tx, load.id, path, why)
            if counted is not None and not load.counted:
                load = msgspec.structs.replace(
                    load, counted=True, total=counted[0], total_size=counted[1]
                )
            # The operator's word about the state counts more than ours.
            ends = state is not None and load.state == RUNNING
            nothing = state == DONE and not (load.objects + run.objects + failed)
            note = NOTHING if nothing else reason
            load = msgspec.structs.replace(
                load,
                state=state if ends and state is not None else load.state,
                owner=self._shared.owner.number if owned else 0,
                cursor=run.cursor,
                objects=load.objects + run.objects,
                fetched=load.fetched + run.fetched,
                present=load.present + run.present,
                present_size=load.present_size + run.present_size,
                unkept=load.unkept + run.unkept,
                lost=load.lost + lost,
                failed=failed,
                ahead=ahead if owned else 0,
                retrying=run.load.retrying,
                reason=_reason(load, run.reason if note is None else note),
                updated=now_ms(),
                ended=now_ms() if ends and state == DONE else load.ended,
            )
            tx.put(row, encode(load))
            return load

        load = self._shared.catalog.write(write, durable=False)
        for path in failures:
            run.failures.pop(path, None)
        del run.mended[: len(mended)]
        run.objects = run.fetched = run.present = run.present_size = run.unkept = 0
        with run.lock:
            run.lost -= lost
        return load

    def _end(self, run: _Run, state: str, reason: str = "") -> None:
        load = self._write(run, state, reason, owned=False)
        if load is not None and load.state == DONE:
            self._shared.track(LoadEnded(load.id, load.path, load.objects, load.failed))

    def _leave(self, run: _Run) -> None:
        """Leave what is under way; what is done up to the first that is not counts."""
        run.stop.set()
        for task in run.window:
            task.done.cancel()
        wait([task.done for task in run.window], _LEAVE)
        for task in run.window:
            if task.done.cancelled() or not task.done.done():
                break
            failure = task.done.exception()
            if isinstance(failure, _Stopped):
                break
            self._count_in(run, task, failure)
        run.window.clear()
        run.reason = ""
        run.ahead = 0

    def _count(self, run: _Run) -> None:
        """Count what there is to do, beside doing it, so that an end can be foretold."""
        total = size = 0
        try:
            for one, _ in self._paths.objects(run.load, ""):
                if run.stop.is_set():
                    return
                total, size = total + 1, size + one.size
            run.counted = total, size
        except ForebayError as failure:
            log.info("load %d is not counted: %s", run.load.id, failure)

    # --- one object --------------------------------------------------------------------------

    def _bring(self, run: _Run, path: str) -> Brought:
        """Bring what is missing of one object."""
        if run.stop.is_set():
            raise _Stopped
        name, key = parse_object(path)
        bucket = find_bucket(self._buckets, name)
        want = Missing(self._shared)
        try:
            while True:
                with closing(self._reads.get(bucket, key, want.select)) as opened:
                    while block := opened.read(BLOCK):
                        want.brought.fetched += len(block)
                        run.arrived(len(block))
                if want.settled:
                    return want.brought
                # Bytes are given before their pages are on the shelf.
                self._shared.fetches.landed(want.object_id, LANDS)
        except BaseException as failure:
            run.arrived_not(want.brought.fetched)
            if isinstance(failure, NoSuchKey):
                raise NoSuchKey(f"there is no object {path}") from failure
            raise

    def _threads_of(self) -> ThreadPoolExecutor:
        # Made at first use: after a fork, not before.
        with self._lock:
            if self._pool is None:
                # One more to count beside them, for each job.
                workers = self._shared.config.cache.load_workers + AT_ONCE
                self._pool = ThreadPoolExecutor(workers, "load")
            return self._pool


def _failed_once(load_id: int, after: str, limit: int, snapshot: Snapshot) -> list[str]:
    prefix = keys.load_failure_row(load_id, "")
    start = prefix + after.encode() + b"\0" if after else prefix
    found = (
        row[9:].decode()
        for row, value in snapshot.scan(start, keys.end(prefix))
        if decode(LoadFailure, value).attempts == 1
    )
    return list(itertools.islice(found, limit))


def _note_failure(tx: Transaction, load_id: int, path: str, why: str) -> int:
    """Write a failure down; tell how many more objects have failed since."""
    row = keys.load_failure_row(load_id, path)
    before = catalog.get(tx, row, LoadFailure)
    attempts = before.attempts + 1 if before is not None else 1
    tx.put(row, encode(LoadFailure(why[:500], attempts)))
    return before is None


def _reason(load: Load, ours: str) -> str:
    """Give the reason to tell: ours while the job runs, else the operator's."""
    return ours if load.state == RUNNING else load.reason


def _words(failure: BaseException) -> str:
    return f"{type(failure).__name__}: {failure}" if str(failure) else type(failure).__name__
