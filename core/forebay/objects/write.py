"""Writing objects: the four write types are four rows of one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from forebay.cache.cache import SegmentWriter
from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Intent, Record, SegmentRef, encode
from forebay.errors import (
    EntityTooLarge,
    ForebayError,
    NoSpace,
    NoSuchKey,
    S3Condition,
    ServiceUnavailable,
    SlowDown,
    StorageError,
    Unavailable,
)
from forebay.events import ObjectWritten
from forebay.objects import intents
from forebay.objects.mounts import Mount
from forebay.objects.shared import (
    Shared,
    check_key,
    check_stored,
    log,
    now_ms,
    store_is_down,
)
from forebay.objects.sync import TRIES, look
from forebay.stores.metadata import Transaction
from forebay.streams import BLOCK, Body, Reader
from forebay.types import (
    Attributes,
    Durability,
    ObjectInfo,
    PersistState,
    WriteConditions,
    WriteType,
)
from forebay.units import round_size

UNCONDITIONAL = WriteConditions()
FULL_OBJECT = "FULL_OBJECT"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a write type means: whether the cache keeps the bytes, and when the store gets them."""

    through: bool
    """The under store has the object before the answer."""
    keep: bool
    """The cache keeps it: must where nothing else does, if there is room elsewhere."""
    state: PersistState


PLANS = {
    WriteType.MUST_CACHE: Plan(False, True, PersistState.NOT_PERSISTED),
    WriteType.CACHE_THROUGH: Plan(True, True, PersistState.PERSISTED),
    WriteType.ASYNC_THROUGH: Plan(False, True, PersistState.TO_BE_PERSISTED),
    WriteType.THROUGH: Plan(True, False, PersistState.PERSISTED),
}


@dataclass(frozen=True, slots=True)
class Written:
    """What a write made: the record, by which write type, and what it survives."""

    record: Record
    write_type: WriteType
    durability: Durability


@dataclass(frozen=True, slots=True)
class Staged:
    """Bytes that are safe but belong to no object yet: inline, or in a segment."""

    inline: bytes | None
    segment: str
    size: int
    durable: bool


def new_record(
    mount: Mount,
    write_type: WriteType,
    attributes: Attributes,
    owner: str | None,
    *,
    object_id: str,
    size: int,
    etag: str,
    checksums: Mapping[str, str],
    checksum_type: str,
) -> Record:
    """Make the record of an object that is written now; its seq comes with the commit."""
    return Record(
        object_id=object_id,
        seq=0,
        size=size,
        etag=etag,
        modified=now_ms(),
        state=PLANS[write_type].state,
        generation=mount.generation,
        owner=owner,
        headers=dict(attributes.headers),
        metadata=dict(attributes.metadata),
        tags=dict(attributes.tags),
        checksums=dict(checksums),
        checksum_type=checksum_type if checksums else "",
        write_type=write_type.value,
    )


