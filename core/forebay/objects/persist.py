"""Persisting: ASYNC_THROUGH objects reach their under store in the background, for ever retried.

The job was committed together with its record. Per key there is one job, always of the newest
object; a version that was overwritten meanwhile finds so at its gate, before it is published.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing
from dataclasses import dataclass

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Intent, Job, Record, SegmentRef, Trash, encode
from forebay.errors import (
    ForebayError,
    InvalidKey,
    NoSuchBucket,
    NotFound,
    NotSupported,
    PermissionDenied,
    StorageError,
)
from forebay.events import ObjectPersisted, PersistFailed, SyncConflict
from forebay.objects import intents
from forebay.objects.comeback import Comeback, is_down
from forebay.objects.mounts import Mount
from forebay.objects.read import OpenObject, Reads
from forebay.objects.shared import Shared, check_stored, log, now_ms
from forebay.objects.write import UNCONDITIONAL, Writes
from forebay.stores.metadata import Snapshot, Transaction
from forebay.types import Attributes, ObjectInfo, PersistState

LEASE = 30_000
"""After so long (ms) somebody looks whether the process that took a job still lives."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 3600.0
"""Seconds before the first retry, doubled for each, with jitter, up to the longest."""
PERMANENT = (PermissionDenied, InvalidKey, NotSupported)
"""What only an operator can mend: such a job is parked, and tried again every hour."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be persisted: objects, bytes, age (s) of the oldest, and parked ones."""

    objects: int
    size: int
    oldest: float
    parked: int


class _Superseded(Exception):
    """The object is no longer the newest of its key; nothing is left to do."""


