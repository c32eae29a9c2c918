"""The transactions: typed reads of the catalog's rows, and the one way an object is committed.

Functions that take a snapshot or a transaction are pure, as the metadata store demands: they
may be run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from forebay.catalog import keys
from forebay.catalog.records import (
    FORMAT,
    Bucket,
    Intent,
    Job,
    Record,
    Row,
    SegmentRef,
    Trash,
    Whiteout,
    decode,
    encode,
)
from forebay.errors import CatalogTooNew, NoSuchBucket, SlowDown
from forebay.stores.metadata import MetadataStore, Snapshot, Transaction
from forebay.types import PersistState

T = TypeVar("T")
R = TypeVar("R", bound=Row)

SEGMENTS_IN_RECORD = 8
"""A longer list of segments is kept in rows of its own, so that HEAD and listings stay small."""
SEGMENTS_IN_RUN = 256


class Catalog:
    """The metadata store, with the format of its rows checked."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self.shared_between_processes = store.shared_between_processes
        self.durable = store.durable
        self.read = store.read
        self.write = store.write
        known = store.read(lambda snapshot: snapshot.get(keys.FORMAT))
        if known is None:
            store.write(lambda tx: tx.put(keys.FORMAT, str(FORMAT).encode()))
        elif int(known) > FORMAT:
            raise CatalogTooNew(
                f"the catalog has format {int(known)}, this Forebay knows formats up to {FORMAT};"
                " run the newer Forebay that wrote it"
            )

    def close(self) -> None:
        """Close the metadata store."""
        self._store.close()


# --- rows ---------------------------------------------------------------------------


def get(snapshot: Snapshot, row: bytes, kind: type[R]) -> R | None:
    """Give the record of a row, or None."""
    value = snapshot.get(row)
    return None if value is None else decode(kind, value)


def rows(snapshot: Snapshot, prefix: bytes, kind: type[R]) -> Iterator[tuple[bytes, R]]:
    """Give the rows that begin with `prefix` and their records, in order."""
    return rows_between(snapshot, prefix, keys.end(prefix), kind)


def rows_between(
    snapshot: Snapshot, start: bytes, stop: bytes, kind: type[R]
) -> Iterator[tuple[bytes, R]]:
    """Give the rows from `start` to `stop`, which is exclusive, and their records, in order."""
    for row, value in snapshot.scan(start, stop):
        yield row, decode(kind, value)


def get_number(snapshot: Snapshot, row: bytes) -> int:
    """Give the number in a row, 0 when there is none."""
    value = snapshot.get(row)
    return int.from_bytes(value, "big") if value else 0


def next_seq(tx: Transaction) -> int:
    """Take the next sequence number; it orders everything that ever happens."""
    seq = get_number(tx, keys.SEQ) + 1
    tx.put(keys.SEQ, keys.number(seq))
    return seq


def get_bucket(snapshot: Snapshot, name: str) -> Bucket | None:
    """Give a bucket by name."""
    return get(snapshot, keys.bucket_row(name), Bucket)


def check_bucket(snapshot: Snapshot, bucket: Bucket) -> None:
    """Raise NoSuchBucket unless this very bucket, not a namesake, is still there."""
    current = get_bucket(snapshot, bucket.name)
    if current is None or current.id != bucket.id:
        raise NoSuchBucket(bucket=bucket.name)


def get_record(snapshot: Snapshot, bucket_id: int, key: str) -> Record | None:
    """Give the record of a key."""
    return get(snapshot, keys.object_row(bucket_id, key), Record)


def get_intent(snapshot: Snapshot, bucket_id: int, key: str) -> Intent | None:
    """Give the intent that holds a key."""
    return get(snapshot, keys.intent_row(bucket_id, key), Intent)


def get_whiteout(snapshot: Snapshot, bucket: str, key: str) -> Whiteout | None:
    """Give the whiteout of a key."""
    return get(snapshot, keys.whiteout_row(bucket, key), Whiteout)


def segments(snapshot: Snapshot, record: Record) -> list[SegmentRef]:
    """Give all segments of an object in order."""
    if not record.parts:
        return list(record.segments)
    found: list[SegmentRef] = []
    prefix = keys.segments_row(record.object_id, 0)[:-8]
    for _, value in snapshot.scan(prefix, keys.end(prefix)):
        found += _runs.decode(value)
    return found


_runs = msgspec.msgpack.Decoder(list[SegmentRef])
_encode_run = msgspec.msgpack.Encoder().encode


def put_segments(tx: Transaction, object_id: str, refs: list[SegmentRef]) -> None:
    """Write the segments of an object made of parts as rows of its own."""
    offset = 0
    for first in range(0, len(refs), SEGMENTS_IN_RUN):
        run = refs[first : first + SEGMENTS_IN_RUN]
        tx.put(keys.segments_row(object_id, offset), _encode_run(run))
        offset += sum(ref.length for ref in run)


# --- committing ---------------------------------------------------------------------


