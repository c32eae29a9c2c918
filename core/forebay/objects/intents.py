"""The gate of synchronous writes: one publisher a key, in one order with the commits.

A write to the under store takes an intent inside a transaction, after its body was verified
and before the store can see the body's end; only then does the store publish, and a second
transaction commits and drops the intent. So publishing and committing have one order, and the
loser of a condition never touches the store. If the process dies in between, the intent stays
and whoever meets it asks the under store what happened.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Intent, Record, SegmentRef, Trash, encode
from forebay.errors import (
    ConditionalRequestConflict,
    ConditionFailed,
    ForebayError,
    NoSuchKey,
    NotFound,
    ServiceUnavailable,
    SlowDown,
    StorageError,
    Unavailable,
)
from forebay.objects.mounts import Mount
from forebay.objects.shared import Shared, log, now_ms
from forebay.stores.metadata import Transaction
from forebay.streams import BLOCK, Reader
from forebay.types import ObjectInfo, PersistState, WriteConditions

PATIENCE = 30.0
"""Seconds an unconditional write waits for its turn at a key."""


class Gate:
    """A reader that gives its last block only after `passed` has run.

    The inner reader has verified the body by then, because it has said that it ended.
    """

    def __init__(self, body: Reader, passed: Callable[[], None]) -> None:
        self._body = body
        self._pass = passed
        self._held = b""
        self._begun = self.open = False

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, always one block behind the body."""
        if self.open or len(self._held) > size:
            block, self._held = self._held[:size], self._held[size:]
            return block
        if not self._begun:
            self._begun = True
            self._held = self._body.read(size)
        following = self._body.read(size) if self._held else b""
        if not following:
            self._pass()
            self.open = True
            return self.read(size)
        block, self._held = self._held, following
        return block


def check_conditions(conditions: WriteConditions, current: Record | None) -> None:
    """Decide a conditional write against the object that is there.

    Raises ConditionFailed, or NoSuchKey for If-Match on nothing (as S3).
    """
    if conditions.if_none_match is not None and current is not None:
        raise ConditionFailed(Condition="If-None-Match")
    if conditions.if_match is not None:
        if current is None:
            raise NoSuchKey
        if conditions.if_match not in ("*", current.etag):
            raise ConditionFailed(Condition="If-Match")


def check_free(
    shared: Shared, tx: Transaction, bucket_id: int, key: str, conditions: WriteConditions
) -> Intent | None:
    """Give the intent that stands in a write's way; a conditional write gets a conflict.

    What a live intent will leave behind is not decided yet, so no condition can be either.
    """
    intent = catalog.get_intent(tx, bucket_id, key)
    if intent is not None and conditions and shared.owner.alive(intent.owner):
        raise ConditionalRequestConflict
    return intent


