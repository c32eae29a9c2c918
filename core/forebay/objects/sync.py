"""Metadata sync: what the namespace shows when the under store was changed behind our back.

While the fingerprint of a record equals the under store's, the record is the truth; when it
differs, the store is, and the record is derived anew. Where only the store's time for it is
another, the bytes are the same and what is said of them may not be: that is taken over. A key
with a live intent, or whose object is not persisted yet, is never touched.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Intent, Record, Whiteout, encode
from forebay.errors import NotFound, ServiceUnavailable, StorageError, Unavailable
from forebay.objects.intents import live, settle
from forebay.objects.mounts import Mount
from forebay.objects.shared import Shared, derived_etag, log, now_ms
from forebay.stores.metadata import Snapshot, Transaction
from forebay.types import ObjectInfo, PersistState

SKEW = 60_000
"""By how much (ms) the store's time of what we wrote may be later than ours."""
TRIES = 16
"""How often a look is taken again because the key changed meanwhile."""


class Known(msgspec.Struct, frozen=True):
    """All that one snapshot says of a key."""

    record: Record | None
    whiteout: Whiteout | None
    intent: Intent | None


def known(snapshot: Snapshot, bucket: Bucket, key: str, mount: Mount) -> Known:
    """Read everything that bears on a key."""
    catalog.check_bucket(snapshot, bucket)
    whiteout = catalog.get_whiteout(snapshot, bucket.name, key)
    if whiteout is not None and whiteout.generation != mount.generation:
        whiteout = None
    return Known(
        live(catalog.get_record(snapshot, bucket.id, key), mount),
        whiteout,
        catalog.get_intent(snapshot, bucket.id, key),
    )


def fresh(mount: Mount, record: Record) -> bool:
    """Tell whether a record may be believed without asking the under store."""
    if record.state is not PersistState.PERSISTED:
        return True
    age = mount.config.metadata_sync
    # A clock that was set back must not keep a record fresh until it has caught up.
    return age is None or (age > 0 and 0 <= now_ms() - record.synced < age * 1000)


def look(
    shared: Shared, bucket: Bucket, key: str, *, force: bool = False, certain: bool = False
) -> Record | None:
    """Give the object that a key shows now, after asking the under store where that is due.

    With `force` the store is asked whatever the age; with `certain` at least an absence is not
    believed from memory. Raises NoSuchBucket, and ServiceUnavailable when the store must be
    asked and does not answer.
    """
    pause = 0.0005
    for _ in range(TRIES):
        mount = shared.mounts.find(bucket.name, key)
        seen = shared.catalog.read(partial(known, bucket=bucket, key=key, mount=mount))
        record = seen.record
        if record is not None:
            if record.state is not PersistState.PERSISTED:
                return record
            if not force and fresh(mount, record):
                return record
        if seen.intent is not None:
            if shared.owner.alive(seen.intent.owner):
                return record
            settle(shared, bucket, key, seen.intent)
            continue
        absences = shared.absences
        unknown = record is None and seen.whiteout is None
        if unknown and not (force or certain) and absences.believed(mount, bucket.id, key):
            return None
        asked = time.monotonic()
        info = _ask(mount, bucket, key, record)
        if isinstance(info, Record):
            return info
        answer, settled = _apply(shared, bucket, key, mount, seen, info)
        if settled:
            if info is None:
                absences.note(mount, bucket.id, key, asked)
            return answer
        time.sleep(pause)
        pause *= 2
    raise ServiceUnavailable("the object changes faster than it can be looked at")


def _ask(
    mount: Mount, bucket: Bucket, key: str, record: Record | None
) -> ObjectInfo | Record | None:
    """Ask the store; where it is down, give the record we have, unless `always` forbids it."""
    try:
        return mount.store.head(mount.under_key(bucket.name, key))
    except NotFound:
        return None
    except Unavailable as failure:
        if record is not None and mount.config.metadata_sync != 0.0:
            return record
        raise ServiceUnavailable(f"the under store of {mount.config.path} is down") from failure