def commit(
    tx: Transaction,
    bucket: Bucket,
    key: str,
    record: Record,
    *,
    refs: list[SegmentRef] | None = None,
    body: bytes | None = None,
    now: int = 0,
    max_dirty: int | None = None,
) -> Record:
    """Make `record` the object of a key; everything that makes it so is in this transaction.

    `refs` are the segments of an object made of parts (their uses are noted already), `body`
    the bytes of an inline one. An object that still has to be persisted gets its job, due at
    `now` (ms); over `max_dirty` unpersisted bytes raises SlowDown. Returns the record with the
    last-modified time moved past its predecessor's. Raises NoSuchBucket.
    """
    check_bucket(tx, bucket)
    old = get_record(tx, bucket.id, key)
    if old is not None:
        if old.modified >= record.modified:
            record = msgspec.structs.replace(record, modified=old.modified + 1)
        retire(tx, bucket.id, key, old, record.seq)
    if record.state is not PersistState.PERSISTED:
        hidden = get_whiteout(tx, bucket.name, key)
        record = msgspec.structs.replace(record, replaced=_replaced(record, old, hidden))
    tx.delete(keys.whiteout_row(bucket.name, key))
    if refs is not None:
        put_segments(tx, record.object_id, refs)
    note_place(tx, bucket.id, key, record)
    for ref in record.segments:
        if ref.segment:
            place = keys.object_row(bucket.id, key)
            tx.put(keys.use_row(ref.segment, record.object_id), place)
    if body is not None:
        tx.put(keys.inline_row(record.object_id), body)
    if record.state is not PersistState.PERSISTED:
        note_unpersisted(tx, bucket, key, record, now, max_dirty)
    tx.put(keys.object_row(bucket.id, key), encode(record))
    note_change(tx, bucket.id)
    return record


def note_change(tx: Transaction, bucket_id: int) -> None:
    """Note that what the under stores of a bucket list may be different from now on.

    Takes a seq of its own: that of the write is older than what was listed meanwhile.
    """
    tx.put(keys.changed_row(bucket_id), keys.number(next_seq(tx)))


def note_place(tx: Transaction, bucket_id: int, key: str, record: Record) -> None:
    """Note which key an object belongs to, where bytes of it may lie in the cache."""
    if record.parts or (record.size and not record.inline and not record.local):
        tx.put(keys.place_row(record.object_id), keys.object_row(bucket_id, key))


def _replaced(record: Record, old: Record | None, hidden: Whiteout | None) -> str | None:
    """Give the fingerprint that the under store is known to show under the key of a record."""
    if old is not None and old.generation == record.generation:
        return old.fingerprint if old.state is PersistState.PERSISTED else old.replaced
    if hidden is not None and hidden.generation == record.generation:
        return hidden.fingerprint
    return None


def note_unpersisted(
    tx: Transaction, bucket: Bucket, key: str, record: Record, now: int, max_dirty: int | None
) -> None:
    """Note that an object is in no under store, and its job; raises SlowDown as `commit`."""
    tx.put(keys.dirty_row(bucket.id, key), b"")
    if record.state is not PersistState.TO_BE_PERSISTED:
        return
    dirty = get_number(tx, keys.DIRTY) + record.size
    if max_dirty is not None and dirty > max_dirty:
        raise SlowDown("too much waits to be persisted")
    tx.put(keys.DIRTY, keys.number(dirty))
    job = Job(record.object_id, record.seq, bucket.name, now, now, record.size)
    put_job(tx, bucket.id, key, job)


def put_job(tx: Transaction, bucket_id: int, key: str, job: Job) -> None:
    """Write a persist job and its place in the queue."""
    tx.put(keys.job_row(bucket_id, key), encode(job))
    tx.put(keys.queue_row(job.due, bucket_id, key), b"")


def forget_unpersisted(tx: Transaction, bucket_id: int, key: str, record: Record) -> None:
    """Take back every note that an object is in no under store, its job included."""
    tx.delete(keys.dirty_row(bucket_id, key))
    job = get(tx, keys.job_row(bucket_id, key), Job)
    if job is None:
        return
    dirty = max(0, get_number(tx, keys.DIRTY) - record.size)
    tx.put(keys.DIRTY, keys.number(dirty))
    tx.delete(keys.job_row(bucket_id, key))
    tx.delete(keys.queue_row(job.due, bucket_id, key))
    if job.owner:
        tx.delete(keys.lease_row(job.owner, bucket_id, key))


def retire(tx: Transaction, bucket_id: int, key: str, old: Record, seq: int) -> None:
    """Put what an object held into the trash; its row is overwritten or deleted by the caller."""
    if old.state is not PersistState.PERSISTED:
        forget_unpersisted(tx, bucket_id, key, old)
    if old.inline:
        tx.delete(keys.inline_row(old.object_id))
    if not old.parts:
        # That of an object made of parts goes with its runs: its uses of segments are known by it.
        tx.delete(keys.place_row(old.object_id))
    if old.segments or old.parts or (old.size and not old.inline and not old.local):
        discard(
            tx,
            seq,
            Trash(
                old.object_id,
                [(ref.segment, ref.length) for ref in old.segments if ref.segment],
                pages=old.size,
                runs=bool(old.parts),
            ),
        )


def discard(tx: Transaction, seq: int, trash: Trash) -> None:
    """Put something into the trash, behind whatever the same transaction put there before."""
    row = keys.trash_row(seq)
    count = 0
    while tx.get(row + bytes([count])) is not None:
        count += 1
    tx.put(row + bytes([count]), encode(trash))


def remove(tx: Transaction, bucket: Bucket, key: str, old: Record, seq: int) -> None:
    """Take an object out of the namespace."""
    retire(tx, bucket.id, key, old, seq)
    tx.delete(keys.object_row(bucket.id, key))
    tx.put(keys.deleted_row(bucket.id), keys.number(seq))
    note_change(tx, bucket.id)