class Persist:
    """The queue of persist jobs and the work on one of them."""

    def __init__(self, shared: Shared, reads: Reads, writes: Writes) -> None:
        self._shared = shared
        self._reads = reads
        self._writes = writes
        self._at_work: set[tuple[int, str]] = set()
        self.comeback: Comeback | None = None
        """Told of stores that do not answer, while there are workers."""

    def run_one(self) -> bool:
        """Take the job that is due first and do it; tell whether there was one."""
        claimed = self._claim()
        if claimed is None:
            return False
        bucket, key, job = claimed
        self._at_work.add((bucket.id, key))
        try:
            self._upload(bucket, key, job)
            if self.comeback is not None:
                self.comeback.served(self._path(bucket, key))
        except (_Superseded, NoSuchBucket):
            self._forget(bucket, key, job)
        except Exception as failure:
            if not isinstance(failure, ForebayError):
                log.exception("persisting %s/%r failed", bucket.name, key)
            self._retry(bucket, key, job, failure)
            if self.comeback is not None and is_down(failure):
                self.comeback.missed(self._path(bucket, key))
        finally:
            self._at_work.discard((bucket.id, key))
        return True

    def backlog(self) -> Backlog:
        """Tell what waits; takes time in proportion to it."""

        def read(snapshot: Snapshot) -> Backlog:
            jobs = [job for _, job in catalog.rows(snapshot, b"j", Job)]
            oldest = min((job.queued for job in jobs), default=now_ms())
            return Backlog(
                len(jobs),
                sum(job.size for job in jobs),
                (now_ms() - oldest) / 1000,
                sum(job.parked for job in jobs),
            )

        return self._shared.catalog.read(read)

    def drain(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until nothing waits; tell whether that came true."""
        end = time.monotonic() + timeout
        self._shared.jobs_wait.set()
        while self.backlog().objects:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def next_due(self) -> float | None:
        """Give the seconds until the next job is due, or None when there is none."""

        def read(snapshot: Snapshot) -> int | None:
            for row, _ in snapshot.scan(keys.QUEUE, keys.end(keys.QUEUE)):
                return int.from_bytes(row[1:9], "big")
            return None

        due = self._shared.catalog.read(read)
        return None if due is None else max(0.0, (due - now_ms()) / 1000)

    def _path(self, bucket: Bucket, key: str) -> str:
        return self._shared.mounts.find(bucket.name, key).config.path

    # --- one job ---------------------------------------------------------------------

    def _claim(self) -> tuple[Bucket, str, Job] | None:
        shared = self._shared
        now = now_ms()

        def claim(tx: Transaction) -> tuple[Bucket, str, Job] | None:
            due = list(tx.scan(keys.QUEUE, keys.QUEUE + keys.number(now + 1)))
            for row, _ in due:
                bucket_id, key = keys.location(row, 9)
                job = catalog.get(tx, keys.job_row(bucket_id, key), Job)
                tx.delete(row)
                if job is None or job.due != int.from_bytes(row[1:9], "big"):
                    continue
                # A job of this process that no thread is at: its end could not be written down.
                held = (
                    (bucket_id, key) in self._at_work
                    if job.owner == shared.owner.number
                    else job.owner and shared.owner.alive(job.owner)
                )
                owner = job.owner if held else shared.owner.number
                taken = msgspec.structs.replace(job, owner=owner, due=now + LEASE)
                catalog.put_job(tx, bucket_id, key, taken)
                if job.owner and not held:
                    tx.delete(keys.lease_row(job.owner, bucket_id, key))
                tx.put(keys.lease_row(owner, bucket_id, key), b"")
                bucket = catalog.get_bucket(tx, job.bucket)
                if held:
                    continue
                if bucket is None or bucket.id != bucket_id:
                    bucket = Bucket(bucket_id, job.bucket, 0)
                return bucket, key, taken
            return None

        return shared.catalog.write(claim, durable=False)

    def _upload(self, bucket: Bucket, key: str, job: Job) -> None:
        shared = self._shared
        record = shared.catalog.read(lambda s: _current(s, bucket, key, job))
        mount = shared.mounts.find(bucket.name, key)
        if record.generation != mount.generation:
            raise PermissionDenied(
                f"{mount.config.path} was another under store when it was written"
            )
        under_key = mount.under_key(bucket.name, key)
        suspect = _changed_outside(mount, under_key, record)
        taken: list[Intent] = []
        conflicts: list[bool] = []

        def passed() -> None:
            def ready(tx: Transaction, seq: int, current: Record | None) -> Record:
                return _current(tx, bucket, key, job)

            taken.append(
                intents.take(
                    shared, bucket, key, mount=mount, conditions=UNCONDITIONAL, prepare=ready
                )
            )
            if suspect and (now := taken[0].record) is not None:
                # It may have been a version of ours, on its way then and written down by now.
                conflicts.append(_changed_outside(mount, under_key, now))

        attributes = Attributes(record.headers, record.metadata, record.tags)
        try:
            with closing(self._open(bucket, key, record)) as body:
                info = mount.store.put(
                    under_key,
                    intents.Gate(body, passed),
                    size=record.size,
                    attributes=attributes,
                )
            check_stored(info, record.size)
            self._commit(bucket, key, job, taken[0], info, mount)
        except BaseException:
            if taken:
                self._writes.settle_later(bucket, key, taken[0])
            raise
        shared.trash_waits.set()
        shared.track(ObjectPersisted(bucket.name, key, record.size))
        if any(conflicts):
            shared.track(SyncConflict(bucket.name, key))

    def _open(self, bucket: Bucket, key: str, record: Record) -> OpenObject:
        try:
            return self._reads.open_record(bucket, key, record)
        except NotFound as gone:
            raise _Superseded from gone

    def _commit(
        self,
        bucket: Bucket,
        key: str,
        job: Job,
        intent: Intent,
        info: ObjectInfo,
        mount: Mount,
    ) -> None:
        """Make the object PERSISTED, if it is still the newest, and drop the intent."""
        local, generation = mount.local_files, mount.generation

        def commit(tx: Transaction) -> None:
            intents.drop(tx, bucket.id, key, intent)
            whiteout = catalog.get_whiteout(tx, bucket.name, key)
            if whiteout is not None and whiteout.seq > job.seq:
                hidden = msgspec.structs.replace(whiteout, fingerprint=info.fingerprint)
                tx.put(keys.whiteout_row(bucket.name, key), encode(hidden))
            current = catalog.get_record(tx, bucket.id, key)
            if current is None:
                return
            if current.object_id != job.object_id:
                # Written since: what it will replace in the store is what was put there now.
                if current.fingerprint is None and current.generation == generation:
                    later = msgspec.structs.replace(current, replaced=info.fingerprint)
                    tx.put(keys.object_row(bucket.id, key), encode(later))
                return
            catalog.forget_unpersisted(tx, bucket.id, key, current)
            done = msgspec.structs.replace(
                current,
                state=PersistState.PERSISTED,
                fingerprint=info.fingerprint,
                replaced=None,
                synced=now_ms(),
                inline=False,
                local=local,
            )
            if current.inline:
                tx.delete(keys.inline_row(current.object_id))
            if local:
                done = self._free(tx, done)
            catalog.note_place(tx, bucket.id, key, done)
            tx.put(keys.object_row(bucket.id, key), encode(done))
            catalog.note_change(tx, bucket.id)

        self._shared.catalog.write(commit, durable=self._shared.sync_writes)

    @staticmethod
    def _free(tx: Transaction, record: Record) -> Record:
        """Let go of the segments of an object that is read from the under store's file now."""
        refs = catalog.segments(tx, record)
        bare = [msgspec.structs.replace(ref, segment="") for ref in refs]
        held = [(ref.segment, ref.length) for ref in refs if ref.segment]
        if held:
            catalog.discard(tx, catalog.next_seq(tx), Trash(record.object_id, held))
        if record.parts:
            catalog.put_segments(tx, record.object_id, bare)
            return record
        no_segments: list[SegmentRef] = []
        return msgspec.structs.replace(record, segments=no_segments)

    def _forget(self, bucket: Bucket, key: str, job: Job) -> None:
        """Drop a job whose object is no longer the newest."""

        def forget(tx: Transaction) -> None:
            tx.delete(keys.lease_row(self._shared.owner.number, bucket.id, key))
            current = catalog.get(tx, keys.job_row(bucket.id, key), Job)
            if current is not None and current.object_id == job.object_id:
                tx.delete(keys.job_row(bucket.id, key))
                tx.delete(keys.queue_row(current.due, bucket.id, key))

        self._shared.catalog.write(forget, durable=False)

    def _retry(self, bucket: Bucket, key: str, job: Job, failure: Exception) -> None:
        attempts = job.attempts + 1
        parked = isinstance(failure, PERMANENT)
        pause = LONGEST_PAUSE if parked else min(FIRST_PAUSE * 2**job.attempts, LONGEST_PAUSE)
        due = now_ms() + int(pause * random.uniform(0.75, 1.0) * 1000)
        reason = f"{type(failure).__name__}: {failure}"

        def again(tx: Transaction) -> None:
            tx.delete(keys.lease_row(self._shared.owner.number, bucket.id, key))
            current = catalog.get(tx, keys.job_row(bucket.id, key), Job)
            if current is None or current.object_id != job.object_id:
                return
            tx.delete(keys.queue_row(current.due, bucket.id, key))
            waiting = msgspec.structs.replace(
                current, owner=0, due=due, attempts=attempts, parked=parked, reason=reason[:500]
            )
            catalog.put_job(tx, bucket.id, key, waiting)

        self._shared.catalog.write(again, durable=False)
        log.warning("persisting %s/%r failed (attempt %d): %s", bucket.name, key, attempts, reason)
        self._shared.track(PersistFailed(bucket.name, key, attempts, reason, parked))


class PersistWorkers:
    """The threads of one process that work on the queue."""

    def __init__(self, shared: Shared, persist: Persist) -> None:
        self._shared = shared
        self._persist = persist
        self._stopping = threading.Event()
        self._comeback = Comeback(shared)
        count = max(1, shared.config.persist.workers)
        self._threads = [
            threading.Thread(target=self._run, name=f"persist-{n}", daemon=True)
            for n in range(count)
        ]

    def start(self) -> None:
        """Start the threads."""
        self._persist.comeback = self._comeback
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads, each after the job it is at."""
        self._stopping.set()
        self._persist.comeback = None
        self._comeback.stop()
        self._shared.jobs_wait.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._shared.jobs_wait.clear()
            try:
                while not self._stopping.is_set() and self._persist.run_one():
                    pass
                due = self._persist.next_due()
            except StorageError as failure:
                log.warning("the persist queue cannot be read: %s", failure)
                due = None
            self._shared.jobs_wait.wait(1.0 if due is None else min(max(due, 0.01), 1.0))


def requeue(shared: Shared, owner: int) -> None:
    """Make the jobs that a dead process had taken due at once."""
    now = now_ms()

    def change(tx: Transaction) -> None:
        prefix = keys.LEASES + keys.number(owner)
        for row, _ in list(tx.scan(prefix, keys.end(prefix))):
            bucket_id, key = keys.location(row, 9)
            tx.delete(row)
            job = catalog.get(tx, keys.job_row(bucket_id, key), Job)
            if job is not None and job.owner == owner:
                tx.delete(keys.queue_row(job.due, bucket_id, key))
                catalog.put_job(tx, bucket_id, key, msgspec.structs.replace(job, owner=0, due=now))

    shared.catalog.write(change)


def _changed_outside(mount: Mount, under_key: str, record: Record) -> bool:
    """Tell whether the store shows something else than what an unpersisted object replaced.

    Its own bytes are no change: an attempt before may have published them and died.
    """
    if record.replaced is None:
        return False
    try:
        info = mount.store.head(under_key)
    except NotFound:
        return True
    if info.fingerprint == record.replaced:
        return False
    return not intents.holds_bytes(mount, under_key, info, record)


def _current(snapshot: Snapshot, bucket: Bucket, key: str, job: Job) -> Record:
    record = catalog.get_record(snapshot, bucket.id, key)
    unpersisted = record is not None and record.state is PersistState.TO_BE_PERSISTED
    if record is None or record.object_id != job.object_id or not unpersisted:
        raise _Superseded
    return record
