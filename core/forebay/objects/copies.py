"""Copies of whole objects: made by the under store itself where it can, else by moving the bytes.

What the store copies is published behind the gate as every synchronous write is: the intent is
taken first, then the store is asked, then the record is committed. Whoever meets the intent of
a dead process finds the old object in the store, or all of the new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import msgspec

from forebay.catalog.records import Bucket, Intent, Record
from forebay.checksums import ALGORITHMS, full_object
from forebay.errors import (
    NoSuchKey,
    NotFound,
    PreconditionFailed,
    ServiceUnavailable,
    StorageError,
    Unavailable,
)
from forebay.objects import intents
from forebay.objects.mounts import Mount
from forebay.objects.read import Reads
from forebay.objects.shared import (
    Shared,
    check_stored,
    derived_etag,
    log,
    now_ms,
    store_is_down,
)
from forebay.objects.sync import TRIES, look
from forebay.objects.write import (
    FULL_OBJECT,
    PLANS,
    UNCONDITIONAL,
    Writes,
    Written,
    new_record,
)
from forebay.stores.under import SupportsCopy
from forebay.streams import BLOCK, Reader, ReaderBody
from forebay.types import Attributes, ObjectInfo, PersistState, WriteConditions, WriteType

AT_STORE = BLOCK
"""Bytes from which the store is asked; to move fewer takes as many requests and warms the cache."""


class CopyBody(ReaderBody):
    """What a copy reads, with the checksum of `algorithm` made on the way ("" for none)."""

    def __init__(self, reader: Reader, length: int, algorithm: str) -> None:
        super().__init__(reader, length)
        self._algorithm = algorithm
        self._checksum = ALGORITHMS[algorithm].new() if algorithm else None

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes and count them into the checksum."""
        block = super().read(size)
        if self._checksum is not None:
            self._checksum.update(block)
        return block

    @property
    def checksums(self) -> Mapping[str, str]:
        """The checksum, when one was asked for."""
        return {} if self._checksum is None else {self._algorithm: self._checksum.base64()}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a copy goes, and what it does not have from its source.

    `attributes` makes those of the copy from the record of the source. `algorithm` is that of
    the checksum the copy is to have, "" for the source's own.
    """

    bucket: Bucket
    key: str
    attributes: Callable[[Record], Attributes]
    owner: str | None
    algorithm: str = ""
    requested: WriteType | None = None
    conditions: WriteConditions = UNCONDITIONAL


class Copies:
    """Copies of whole objects."""

    def __init__(self, shared: Shared, reads: Reads, writes: Writes) -> None:
        self._shared = shared
        self._reads = reads
        self._writes = writes

    def copy(
        self, bucket: Bucket, key: str, select: Callable[[Record], None], target: Target
    ) -> Written:
        """Make the object `target` of the bytes of one version of another.

        `select` is asked once the record of the source is certain. Raises what it raises, and
        what `Reads.get` and `Writes.put` raise.
        """
        return self._by_store(bucket, key, select, target) or self._moved(
            bucket, key, select, target
        )

    def _moved(
        self, bucket: Bucket, key: str, select: Callable[[Record], None], target: Target
    ) -> Written:
        """Read the source and write what was read."""
        with self._reads.get(bucket, key, select) as opened:
            source = opened.record
            algorithm = target.algorithm or next(iter(source.checksums), "")
            return self._writes.put(
                target.bucket,
                target.key,
                CopyBody(opened, source.size, algorithm),
                attributes=target.attributes(source),
                owner=target.owner,
                requested=target.requested,
                conditions=target.conditions,
            )

    # --- by the store ----------------------------------------------------------------

    def _by_store(
        self, bucket: Bucket, key: str, select: Callable[[Record], None], target: Target
    ) -> Written | None:
        """Let the under store copy; None where the bytes have to be moved."""
        pause, changed = 0.0005, False
        for _ in range(TRIES):
            origin = self._shared.mounts.find(bucket.name, key)
            mount = self._shared.mounts.find(target.bucket.name, target.key)
            if origin.store is not mount.store or not hasattr(mount.store, "copy"):
                return None
            source = look(self._shared, bucket, key, force=changed)
            if source is None:
                raise NoSuchKey(Key=key)
            select(source)
            made = self._record(source, origin, target)
            if made is None:
                return None
            intent = self._take(mount, made, target)
            try:
                info = self._ask(mount, origin.under_key(bucket.name, key), source, intent, target)
            except BaseException as failure:
                self._writes.settle_later(target.bucket, target.key, intent)
                if isinstance(failure, Unavailable):
                    raise store_is_down(mount.config.path, failure) from failure
                if not isinstance(failure, StorageError):
                    raise
                if not isinstance(failure, NotFound | PreconditionFailed):
                    # Whatever it dislikes about copies, it may still take the bytes.
                    log.info("%s does not copy %r itself: %s", mount.config.path, key, failure)
                    return None
            else:
                return self._committed(mount, source, intent, info, target)
            # Another version than the one that was selected: begin again, as reads do.
            time.sleep(pause)
            pause, changed = pause * 2, True
        raise ServiceUnavailable("the object changes faster than it can be copied")

    def _record(self, source: Record, origin: Mount, target: Target) -> Record | None:
        """Make the record of a copy by the store; None where the bytes have to be moved."""
        if source.size < AT_STORE:
            return None
        mount, write_type = self._writes.plan(
            target.bucket, target.key, source.size, target.requested
        )
        if (
            mount.store is not origin.store
            or not PLANS[write_type].through
            or source.state is not PersistState.PERSISTED
            or source.fingerprint is None
            or source.generation != origin.generation
        ):
            return None
        checksums = self._checksums(source, target.algorithm)
        if checksums is None:
            return None
        return new_record(
            mount,
            write_type,
            target.attributes(source),
            target.owner,
            object_id=self._shared.owner.new_id(),
            size=source.size,
            etag=source.etag,
            checksums=checksums,
            checksum_type=FULL_OBJECT,
        )

    def _checksums(self, source: Record, algorithm: str) -> Mapping[str, str] | None:
        """Give the checksum that a copy has, of all its bytes; None where only they can tell."""
        name = algorithm or next(iter(source.checksums), "")
        if not name:
            return {}
        if source.checksum_type == FULL_OBJECT and name in source.checksums:
            return {name: source.checksums[name]}
        parts = self._reads.parts(source)
        values = [(part.checksums.get(name, ""), part.length) for part in parts]
        whole = sum(length for _, length in values) == source.size
        if not whole or not ALGORITHMS[name].combinable or not all(text for text, _ in values):
            return None
        return {name: full_object(name, values)}

    def _take(self, mount: Mount, made: Record, target: Target) -> Intent:
        bucket, key = target.bucket, target.key
        if target.conditions:
            current = look(self._shared, bucket, key, certain=True)
            intents.check_conditions(target.conditions, current)
        return intents.take(
            self._shared,
            bucket,
            key,
            mount=mount,
            conditions=target.conditions,
            prepare=lambda tx, seq, current: msgspec.structs.replace(made, seq=seq),
        )

    def _ask(
        self, mount: Mount, source_key: str, source: Record, intent: Intent, target: Target
    ) -> ObjectInfo:
        made = intent.record
        assert made is not None
        info = cast(SupportsCopy, mount.store).copy(
            source_key,
            mount.under_key(target.bucket.name, target.key),
            attributes=Attributes(made.headers, made.metadata, made.tags),
            if_match=source.fingerprint,
        )
        check_stored(info, source.size)
        return info

    def _committed(
        self, mount: Mount, source: Record, intent: Intent, info: ObjectInfo, target: Target
    ) -> Written:
        bucket, key = target.bucket, target.key
        assert intent.record is not None
        record = msgspec.structs.replace(
            intent.record,
            etag=etag_of_copy(source, info),
            fingerprint=info.fingerprint,
            synced=now_ms(),
            local=mount.local_files,
        )
        try:
            record = intents.commit_published(
                self._shared, bucket, key, intent, record, mount=mount
            )
        except BaseException:
            self._writes.settle_later(bucket, key, intent)
            raise
        write_type = WriteType(record.write_type)
        return self._writes.written(bucket, key, record, write_type, self._writes.durability(mount))


def etag_of_copy(source: Record, info: ObjectInfo) -> str:
    """Give the ETag of what the store made of `source`: its bytes', never a doubtful MD5.

    An ETag of parts stays what it is: the MD5 of the whole is not known. What looks like
    an MD5 is one where it was made here; where the store told it, which it does of encrypted
    objects too (SSE-KMS), only if the store gives the copy the same.
    """
    if "-" in source.etag or source.write_type or source.etag == info.etag:
        return source.etag
    if info.etag is not None and "-" in info.etag:
        return info.etag
    return derived_etag(info.fingerprint)
