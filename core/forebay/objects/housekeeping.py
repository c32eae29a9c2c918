"""What is done behind the requests, by one process of a node: trash, orphans, old uploads.

With several workers that is a process of its own. A worker then only settles its own intents
that came late, and passes on that there is trash.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Completed, MountRow, Record, Trash, decode, encode
from forebay.errors import ForebayError
from forebay.objects import intents
from forebay.objects.mounts import Mounts
from forebay.objects.owners import owner_of
from forebay.objects.residency import place_of
from forebay.objects.shared import Shared, log, now_ms
from forebay.objects.uploads import REMEMBERED, Uploads
from forebay.stores.metadata import Snapshot, Transaction
from forebay.types import PageId, PersistState

CHUNK = 500
"""Rows that one transaction of the clean-up touches at most."""
UPLOADS_EVERY = 60.0
"""Seconds between two looks for abandoned uploads."""
ORPHANS_EVERY = 3600.0
"""Seconds between two looks for pages that belong to nothing."""


def evictable(shared: Shared, page: PageId) -> bool:
    """Tell whether the cache may drop a page: a copy of what an under store holds too.

    Page fills always are. A whole segment is unless an object that is not persisted, or an
    upload under way, uses it.
    """
    if page.page_size:
        return True

    def read(snapshot: Snapshot) -> bool:
        prefix = keys.use_row(page.segment, "")
        for row, place in snapshot.scan(prefix, keys.end(prefix)):
            holder = row[len(prefix) :].decode()
            place = place or snapshot.get(keys.place_row(holder)) or b""
            if not place or not _persisted(snapshot, holder, place):
                return False
        # Without any use it is garbage, or about to be committed: its owner decides which.
        return not shared.owner.alive(owner_of(page.segment)) or _used(prefix, snapshot)

    return shared.catalog.read(read)


def _used(prefix: bytes, snapshot: Snapshot) -> bool:
    return next(iter(snapshot.scan(prefix, keys.end(prefix))), None) is not None


def _persisted(snapshot: Snapshot, holder: str, place: bytes) -> bool:
    """Tell whether the object that uses a segment is persisted (or gone)."""
    value = snapshot.get(place)
    if value is None:
        return True
    record = decode(Record, value)
    return record.object_id != holder or record.state is PersistState.PERSISTED


class Turn:
    """The right to keep house: one process of a node has it, until it dies or gives it up."""

    def __init__(self, state: str) -> None:
        """Prepare to wait for it, in the directory `state`."""
        self._path = Path(state, "housekeeping.lock")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._fd = -1

    def wait(self, *begin: Callable[[], None]) -> None:
        """Call each of `begin` when the turn has come, on a thread."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._thread = threading.Thread(target=self._run, args=begin, name="turn", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait no longer; what has begun goes on."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Give the turn up; harmless when called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _run(self, *begin: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._stopping.wait(0.1)
                continue
            for each in begin:
                each()
            return


class Housekeeping:
    """The clean-up thread of one process."""

    def __init__(
        self, shared: Shared, uploads: Uploads, pass_on: Callable[[], None] | None = None
    ) -> None:
        """Prepare to clean up; with `pass_on` another process does, and is told by it of trash."""
        self._shared = shared
        self._uploads = uploads
        self._pass_on = pass_on
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is at."""
        self._stopping.set()
        self._shared.trash_waits.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        now = time.monotonic()
        uploads_at, orphans_at = now, now
        self._shared.void_waits.set()
        while not self._stopping.is_set():
            waits = self._shared.trash_waits.wait(1.0)
            self._shared.trash_waits.clear()
            if self._shared.unsettled:
                self._try(self.settle_late)
            if self._pass_on is not None:
                if waits:
                    self._pass_on()
                    self._stopping.wait(0.05)
                continue
            self._try(self._empty_all)
            if self._shared.void_waits.is_set():
                self._shared.void_waits.clear()
                self._try(self._sweep_void_or_later)
            now = time.monotonic()
            if now >= uploads_at:
                uploads_at = now + UPLOADS_EVERY
                self._try(self.end_uploads)
            if now >= orphans_at:
                orphans_at = now + ORPHANS_EVERY
                self._try(self.sweep_orphans)

    def _try(self, work: Callable[[], object]) -> None:
        """Do a part of the clean-up; what fails is done in a later round."""
        try:
            work()
        except ForebayError as failure:
            log.warning("the clean-up goes on later: %s", failure)
            self._stopping.wait(1.0)
        except Exception:
            log.exception("the clean-up failed")
            self._stopping.wait(5.0)

    def _empty_all(self) -> None:
        while not self._stopping.is_set() and self.empty_trash():
            pass

    def end_uploads(self) -> None:
        """Abort abandoned uploads and forget old completions."""
        properties = self._shared.config.properties
        for attempt in range(properties.cleaner_retry_count + 1):
            try:
                self._uploads.expire(properties.multipart_upload_timeout)
                break
            except ForebayError as failure:
                log.warning("aborting old uploads failed (attempt %d): %s", attempt + 1, failure)
                if self._stopping.wait(properties.cleaner_retry_delay):
                    return
        before = now_ms() - REMEMBERED

        def forget(tx: Transaction) -> None:
            old = (
                row for row, c in catalog.rows(tx, keys.COMPLETED, Completed) if c.finished < before
            )
            for row in list(itertools.islice(old, CHUNK)):
                tx.delete(row)

        self._shared.catalog.write(forget, durable=False)

    def settle_late(self) -> None:
        """Settle the intents of writes that failed while their under store was silent."""
        for waiting in list(self._shared.unsettled):
            bucket, key, intent = waiting
            try:
                intents.settle(self._shared, bucket, key, intent)
            except ForebayError as failure:
                log.debug("%s/%r is still held: %s", bucket.name, key, failure)
                continue
            intents.forget(self._shared, bucket, key, intent)

    # --- the trash -------------------------------------------------------------------

    def empty_trash(self) -> bool:
        """Take one run of the trash away; tell whether there may be more.

        Rows go in this order: the notes of use, the pages, the trash row itself. Dying in
        between, or two processes at once, only does some of it again.
        """
        shared = self._shared
        found = shared.catalog.read(self._next_trash)
        for row, trash in found:
            refs, rows = self._rows_of(trash)
            loose = shared.catalog.write(partial(_unuse, trash.object_id, refs), durable=False)
            for segment, length in loose:
                shared.cache.delete(segment, length)
            if trash.pages:
                shared.cache.delete(trash.object_id, trash.pages)
            for first in range(0, len(rows), CHUNK):
                some = rows[first : first + CHUNK]
                shared.catalog.write(partial(_delete, some), durable=False)
            shared.catalog.write(partial(_delete, [row]), durable=False)
        return bool(found)

    def _next_trash(self, snapshot: Snapshot) -> list[tuple[bytes, Trash]]:
        horizon = None
        for row, value in snapshot.scan(keys.READS, keys.end(keys.READS)):
            if self._shared.owner.alive(int.from_bytes(row[1:9], "big")):
                seq = int.from_bytes(value, "big")
                horizon = seq if horizon is None else min(horizon, seq)
        stop = keys.end(keys.TRASH) if horizon is None else keys.trash_row(horizon + 1)
        found = itertools.islice(snapshot.scan(keys.TRASH, stop), 50)
        return [(row, decode(Trash, value)) for row, value in found]

    def _rows_of(self, trash: Trash) -> tuple[list[tuple[str, int]], list[bytes]]:
        """Give all segments of a piece of trash, and the rows that go with it."""

        def read(snapshot: Snapshot) -> tuple[list[tuple[str, int]], list[bytes]]:
            refs = list(trash.segments)
            rows: list[bytes] = []
            if trash.runs:
                whole = Record(trash.object_id, 0, 0, "", 0, PersistState.PERSISTED, 0, parts=1)
                refs += [(r.segment, r.length) for r in catalog.segments(snapshot, whole)]
                prefix = keys.segments_row(trash.object_id, 0)[:-8]
                rows += [row for row, _ in snapshot.scan(prefix, keys.end(prefix))]
                rows.append(keys.place_row(trash.object_id))
            if trash.parts:
                prefix = keys.parts_prefix(trash.object_id)
                rows += [row for row, _ in snapshot.scan(prefix, keys.end(prefix))]
            return [ref for ref in refs if ref[0]], rows

        if trash.bucket_id:
            self._empty_bucket(trash.bucket_id)
        return self._shared.catalog.read(read)

    def _empty_bucket(self, bucket_id: int) -> None:
        """Remove what a deleted bucket leaves: records of vanished objects, and its uploads."""

        def records(tx: Transaction) -> int:
            prefix = keys.object_row(bucket_id, "")
            found = list(itertools.islice(catalog.rows(tx, prefix, Record), CHUNK))
            for row, record in found:
                catalog.retire(tx, bucket_id, keys.location(row).key, record, catalog.next_seq(tx))
                tx.delete(row)
            return len(found)

        while self._shared.catalog.write(records, durable=False):
            pass

        self._uploads.expire(self._shared.config.properties.multipart_upload_timeout)

    def _sweep_void_or_later(self) -> None:
        try:
            self.sweep_void()
        except BaseException:
            self._shared.void_waits.set()
            raise

    def sweep_void(self) -> int:
        """Remove the records of what was mounted in a place before; give their number.

        An object that is in no under store stays, unless its mount was taken away by force or
        the store that it was meant for forgets everything anyway. Ends early when the mounts
        change; that sets `void_waits` again.
        """
        shared, mounts = self._shared, self._shared.mounts
        rows = [keys.mount_row(mount.config.path) for mount in mounts]
        swept, after, more = 0, b"", not all(shared.catalog.read(partial(_all_swept, rows)))
        if not more:
            return 0
        while more and not self._stopping.is_set():
            count, after = shared.catalog.write(partial(_sweep_some, mounts, after), durable=False)
            swept, more = swept + count, bool(after)
        if not self._stopping.is_set():
            shared.catalog.write(partial(_note_swept, mounts, rows), durable=False)
        if swept:
            shared.trash_waits.set()
        return swept

    def sweep_orphans(self) -> int:
        """Remove what lies on the shelves and belongs to nothing; give the number of files.

        That is what a dead process staged, and pages that a fill put there when their object
        was gone already.
        """
        shared = self._shared
        swept = 0
        alive: dict[int, bool] = {}
        current: dict[str, bool] = {}
        for _, page, size in shared.cache.segments():
            if self._stopping.is_set():
                break
            if page.page_size:
                if page.segment not in current:
                    current[page.segment] = place_of(shared, page.segment) is not None
                if not current[page.segment] and shared.cache.drop(page, size):
                    swept += 1
                continue
            owner = owner_of(page.segment)
            if owner not in alive:
                alive[owner] = shared.owner.alive(owner)
            prefix = keys.use_row(page.segment, "")
            if not alive[owner] and not shared.catalog.read(partial(_used, prefix)):
                shared.cache.delete(page.segment, size)
                swept += 1
        return swept


def _sweep_some(mounts: Mounts, after: bytes, tx: Transaction) -> tuple[int, bytes]:
    """Sweep a run of records behind the row `after`; give the last row, none at the end."""
    if catalog.get_number(tx, keys.MOUNTS) != mounts.version:
        return 0, b""
    names = {bucket.id: bucket.name for _, bucket in catalog.rows(tx, keys.BUCKETS, Bucket)}
    start = after + b"\x00" if after else keys.OBJECTS
    some = list(itertools.islice(tx.scan(start, keys.end(keys.OBJECTS)), CHUNK))
    swept = 0
    for row, value in some:
        record = decode(Record, value)
        bucket_id, key = keys.location(row)
        mount = mounts.find(names.get(bucket_id, ""), key)
        if record.generation == mount.generation:
            continue
        if (
            record.state is PersistState.PERSISTED
            or not mount.store.capabilities.persistent
            or tx.get(keys.unmounted_row(record.generation)) is not None
        ):
            catalog.retire(tx, bucket_id, key, record, catalog.next_seq(tx))
            tx.delete(row)
            swept += 1
    return swept, some[-1][0] if len(some) == CHUNK else b""


def _note_swept(mounts: Mounts, rows: list[bytes], tx: Transaction) -> None:
    if catalog.get_number(tx, keys.MOUNTS) != mounts.version:
        return
    current = {mount.generation for mount in mounts}
    for row in rows:
        known = catalog.get(tx, row, MountRow)
        if known is not None and known.generation in current and not known.swept:
            tx.put(row, encode(msgspec.structs.replace(known, swept=True)))


def _all_swept(rows: list[bytes], snapshot: Snapshot) -> list[bool]:
    known = [catalog.get(snapshot, row, MountRow) for row in rows]
    return [row is not None and row.swept for row in known]


def _unuse(object_id: str, refs: list[tuple[str, int]], tx: Transaction) -> list[tuple[str, int]]:
    """Take back the notes of use by an object; give the segments that nobody uses any more."""
    loose = []
    for segment, length in refs:
        tx.delete(keys.use_row(segment, object_id))
        if not _used(keys.use_row(segment, ""), tx):
            loose.append((segment, length))
    return loose


def _delete(rows: list[bytes], tx: Transaction) -> None:
    for row in rows:
        tx.delete(row)