def _apply(
    shared: Shared, bucket: Bucket, key: str, mount: Mount, seen: Known, info: ObjectInfo | None
) -> tuple[Record | None, bool]:
    """Bring the catalog to what the store said, unless the key changed since `seen`."""
    record = seen.record
    if info is not None and seen.whiteout and seen.whiteout.fingerprint == info.fingerprint:
        info = None
    if record is None and info is None:
        return None, True
    if record is not None and info is not None and record.fingerprint == info.fingerprint:
        # Of a file everything is in the fingerprint.
        told = record if record.local else _told(record, info)
        if mount.config.metadata_sync:
            told = msgspec.structs.replace(told, synced=now_ms())
        if told is not record:
            _write(shared, lambda tx: _refresh(tx, bucket, key, record, told))
        return told, True
    derived = derive(shared, mount, info) if info is not None else None
    return _write(shared, lambda tx: _replace(tx, bucket, key, mount, seen, derived)) or (
        derived,
        True,
    )


def _told(record: Record, info: ObjectInfo) -> Record:
    """Give a record with what the store says anew of the same bytes.

    A store that keeps less than it was given (tags, say) takes nothing away: its time is the
    one of our own write until somebody else writes.
    """
    dated = _milliseconds(info)
    if info.attributes is None or record.dated == dated:
        return record
    if not record.dated and dated <= record.modified + SKEW:
        return msgspec.structs.replace(record, dated=dated)
    return msgspec.structs.replace(
        record,
        dated=dated,
        modified=dated,
        headers=dict(info.attributes.headers),
        metadata=dict(info.attributes.metadata),
        tags=dict(info.attributes.tags),
    )


def _milliseconds(info: ObjectInfo) -> int:
    return int(info.last_modified.timestamp() * 1000)


def _write(
    shared: Shared, change: Callable[[Transaction], tuple[Record | None, bool]]
) -> tuple[Record | None, bool] | None:
    """Write what a sync found; a catalog that cannot be written loses nothing but the note."""
    try:
        return shared.catalog.write(change, durable=False)
    except StorageError as failure:
        log.warning("a sync result was dropped: %s", failure)
        return None


def _refresh(
    tx: Transaction, bucket: Bucket, key: str, seen: Record, told: Record
) -> tuple[Record | None, bool]:
    # Whatever changed since it was seen stays, tags too, which are set under the same seq.
    if catalog.get_record(tx, bucket.id, key) == seen:
        tx.put(keys.object_row(bucket.id, key), encode(told))
    return told, True


def _replace(
    tx: Transaction, bucket: Bucket, key: str, mount: Mount, seen: Known, derived: Record | None
) -> tuple[Record | None, bool]:
    if known(tx, bucket, key, mount) != seen or not mount.holds(tx, bucket.name, key):
        return None, False
    seq = catalog.next_seq(tx)
    if derived is None:
        assert seen.record is not None
        catalog.remove(tx, bucket, key, seen.record, seq)
        return None, True
    derived = msgspec.structs.replace(derived, seq=seq)
    stale = catalog.get_record(tx, bucket.id, key)
    if stale is not None:
        catalog.retire(tx, bucket.id, key, stale, seq)
    if seen.whiteout is not None:
        tx.delete(keys.whiteout_row(bucket.name, key))
    catalog.note_place(tx, bucket.id, key, derived)
    tx.put(keys.object_row(bucket.id, key), encode(derived))
    return derived, True


def derive(shared: Shared, mount: Mount, info: ObjectInfo) -> Record:
    """Make the record of an object that came into the under store without us."""
    attributes = info.attributes
    return Record(
        object_id=shared.owner.new_id(),
        seq=0,
        size=info.size,
        etag=info.etag or derived_etag(info.fingerprint),
        modified=_milliseconds(info),
        state=PersistState.PERSISTED,
        generation=mount.generation,
        headers=dict(attributes.headers) if attributes else {},
        metadata=dict(attributes.metadata) if attributes else {},
        tags=dict(attributes.tags) if attributes else {},
        fingerprint=info.fingerprint,
        synced=now_ms(),
        local=mount.local_files,
        since=now_ms(),
        dated=_milliseconds(info),
    )


def marker_digest() -> str:
    """Give the ETag of nothing, which folder markers have."""
    return hashlib.md5(b"", usedforsecurity=False).hexdigest()