def take(
    shared: Shared,
    bucket: Bucket,
    key: str,
    *,
    mount: Mount,
    conditions: WriteConditions,
    prepare: Callable[[Transaction, int, Record | None], Record | None],
) -> Intent:
    """Take the intent of a key, waiting for those before us.

    `prepare` is run inside the transaction with the new seq and the current record; it may
    check more and gives the record that is going to be committed (None for a delete). Raises
    ConditionFailed, ConditionalRequestConflict, NoSuchBucket, SlowDown, and ServiceUnavailable
    at once when a failed write stands before us whose under store does not answer.
    """
    # Where every look asks the store, its fingerprint tells after a power cut what happened.
    durable = mount.config.metadata_sync != 0.0

    def attempt(tx: Transaction) -> tuple[Intent, bool]:
        catalog.check_bucket(tx, bucket)
        other = check_free(shared, tx, bucket.id, key, conditions)
        if other is not None:
            return other, False
        current = live(catalog.get_record(tx, bucket.id, key), mount)
        check_conditions(conditions, current)
        seq = catalog.next_seq(tx)
        record = prepare(tx, seq, current)
        mount.check_mounted(tx, bucket.name, key, record)
        before = current.fingerprint if current else None
        mine = Intent(seq, shared.owner.number, bucket.name, record, before)
        tx.put(keys.intent_row(bucket.id, key), encode(mine))
        return mine, True

    end, pause = time.monotonic() + PATIENCE, 0.0005
    while True:
        intent, taken = shared.catalog.write(attempt, durable=durable)
        if taken:
            return intent
        if abandoned(shared, intent):
            settle_or_refuse(shared, bucket, key, intent)
        elif time.monotonic() > end:
            raise SlowDown("another write of the same key does not come to an end")
        else:
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def leave(shared: Shared, bucket: Bucket, key: str, intent: Intent) -> None:
    """Give up an intent of ours that could not be ended, for every process to see.

    Whoever meets it settles it, or else our housekeeping. Never raises: what the catalog
    cannot take is known to this process, and ends with it.
    """
    shared.unsettled.append((bucket, key, intent))

    def mark(tx: Transaction) -> None:
        current = catalog.get_intent(tx, bucket.id, key)
        if current is not None and current.seq == intent.seq:
            failed = msgspec.structs.replace(current, failed=True)
            tx.put(keys.intent_row(bucket.id, key), encode(failed))

    try:
        shared.catalog.write(mark, durable=False)
    except ForebayError as failure:
        log.warning("%s/%r is not marked as held: %s", bucket.name, key, failure)


def forget(shared: Shared, bucket: Bucket, key: str, intent: Intent) -> None:
    """Strike a settled intent off the list of what housekeeping asks for again."""
    # Housekeeping and whoever gave the intent up may both have settled it.
    with contextlib.suppress(ValueError):
        shared.unsettled.remove((bucket, key, intent))


def abandoned(shared: Shared, intent: Intent) -> bool:
    """Tell whether nobody works on an intent any more: its owner died or gave it up."""
    if intent.failed or not shared.owner.alive(intent.owner):
        return True
    return any(ours.seq == intent.seq for _, _, ours in list(shared.unsettled))


def clear(shared: Shared, bucket: Bucket, key: str) -> bool:
    """Settle what an abandoned write left of a key; tell whether there was any.

    Raises ServiceUnavailable while its under store does not answer.
    """
    intent = shared.catalog.read(lambda s: catalog.get_intent(s, bucket.id, key))
    if intent is None or not abandoned(shared, intent):
        return False
    settle_or_refuse(shared, bucket, key, intent)
    return True


def settle_or_refuse(shared: Shared, bucket: Bucket, key: str, intent: Intent) -> None:
    """Settle an abandoned intent; raises ServiceUnavailable, naming the mount that is down."""
    try:
        settle(shared, bucket, key, intent)
    except Unavailable as failure:
        path = shared.mounts.find(bucket.name, key).config.path
        raise ServiceUnavailable(f"the under store of {path} is down") from failure


def live(record: Record | None, mount: Mount) -> Record | None:
    """Give the record unless it belongs to what was mounted here before."""
    return record if record is not None and record.generation == mount.generation else None


def drop(tx: Transaction, bucket_id: int, key: str, intent: Intent) -> bool:
    """Remove our intent; tell whether it was still ours."""
    current = catalog.get_intent(tx, bucket_id, key)
    if current is None or current.seq != intent.seq:
        return False
    tx.delete(keys.intent_row(bucket_id, key))
    return True


