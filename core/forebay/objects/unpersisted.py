"""What is in no under store yet: counted, listed, and set going by an operator."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Job, decode, encode
from forebay.objects.buckets import Buckets
from forebay.objects.scope import Scope, check_scope, parse_scope, path_of, walk
from forebay.objects.shared import Shared, now_ms
from forebay.stores.metadata import Snapshot, Transaction
from forebay.types import PersistState

CHUNK = 500
"""Objects that one call sets going at most."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for its under store: objects, bytes, and the age (s) of the oldest job.

    `kept` counts the objects that nobody asked to persist (MUST_CACHE), `parked` those whose
    job only an operator can mend, `failing` those that failed at least once.
    """

    objects: int
    size: int
    oldest: float
    kept: int
    kept_size: int
    parked: int
    failing: int


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """One job: its path, size in bytes, age and time until the next try (s), and last failure."""

    path: str
    size: int
    age: float
    due_in: float
    attempts: int
    parked: bool
    reason: str


@dataclass(frozen=True, slots=True)
class SetGoing:
    """What one call did: objects queued for the first time, jobs made due; where to go on."""

    queued: int
    queued_size: int
    hastened: int
    next_after: str


class Unpersisted:
    """The objects that only the cache holds."""

    def __init__(self, shared: Shared, buckets: Buckets) -> None:
        self._shared = shared
        self._buckets = buckets

    def waiting(self, path: str = "/") -> Waiting:
        """Count what waits below a path; takes time in proportion to it.

        Raises InvalidArgument, NoSuchBucket.
        """
        scope = self._scope(path)
        return self._shared.catalog.read(partial(_count, scope, now_ms()))

    def failing(self, path: str = "/", limit: int = 100) -> list[WaitingJob]:
        """Give up to `limit` jobs below a path that failed before, by path."""
        scope, now = self._scope(path), now_ms()

        def read(snapshot: Snapshot) -> list[WaitingJob]:
            found = (
                (path_of(bucket.name, key), decode(Job, value))
                for bucket, key, value in walk(snapshot, scope, keys.job_row)
            )
            failed = (one for one in found if one[1].attempts)
            return [
                WaitingJob(
                    path, job.size, (now - job.queued) / 1000, max(0.0, (job.due - now) / 1000),
                    job.attempts, job.parked, job.reason,
                )
                for path, job in itertools.islice(failed, limit)
            ]  # fmt: skip

        return self._shared.catalog.read(read)

    def set_going(self, path: str = "/", after: str = "") -> SetGoing:
        """Queue what only the cache holds, and make waiting and parked jobs due at once.

        Takes a run of objects behind the path `after`; `next_after` is "" when that was all.
        An operator's word is not held up by ``persist.max_dirty``. Raises InvalidArgument,
        NoSuchBucket.
        """
        scope = self._scope(path)
        done = self._shared.catalog.write(partial(_set_going, scope, after, now_ms()))
        self._shared.jobs_wait.set()
        return done

    def _scope(self, path: str) -> Scope:
        scope = parse_scope(path)
        check_scope(self._buckets, scope)
        return scope


def _count(scope: Scope, now: int, snapshot: Snapshot) -> Waiting:
    objects = size = kept = kept_size = parked = failing = 0
    oldest = now
    for bucket, key, _ in walk(snapshot, scope, keys.dirty_row):
        job = catalog.get(snapshot, keys.job_row(bucket.id, key), Job)
        if job is not None:
            objects, size = objects + 1, size + job.size
            oldest = min(oldest, job.queued)
            parked += job.parked
            failing += job.attempts > 0
            continue
        record = catalog.get_record(snapshot, bucket.id, key)
        if record is not None:
            kept, kept_size = kept + 1, kept_size + record.size
    return Waiting(objects, size, (now - oldest) / 1000, kept, kept_size, parked, failing)


def _set_going(scope: Scope, after: str, now: int, tx: Transaction) -> SetGoing:
    queued = queued_size = hastened = 0
    found = [
        (bucket, key)
        for bucket, key, _ in itertools.islice(walk(tx, scope, keys.dirty_row, after), CHUNK)
    ]
    for bucket, key in found:
        job = catalog.get(tx, keys.job_row(bucket.id, key), Job)
        if job is not None:
            # One that a process has in hand is under way already.
            if not job.owner and (job.parked or job.due > now):
                tx.delete(keys.queue_row(job.due, bucket.id, key))
                due = msgspec.structs.replace(job, due=now, parked=False)
                catalog.put_job(tx, bucket.id, key, due)
                hastened += 1
            continue
        record = catalog.get_record(tx, bucket.id, key)
        if record is None or record.state is not PersistState.NOT_PERSISTED:
            continue
        record = msgspec.structs.replace(record, state=PersistState.TO_BE_PERSISTED)
        tx.put(keys.object_row(bucket.id, key), encode(record))
        catalog.note_unpersisted(tx, bucket, key, record, now, None)
        queued, queued_size = queued + 1, queued_size + record.size
    last = path_of(found[-1][0].name, found[-1][1]) if len(found) == CHUNK else ""
    return SetGoing(queued, queued_size, hastened, last)