class Tee:
    """A reader that also feeds the cache; a cache that fails is left out, the write goes on."""

    def __init__(self, body: Reader, segment: str, writer: SegmentWriter | None) -> None:
        self._body = body
        self.segment = segment
        self.writer = writer
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes."""
        block = self._body.read(size)
        self.size += len(block)
        if self.writer is not None and block:
            try:
                self.writer.write(block)
            except StorageError as failure:
                log.info("a write goes on without the cache: %s", failure)
                self.abort()
        return block

    def abort(self) -> None:
        """Forget what the cache was fed."""
        if self.writer is not None:
            self.writer.abort()
            self.writer = None


class Writes:
    """Writes of whole objects and of their tags."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def plan(
        self, bucket: Bucket, key: str, size: int | None, requested: WriteType | None
    ) -> tuple[Mount, WriteType]:
        """Choose mount and write type of a write. Raises AccessDenied, KeyTooLongError."""
        check_key(key)
        mount = self._shared.mounts.find(bucket.name, key)
        mount.check_writable()
        asked = requested if mount.config.allow_requested_types else None
        chosen = self._shared.hooks.write_type(
            mount=mount.config, key=key, size=size, requested=asked
        )
        return mount, chosen or mount.config.write_type

    def put(
        self,
        bucket: Bucket,
        key: str,
        body: Body,
        *,
        attributes: Attributes,
        owner: str | None,
        requested: WriteType | None = None,
        conditions: WriteConditions = UNCONDITIONAL,
        checksum_type: str = FULL_OBJECT,
    ) -> Written:
        """Store an object whole, or change nothing.

        Conditions are looked at before the body, to spare it, and decided in the commit.
        Raises BodyError (from the body), ConditionFailed, ConditionalRequestConflict,
        NoSuchKey (If-Match on nothing), SlowDown, ServiceUnavailable, AccessDenied.
        """
        mount, write_type = self.plan(bucket, key, body.length, requested)
        if conditions:
            intents.check_conditions(conditions, look(self._shared, bucket, key, certain=True))

        def make(object_id: str, size: int) -> Record:
            return new_record(
                mount, write_type, attributes, owner,
                object_id=object_id, size=size, etag=body.md5,
                checksums=body.checksums, checksum_type=checksum_type,
            )  # fmt: skip

        if PLANS[write_type].through:
            record = self.through(
                bucket, key, body, mount, attributes, conditions, make,
                keep=PLANS[write_type].keep,
            )  # fmt: skip
            durability = self.durability(mount)
        else:
            record, durability = self._cached(bucket, key, body, mount, conditions, make)
        return self.written(bucket, key, record, write_type, durability)

    def written(
        self,
        bucket: Bucket,
        key: str,
        record: Record,
        write_type: WriteType,
        durability: Durability,
    ) -> Written:
        """Set the work behind a commit going, and tell of it."""
        self._shared.trash_waits.set()
        if record.state is PersistState.TO_BE_PERSISTED:
            self._shared.jobs_wait.set()
        self._shared.track(
            ObjectWritten(bucket.name, key, record.size, record.etag, write_type.value)
        )
        return Written(record, write_type, durability)

    def durability(self, mount: Mount) -> Durability:
        """Say what a write through to this mount survives."""
        if not mount.store.capabilities.persistent:
            return Durability.MEMORY
        if mount.local_files and not self._shared.sync_writes:
            return Durability.PROCESS
        return Durability.UNDER_STORE

    # --- MUST_CACHE and ASYNC_THROUGH ------------------------------------------------

    def stage(self, body: Body, *, inline: bool) -> Staged:
        """Make a body safe on the local durable disk, verified to its end.

        Raises EntityTooLarge for more than there can be room for, and SlowDown without room;
        nothing is left behind by a failure.
        """
        limit = self._shared.config.cache.inline_size if inline else 0
        head = bytearray()
        ended = False
        while not ended and len(head) <= limit:
            block = body.read(BLOCK)
            head += block
            ended = not block
        catalog_durable = self._shared.catalog.durable
        if ended and inline and len(head) <= limit:
            return Staged(bytes(head), "", len(head), catalog_durable)
        segment = self._shared.owner.new_id()
        try:
            writer = self._shared.cache.writer(segment, body.length, durable=True)
        except NoSpace as full:
            raise self._no_room(body.length or 0) from full
        size = 0
        try:
            block = bytes(head)
            while block:
                writer.write(block)
                size += len(block)
                block = b"" if ended else body.read(BLOCK)
            writer.commit(sync=self._shared.sync_writes)
        except NoSpace as full:
            writer.abort()
            raise self._no_room(max(size + len(block), body.length or 0)) from full
        except BaseException:
            writer.abort()
            raise
        return Staged(None, segment, size, writer.durable and catalog_durable)

    def _no_room(self, size: int) -> S3Condition:
        """Say of `size` bytes that must stay whether they could ever."""
        most = self._shared.cache.largest
        if size > most:
            return EntityTooLarge(
                f"{round_size(size)} can never stay in the cache, which has {round_size(most)} for"
                " what must stay in it: objects that are in no under store yet, and parts of"
                " uploads under way"
            )
        return SlowDown(
            f"the cache ({round_size(most)}) has no room for what must stay in it: objects that"
            " are in no under store yet, and parts of uploads under way (not under THROUGH, over a"
            " store that takes parts)"
        )

    def unstage(self, staged: Staged) -> None:
        """Forget staged bytes that no object came to need."""
        if staged.segment:
            self._shared.cache.delete(staged.segment, staged.size)

    def safe(self, mount: Mount, staged_durable: bool, *, inline: bool = False) -> Durability:
        """Say what bytes that only the cache holds survive; `inline` ones are in the catalog."""
        if not inline and not self._shared.cache.outlives_process:
            return Durability.MEMORY
        # A store that forgets takes the records of its mount with it.
        remembered = mount.store.capabilities.persistent
        if not remembered or not self._shared.catalog.shared_between_processes:
            return Durability.MEMORY
        if staged_durable and self._shared.sync_writes:
            return Durability.DISK
        return Durability.PROCESS

    def _cached(
        self,
        bucket: Bucket,
        key: str,
        body: Body,
        mount: Mount,
        conditions: WriteConditions,
        make: Callable[[str, int], Record],
    ) -> tuple[Record, Durability]:
        staged = self.stage(body, inline=True)
        record = make(self._shared.owner.new_id(), staged.size)
        record = msgspec.structs.replace(
            record,
            inline=staged.inline is not None,
            segments=[SegmentRef(staged.segment, staged.size)] if staged.segment else [],
        )
        try:
            record = self.commit_cached(bucket, key, record, conditions, body=staged.inline)
        except BaseException:
            self.unstage(staged)
            raise
        return record, self.safe(mount, staged.durable, inline=staged.inline is not None)

    def commit_cached(
        self,
        bucket: Bucket,
        key: str,
        record: Record,
        conditions: WriteConditions,
        *,
        refs: list[SegmentRef] | None = None,
        body: bytes | None = None,
        also: Callable[[Transaction, int], None] | None = None,
    ) -> Record:
        """Commit an object that only the cache holds; its conditions are decided here.

        `also` runs in the same transaction, before, with the new seq.
        """
        shared = self._shared
        mount = shared.mounts.find(bucket.name, key)

        def commit(tx: Transaction) -> Record:
            catalog.check_bucket(tx, bucket)
            mount.check_mounted(tx, bucket.name, key, record)
            if conditions:
                intents.check_free(shared, tx, bucket.id, key, conditions)
                current = intents.live(catalog.get_record(tx, bucket.id, key), mount)
                intents.check_conditions(conditions, current)
            seq = catalog.next_seq(tx)
            if also is not None:
                also(tx, seq)
            return catalog.commit(
                tx, bucket, key, msgspec.structs.replace(record, seq=seq),
                refs=refs, body=body, now=now_ms(), max_dirty=shared.config.persist.max_dirty,
            )  # fmt: skip

        return shared.catalog.write(commit, durable=shared.sync_writes)

    # --- CACHE_THROUGH and THROUGH ---------------------------------------------------

    def through(
        self,
        bucket: Bucket,
        key: str,
        body: Body,
        mount: Mount,
        attributes: Attributes,
        conditions: WriteConditions,
        make: Callable[[str, int], Record],
        *,
        keep: bool,
        prepare: Callable[[Transaction], None] | None = None,
        finish: Callable[[Transaction, int], None] | None = None,
        refs: list[SegmentRef] | None = None,
    ) -> Record:
        """Publish a body in the under store through the gate, then commit its record.

        `prepare` runs in the transaction that takes the intent, `finish` in the one that
        commits (with the seq of the write). `refs` are the segments that hold the body
        already; otherwise with `keep` the cache is fed from the same pass.
        """
        shared = self._shared
        object_id = shared.owner.new_id()
        cached = self._clean_writer(object_id, body, mount) if keep and refs is None else None
        tee = Tee(body, object_id, cached)
        taken: list[Intent] = []

        def passed() -> None:
            def ready(tx: Transaction, seq: int, current: Record | None) -> Record:
                if prepare is not None:
                    prepare(tx)
                return msgspec.structs.replace(make(object_id, tee.size), seq=seq)

            taken.append(
                intents.take(shared, bucket, key, mount=mount, conditions=conditions, prepare=ready)
            )

        under_key = mount.under_key(bucket.name, key)
        try:
            info = mount.store.put(
                under_key,
                intents.Gate(tee, passed),
                size=body.length,
                attributes=attributes,
            )
            if not taken:
                raise StorageError(f"{mount.config.under} published without reading to the end")
            check_stored(info, tee.size)
        except BaseException as failure:
            tee.abort()
            if taken:
                self.settle_later(bucket, key, taken[0])
            if isinstance(failure, Unavailable):
                raise store_is_down(mount.config.path, failure) from failure
            raise
        return self._commit_through(bucket, key, mount, taken[0], info, tee, refs, finish)

    def _commit_through(
        self,
        bucket: Bucket,
        key: str,
        mount: Mount,
        intent: Intent,
        info: ObjectInfo,
        tee: Tee,
        refs: list[SegmentRef] | None,
        finish: Callable[[Transaction, int], None] | None,
    ) -> Record:
        assert intent.record is not None
        segment = self._finish_page(tee)
        record = msgspec.structs.replace(
            intent.record,
            fingerprint=info.fingerprint,
            synced=now_ms(),
            segments=segment,
            local=mount.local_files,
        )
        try:
            return intents.commit_published(
                self._shared, bucket, key, intent, record,
                mount=mount,
                refs=refs,
                also=None if finish is None else lambda tx: finish(tx, intent.seq),
            )  # fmt: skip
        except BaseException:
            self.settle_later(bucket, key, intent)
            for ref in segment:
                self._shared.cache.delete(ref.segment, ref.length)
            raise

    def _clean_writer(self, segment: str, body: Body, mount: Mount) -> SegmentWriter | None:
        """Open a place in the cache for a copy of what goes through, if there is room."""
        if mount.local_files or body.length == 0:
            return None
        try:
            return self._shared.cache.writer(segment, body.length, durable=False)
        except StorageError as failure:
            log.debug("not cached: %s", failure)
            return None

    def _finish_page(self, tee: Tee) -> list[SegmentRef]:
        writer = tee.writer
        if writer is None or not tee.size:
            tee.abort()
            return []
        try:
            writer.commit(sync=False)
        except StorageError as failure:
            log.info("a write goes on without the cache: %s", failure)
            tee.abort()
            return []
        return [SegmentRef(tee.segment, tee.size)]

    def settle_later(self, bucket: Bucket, key: str, intent: Intent) -> None:
        """Clear the intent of a write that failed; what cannot be cleared now is retried."""
        # First, so that nobody waits for us while the store makes us wait.
        intents.leave(self._shared, bucket, key, intent)
        try:
            intents.settle(self._shared, bucket, key, intent)
        except ForebayError as failure:
            log.warning("%s/%r stays held until its store answers: %s", bucket.name, key, failure)
            return
        intents.forget(self._shared, bucket, key, intent)

    # --- tags ------------------------------------------------------------------------

    def set_tags(self, bucket: Bucket, key: str, tags: dict[str, str]) -> Record:
        """Replace the tags of an object. Raises NoSuchKey, AccessDenied."""
        self._shared.mounts.find(bucket.name, key).check_writable()
        for _ in range(TRIES):
            seen = look(self._shared, bucket, key)
            if seen is None:
                raise NoSuchKey(Key=key)
            object_id = seen.object_id

            def change(tx: Transaction, object_id: str = object_id) -> Record | None:
                catalog.check_bucket(tx, bucket)
                current = catalog.get_record(tx, bucket.id, key)
                if current is None or current.object_id != object_id:
                    return None
                changed = msgspec.structs.replace(current, tags=tags)
                tx.put(keys.object_row(bucket.id, key), encode(changed))
                return changed

            changed = self._shared.catalog.write(change)
            if changed is not None:
                return changed
        raise ServiceUnavailable("the object changes faster than its tags can be set")
