"""Multipart uploads: parts are staged on the local durable disk whatever the write type.

Completion copies no byte where the cache keeps the object: the parts' segments become the
object's, under the upload's id as object id, so that not even the notes of their use change.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import (
    Bucket,
    Completed,
    Part,
    Record,
    SegmentRef,
    Trash,
    Upload,
    decode,
    encode,
)
from forebay.checksums import composite, full_object
from forebay.errors import (
    BodyError,
    Corrupt,
    EntityTooSmall,
    InvalidPart,
    InvalidPartOrder,
    InvalidRequest,
    NoSuchUpload,
    ServiceUnavailable,
)
from forebay.events import UploadExpired
from forebay.objects import intents, under_way
from forebay.objects.read import Reads
from forebay.objects.shared import Shared, check_key, log, now_ms
from forebay.objects.sync import TRIES, look
from forebay.objects.under_way import UploadListing
from forebay.objects.write import FULL_OBJECT, PLANS, UNCONDITIONAL, Writes, Written
from forebay.stores.metadata import Snapshot, Transaction
from forebay.streams import Body, ReaderBody
from forebay.types import (
    Attributes,
    CommonPrefix,
    Durability,
    WriteConditions,
    WriteType,
)

SMALLEST_PART = 5 << 20
"""Bytes that every part but the last has at least (S3)."""
REMEMBERED = 24 * 3600 * 1000
"""For how long (ms) a repeated completion gets its first answer again."""


# Named here because `Uploads.list` hides the built-in one below.
Refs = list[SegmentRef]
Parts = list[Part]
Entries = list[Upload | CommonPrefix]
Abandoned = list[tuple[Upload, str]]


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """What a completion says of one part; `etag` without quotes."""

    number: int
    etag: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)


class Uploads:
    """Multipart uploads."""

    def __init__(self, shared: Shared, writes: Writes, reads: Reads) -> None:
        self._shared = shared
        self._writes = writes
        self._reads = reads

    def create(
        self,
        bucket: Bucket,
        key: str,
        *,
        attributes: Attributes,
        owner: str | None,
        checksum_algorithm: str = "",
        checksum_type: str = "",
        requested: WriteType | None = None,
    ) -> Upload:
        """Begin an upload. Raises NoSuchBucket, AccessDenied, KeyTooLongError."""
        check_key(key)
        _, write_type = self._writes.plan(bucket, key, None, requested)
        now = now_ms()
        upload = Upload(
            self._shared.owner.new_id(),
            bucket.id,
            key,
            now,
            owner,
            dict(attributes.headers),
            dict(attributes.metadata),
            dict(attributes.tags),
            checksum_algorithm,
            checksum_type,
            write_type.value,
            active=now,
        )

        def create(tx: Transaction) -> None:
            catalog.check_bucket(tx, bucket)
            tx.put(keys.upload_row(bucket.id, key, upload.upload_id), encode(upload))

        self._shared.catalog.write(create, durable=self._shared.sync_writes)
        return upload

    def get(self, bucket: Bucket, key: str, upload_id: str) -> Upload:
        """Give an upload under way. Raises NoSuchUpload."""
        return self._shared.catalog.read(lambda s: under_way.find(s, bucket, key, upload_id))

    def put_part(self, bucket: Bucket, key: str, upload_id: str, number: int, body: Body) -> Part:
        """Stage a part, in place of an earlier one of its number. Raises NoSuchUpload, SlowDown."""
        self.get(bucket, key, upload_id)
        staged = self._writes.stage(body, inline=False)
        now = now_ms()
        part = Part(number, staged.size, body.md5, staged.segment, now, dict(body.checksums))

        def commit(tx: Transaction) -> None:
            upload = under_way.find(tx, bucket, key, upload_id)
            seq = catalog.next_seq(tx)
            row = keys.part_row(upload_id, number)
            old = catalog.get(tx, row, Part)
            if old is not None:
                catalog.discard(tx, seq, Trash(upload_id, [(old.segment, old.size)]))
            tx.put(row, encode(part))
            tx.put(keys.use_row(part.segment, upload_id), b"")
            changed = msgspec.structs.replace(upload, touched=seq, active=now)
            tx.put(keys.upload_row(bucket.id, key, upload_id), encode(changed))

        try:
            self._shared.catalog.write(commit, durable=self._shared.sync_writes)
        except BaseException:
            self._writes.unstage(staged)
            raise
        self._shared.trash_waits.set()
        return part

    def parts(
        self, bucket: Bucket, key: str, upload_id: str, *, after: int = 0, limit: int
    ) -> tuple[Upload, Parts, bool]:
        """Give parts with numbers above `after`, in order, and whether more follow."""

        def read(snapshot: Snapshot) -> tuple[Upload, Parts]:
            upload = under_way.find(snapshot, bucket, key, upload_id)
            if after > 0xFFFF:
                return upload, []
            start = keys.part_row(upload_id, after) + b"\x00"
            stop = keys.end(keys.parts_prefix(upload_id))
            found = itertools.islice(snapshot.scan(start, stop), limit + 1)
            return upload, [decode(Part, value) for _, value in found]

        upload, found = self._shared.catalog.read(read)
        return upload, found[:limit], len(found) > limit

    def list(
        self,
        bucket: Bucket,
        *,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        upload_id_marker: str = "",
        limit: int,
    ) -> UploadListing:
        """Give uploads by key and id behind the markers, keys rolled up by `delimiter`.

        Without an id marker, uploads of `key_marker` itself are left out.
        """
        return self._shared.catalog.read(
            lambda snapshot: under_way.listed(
                snapshot, bucket, prefix, delimiter, key_marker, upload_id_marker, limit
            )
        )

    def abort(self, bucket: Bucket, key: str, upload_id: str) -> None:
        """Forget an upload and its parts. Raises NoSuchUpload."""

        def abort(tx: Transaction) -> None:
            upload = under_way.find(tx, bucket, key, upload_id)
            if upload.completing and self._shared.owner.alive(upload.completing):
                raise NoSuchUpload(UploadId=upload_id)
            under_way.end(tx, upload, catalog.next_seq(tx), keep=frozenset())

        self._shared.catalog.write(abort)
        self._shared.trash_waits.set()

    def expire(self, age: float) -> int:
        """Abort uploads that nobody touched for `age` seconds; give their number.

        Uploads of a bucket that is gone are aborted whatever their age.
        """
        before = now_ms() - int(age * 1000)

        def read(snapshot: Snapshot) -> Abandoned:
            alive = {b.id: b.name for _, b in catalog.rows(snapshot, keys.BUCKETS, Bucket)}
            return [
                (upload, alive.get(upload.bucket_id, ""))
                for _, upload in catalog.rows(snapshot, keys.UPLOADS, Upload)
                if upload.active < before or upload.bucket_id not in alive
            ]

        def abort(seen: Upload, tx: Transaction) -> bool:
            row = keys.upload_row(seen.bucket_id, seen.key, seen.upload_id)
            upload = catalog.get(tx, row, Upload)
            if upload is None or upload.touched != seen.touched:
                return False
            under_way.end(tx, upload, catalog.next_seq(tx), keep=frozenset())
            return True

        expired = 0
        for upload, name in self._shared.catalog.read(read):
            if self._shared.catalog.write(partial(abort, upload)):
                expired += 1
                self._shared.track(UploadExpired(name, upload.key, upload.upload_id))
        if expired:
            self._shared.trash_waits.set()
        return expired

    # --- completion ------------------------------------------------------------------

    def complete(
        self,
        bucket: Bucket,
        key: str,
        upload_id: str,
        parts: Sequence[CompletedPart],
        *,
        conditions: WriteConditions = UNCONDITIONAL,
        checksums: Mapping[str, str] | None = None,
        checksum_type: str = "",
        size: int | None = None,
    ) -> Written:
        """Make the listed parts the object; a repeated call gets the first answer for 24 hours.

        `checksums` and `size` are what the client says of the whole. Raises NoSuchUpload,
        InvalidPart, InvalidPartOrder, EntityTooSmall, InvalidRequest, BodyError, and what
        `Writes.put` raises.
        """
        request = _digest(parts)
        for _ in range(TRIES):
            found = self._shared.catalog.read(lambda s: _state(s, bucket, key, upload_id))
            if isinstance(found, Completed):
                if found.request != request:
                    raise NoSuchUpload(UploadId=upload_id)
                return Written(
                    found.record, WriteType(found.write_type), Durability(found.durability)
                )
            upload, present = found
            refs = _choose(upload, present, parts)
            record = self._record(bucket, upload, refs, checksums or {}, checksum_type, size)
            if conditions:
                intents.check_conditions(conditions, look(self._shared, bucket, key))
            try:
                return self._finish(bucket, upload, record, refs, conditions, request)
            except _Changed:
                continue
            except (NoSuchUpload, Corrupt) as failure:
                # A completion at the same time was faster and may have freed the parts.
                if not self._gone(bucket, upload):
                    raise
                log.debug("%s/%r was completed twice: %s", bucket.name, key, failure)
        raise ServiceUnavailable("the parts change faster than they can be joined")

    def _gone(self, bucket: Bucket, seen: Upload) -> bool:
        """Tell whether an upload ended, or its parts changed, since it was seen."""
        row = keys.upload_row(bucket.id, seen.key, seen.upload_id)
        now = self._shared.catalog.read(lambda s: catalog.get(s, row, Upload))
        return now is None or now.touched != seen.touched

    def _record(
        self,
        bucket: Bucket,
        upload: Upload,
        refs: Refs,
        checksums: Mapping[str, str],
        checksum_type: str,
        size: int | None,
    ) -> Record:
        mount = self._shared.mounts.find(bucket.name, upload.key)
        total = sum(ref.length for ref in refs)
        if size is not None and size != total:
            raise InvalidRequest("x-amz-mp-object-size is not the sum of the parts' sizes")
        kind = checksum_type or upload.checksum_type
        joined = _join_checksums(upload, refs, kind, checksums)
        hashes = b"".join(bytes.fromhex(ref.etag) for ref in refs)
        etag = hashlib.md5(hashes, usedforsecurity=False).hexdigest()
        write_type = WriteType(upload.write_type)
        return Record(
            object_id=upload.upload_id,
            seq=0,
            size=total,
            etag=f"{etag}-{len(refs)}",
            modified=now_ms(),
            state=PLANS[write_type].state,
            generation=mount.generation,
            owner=upload.owner,
            headers=upload.headers,
            metadata=upload.metadata,
            tags=upload.tags,
            checksums=joined,
            checksum_type=(kind or "COMPOSITE") if joined else "",
            parts=len(refs),
            write_type=write_type.value,
        )

    def _finish(
        self,
        bucket: Bucket,
        upload: Upload,
        record: Record,
        refs: Refs,
        conditions: WriteConditions,
        request: str,
    ) -> Written:
        mount = self._shared.mounts.find(bucket.name, upload.key)
        mount.check_writable()
        write_type = WriteType(upload.write_type)
        plan = PLANS[write_type]
        durability = (
            self._writes.durability(mount)
            if plan.through
            else self._writes.safe(mount, self._shared.catalog.durable)
        )
        held = {ref.segment for ref in refs}

        def unchanged(tx: Transaction) -> None:
            current = under_way.find(tx, bucket, upload.key, upload.upload_id)
            if current.touched != upload.touched:
                raise _Changed

        def finish(tx: Transaction, seq: int, keep: frozenset[str]) -> None:
            row = keys.upload_row(bucket.id, upload.key, upload.upload_id)
            if tx.get(row) is not None:
                under_way.end(tx, upload, seq, keep=keep)
            done = Completed(
                bucket.id, upload.key, request, now_ms(), record, write_type.value, durability.value
            )
            tx.put(keys.completed_row(upload.upload_id), encode(done))

        if plan.through:
            keep = plan.keep and not mount.local_files
            kept = refs if keep else [msgspec.structs.replace(r, segment="") for r in refs]
            written = self._through(
                bucket, upload, record, refs, kept, conditions, unchanged,
                lambda tx, seq: finish(tx, seq, frozenset(held) if keep else frozenset()),
            )  # fmt: skip
        else:

            def also(tx: Transaction, seq: int) -> None:
                unchanged(tx)
                finish(tx, seq, frozenset(held))

            written = self._writes.commit_cached(
                bucket, upload.key, record, conditions, refs=refs, also=also
            )
        return self._writes.written(bucket, upload.key, written, write_type, durability)

    def _through(
        self,
        bucket: Bucket,
        upload: Upload,
        record: Record,
        refs: Refs,
        kept: Refs,
        conditions: WriteConditions,
        unchanged: Callable[[Transaction], None],
        finish: Callable[[Transaction, int], None],
    ) -> Record:
        """Join the parts once, into the under store."""
        mount = self._shared.mounts.find(bucket.name, upload.key)
        row = keys.upload_row(bucket.id, upload.key, upload.upload_id)

        def mark(owner: int, tx: Transaction) -> None:
            current = catalog.get(tx, row, Upload)
            if current is not None:
                tx.put(row, encode(msgspec.structs.replace(current, completing=owner)))

        def begin(tx: Transaction) -> None:
            unchanged(tx)
            mark(self._shared.owner.number, tx)

        with ExitStack() as stack:
            chain = stack.enter_context(closing(self._reads.chain(refs)))
            stack.callback(lambda: self._shared.catalog.write(partial(mark, 0), durable=False))
            written = self._writes.through(
                bucket,
                upload.key,
                ReaderBody(chain, record.size),
                mount,
                Attributes(upload.headers, upload.metadata, upload.tags),
                conditions,
                lambda object_id, size: record,
                keep=False,
                prepare=begin,
                finish=finish,
                refs=kept,
            )
            stack.pop_all()
            chain.close()
            return written


class _Changed(Exception):
    """A part came in while its upload was being completed."""


def _state(
    snapshot: Snapshot, bucket: Bucket, key: str, upload_id: str
) -> Completed | tuple[Upload, Parts]:
    """Give the memory of a finished upload, or an upload under way and its parts."""
    done = catalog.get(snapshot, keys.completed_row(upload_id), Completed)
    if done is not None and (done.bucket_id, done.key) == (bucket.id, key):
        return done
    upload = under_way.find(snapshot, bucket, key, upload_id)
    return upload, [p for _, p in catalog.rows(snapshot, keys.parts_prefix(upload_id), Part)]


def _choose(upload: Upload, found: Sequence[Part], wanted: Sequence[CompletedPart]) -> Refs:
    """Find the parts that a completion lists, and check what S3 checks of them."""
    by_number = {part.number: part for part in found}
    refs: Refs = []
    last = 0
    for one in wanted:
        if one.number <= last:
            raise InvalidPartOrder(UploadId=upload.upload_id)
        last = one.number
        part = by_number.get(one.number)
        same = part is not None and (one.etag is None or one.etag == part.etag)
        if (
            part is None
            or not same
            or any(
                part.checksums.get(name, value) != value for name, value in one.checksums.items()
            )
        ):
            raise InvalidPart(
                UploadId=upload.upload_id, PartNumber=str(one.number), ETag=one.etag or ""
            )
        refs.append(SegmentRef(part.segment, part.size, part.number, part.etag, part.checksums))
    for ref in refs[:-1]:
        if ref.length < SMALLEST_PART:
            raise EntityTooSmall(
                ETag=ref.etag,
                PartNumber=str(ref.number),
                ProposedSize=str(ref.length),
                MinSizeAllowed=str(SMALLEST_PART),
            )
    return refs


def _join_checksums(
    upload: Upload, refs: Sequence[SegmentRef], kind: str, claimed: Mapping[str, str]
) -> dict[str, str]:
    """Make the checksum of the whole from those of the parts, and compare it with the claim."""
    joined: dict[str, str] = {}
    names = {upload.checksum_algorithm} if upload.checksum_algorithm else set(claimed)
    for name in names:
        values = [ref.checksums.get(name, "") for ref in refs]
        if not values or not all(values):
            if upload.checksum_algorithm and kind != FULL_OBJECT and any(values):
                raise InvalidRequest(f"not every part has a {name} checksum")
            continue
        joined[name] = (
            full_object(name, [(v, r.length) for v, r in zip(values, refs, strict=True)])
            if kind == FULL_OBJECT
            else composite(name, values)
        )
    for name, value in claimed.items():
        if name in joined and joined[name] != value:
            raise BodyError("BadDigest", f"the {name} checksum is not that of the parts together")
    return joined


def _digest(parts: Sequence[CompletedPart]) -> str:
    listed = [(part.number, part.etag) for part in parts]
    return hashlib.sha256(repr(listed).encode()).hexdigest()