def commit_published(
    shared: Shared,
    bucket: Bucket,
    key: str,
    intent: Intent,
    record: Record,
    *,
    mount: Mount,
    refs: list[SegmentRef] | None = None,
    body: bytes | None = None,
    also: Callable[[Transaction], None] | None = None,
) -> Record:
    """Make what `mount` has published the object of its key, and drop the intent.

    A write or delete that was committed meanwhile without touching the store came later in
    the order of seq: it stays, and this object counts as overwritten at once; so it does when
    another mount holds the key by now.
    """

    def commit(tx: Transaction) -> Record:
        if not drop(tx, bucket.id, key, intent):
            raise StorageError("the intent of a live write was settled by somebody else")
        if also is not None:
            also(tx)
        current = catalog.get_record(tx, bucket.id, key)
        whiteout = catalog.get_whiteout(tx, bucket.name, key)
        if whiteout is not None and whiteout.seq > intent.seq:
            hidden = msgspec.structs.replace(whiteout, fingerprint=record.fingerprint)
            tx.put(keys.whiteout_row(bucket.name, key), encode(hidden))
            return _overwritten(tx, record, refs)
        if current is not None and current.seq > intent.seq:
            return _overwritten(tx, record, refs)
        if not mount.holds(tx, bucket.name, key):
            return _overwritten(tx, record, refs)
        return catalog.commit(tx, bucket, key, record, refs=refs, body=body)

    return shared.catalog.write(commit)


def _overwritten(tx: Transaction, record: Record, refs: list[SegmentRef] | None) -> Record:
    """Let go of what the cache holds of an object that somebody else replaced already."""
    held = [(ref.segment, ref.length) for ref in refs or record.segments if ref.segment]
    if held:
        catalog.discard(tx, catalog.next_seq(tx), Trash(record.object_id, held))
    return record


def settle(shared: Shared, bucket: Bucket, key: str, intent: Intent) -> None:
    """Clear the intent of a dead owner, or of a write that failed midway.

    Asks the under store: if it holds the very bytes that were to be committed, they are;
    otherwise the record stays as it was, and the next look at the key compares fingerprints.
    Raises StorageError while the store cannot be asked; the intent then stays.
    """
    mount = shared.mounts.find(bucket.name, key)
    under_key = mount.under_key(bucket.name, key)
    try:
        info: ObjectInfo | None = mount.store.head(under_key)
    except NotFound:
        info = None
    published = _published(mount, under_key, info, intent)

    def end(tx: Transaction) -> bool:
        mount.check_mounted(tx, bucket.name, key)
        if not drop(tx, bucket.id, key, intent):
            return False
        whiteout = catalog.get_whiteout(tx, bucket.name, key)
        if whiteout is not None and whiteout.seq > intent.seq:
            # Deleted while the write was under way: what it left in the store is hidden too.
            if info is not None:
                hidden = msgspec.structs.replace(whiteout, fingerprint=info.fingerprint)
                tx.put(keys.whiteout_row(bucket.name, key), encode(hidden))
            return False
        current = catalog.get_record(tx, bucket.id, key)
        if published is None or (current is not None and current.seq > intent.seq):
            return False
        catalog.commit(tx, bucket, key, published)
        return True

    if shared.catalog.write(end):
        log.info("recovered a write of %s/%r that was published", bucket.name, key)


def _published(
    mount: Mount, under_key: str, info: ObjectInfo | None, intent: Intent
) -> Record | None:
    """Give the record of a synchronous write, if the store holds the very bytes of it."""
    record = intent.record
    if (
        info is None
        or record is None
        or record.state is not PersistState.PERSISTED
        or record.generation != mount.generation
        or info.fingerprint == intent.before
        or not holds_bytes(mount, under_key, info, record)
    ):
        return None
    return msgspec.structs.replace(
        record,
        fingerprint=info.fingerprint,
        segments=[],
        parts=0,
        inline=False,
        synced=now_ms(),
        local=mount.local_files,
    )


def holds_bytes(mount: Mount, under_key: str, info: ObjectInfo, record: Record) -> bool:
    """Tell whether what the store holds are the bytes of a record, by size and MD5."""
    if info.size != record.size:
        return False
    if "-" in record.etag:
        return info.etag == record.etag
    md5 = hashlib.md5(usedforsecurity=False)
    with mount.store.open(under_key, if_match=info.fingerprint) as reader:
        while block := reader.read(BLOCK):
            md5.update(block)
    return md5.hexdigest() == record.etag
