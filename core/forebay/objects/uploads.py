"""Multipart uploads: parts are staged on the local durable disk whatever the write type.

Completion copies no byte where the cache keeps the object: the parts' segments become the
object's, under the upload's id as object id, so that not even the notes of their use change.
Nor does it where the under store takes parts itself (see `at_store`).
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
    encode,
)
from forebay.errors import (
    Corrupt,
    EntityTooSmall,
    InvalidPart,
    InvalidPartOrder,
    NoSuchUpload,
    ServiceUnavailable,
)
from forebay.events import UploadExpired
from forebay.objects import intents, under_way
from forebay.objects.at_store import NotByStore, PartsAtStore
from forebay.objects.mounts import Mount
from forebay.objects.read import Reads
from forebay.objects.shared import Shared, check_key, log, now_ms
from forebay.objects.sync import TRIES, look
from forebay.objects.under_way import UploadListing
from forebay.objects.whole import record_of_parts
from forebay.objects.write import PLANS, UNCONDITIONAL, Writes, Written
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
Ask = Callable[
    [
        Record,
        Refs,
        WriteConditions,
        Callable[[Transaction], None],
        Callable[[Transaction, int], None],
    ],
    Record,
]
"""What makes the object of an upload: the record, the segments to keep, the conditions, what
runs with the intent and what with the commit."""


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
        self._at_store = PartsAtStore(shared, writes, reads)

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
        mount, write_type = self._writes.plan(bucket, key, None, requested)
        at_store = self._at_store.begin(mount, bucket, key, write_type, attributes)
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
            at_store=at_store,
        )

        def create(tx: Transaction) -> None:
            catalog.check_bucket(tx, bucket)
            tx.put(under_way.row_of(upload), encode(upload))

        try:
            self._shared.catalog.write(create, durable=self._shared.sync_writes)
        except BaseException:
            self._at_store.end(upload)
            raise
        return upload

    def get(self, bucket: Bucket, key: str, upload_id: str) -> Upload:
        """Give an upload under way. Raises NoSuchUpload."""
        return self._shared.catalog.read(lambda s: under_way.find(s, bucket, key, upload_id))

    def put_part(self, bucket: Bucket, key: str, upload_id: str, number: int, body: Body) -> Part:
        """Stage a part, in place of an earlier one of its number. Raises NoSuchUpload, SlowDown.

        It is handed on to an under store that takes parts, now if that succeeds.
        """
        seen = self.get(bucket, key, upload_id)
        staged = self._writes.stage(body, inline=False)
        now = now_ms()
        claim = self._at_store.claim(bucket, seen)
        part = Part(number, staged.size, body.md5, staged.segment, now, dict(body.checksums))

        def commit(tx: Transaction) -> Part:
            upload = under_way.find(tx, bucket, key, upload_id)
            seq = catalog.next_seq(tx)
            row = keys.part_row(upload_id, number)
            old = catalog.get(tx, row, Part)
            if old is not None and old.segment:
                catalog.discard(tx, seq, Trash(upload_id, [(old.segment, old.size)]))
            made = msgspec.structs.replace(part, sending=self._at_store.sending(upload, old, claim))
            tx.put(row, encode(made))
            tx.put(keys.use_row(part.segment, upload_id), b"")
            changed = msgspec.structs.replace(upload, touched=seq, active=now)
            tx.put(under_way.row_of(upload), encode(changed))
            return made

        try:
            part = self._shared.catalog.write(commit, durable=self._shared.sync_writes)
        except BaseException:
            self._writes.unstage(staged)
            raise
        self._shared.trash_waits.set()
        if claim:
            self._at_store.send_if_it_can(bucket, seen, part, claim)
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
            found = (part for _, part in catalog.rows_between(snapshot, start, stop, Part))
            there = self._at_store.there(bucket, upload, found)
            return upload, list(itertools.islice(there, limit + 1))

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

        def abort(tx: Transaction) -> Upload:
            upload = under_way.find(tx, bucket, key, upload_id)
            if upload.completing and self._shared.owner.alive(upload.completing):
                raise NoSuchUpload(UploadId=upload_id)
            under_way.end(tx, upload, catalog.next_seq(tx), keep=frozenset())
            return upload

        upload = self._shared.catalog.write(abort)
        self._shared.trash_waits.set()
        self._at_store.end(upload)

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
                self._at_store.end(upload)
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
        joined = False
        for _ in range(TRIES):
            found = self._shared.catalog.read(lambda s: _state(s, bucket, key, upload_id))
            if isinstance(found, Completed):
                if found.request != request:
                    raise NoSuchUpload(UploadId=upload_id)
                return Written(
                    found.record, WriteType(found.write_type), Durability(found.durability)
                )
            seen, present = found
            upload = msgspec.structs.replace(seen, at_store=None) if joined else seen
            chosen = _choose(upload, list(self._at_store.there(bucket, upload, present)), parts)
            refs = [
                SegmentRef(one.segment, one.size, one.number, one.etag, one.checksums)
                for one in chosen
            ]
            mount = self._shared.mounts.find(bucket.name, key)
            record = record_of_parts(
                upload, refs, mount.generation, checksums or {}, checksum_type, size
            )
            settled = self._settled(bucket, seen, record, request)
            if settled is not None:
                return settled
            if conditions:
                intents.check_conditions(conditions, look(self._shared, bucket, key))
            try:
                by_store = self._at_store.makes(bucket, upload, chosen)
                if by_store and self._at_store.bring(bucket, upload, chosen):
                    continue
                ask = partial(self._at_store.complete, bucket, upload, chosen) if by_store else None
                written = self._finish(bucket, upload, record, refs, conditions, request, ask)
                if not by_store:
                    self._at_store.end(seen)
                return written
            except _Changed:
                continue
            except NotByStore as refusal:
                log.info("%s/%r: the parts are joined here: %s", bucket.name, key, refusal)
                joined = True
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

    def _settled(
        self, bucket: Bucket, upload: Upload, record: Record, request: str
    ) -> Written | None:
        """End an upload whose object is there: a completion broke off between store and answer.

        Whoever met its intent has found the object in the store and made it that of its key.
        """
        key, write_type = upload.key, WriteType(upload.write_type)
        durability = self._writes.durability(self._shared.mounts.find(bucket.name, key))

        def made(snapshot: Snapshot) -> Record | None:
            current = catalog.get_record(snapshot, bucket.id, key)
            if current is None or current.object_id != upload.upload_id:
                return None
            return current if current.etag == record.etag else None

        def settle(tx: Transaction) -> Record | None:
            current = made(tx)
            if current is not None:
                seq = catalog.next_seq(tx)
                _remember(tx, upload, seq, request, current, durability, keep=frozenset())
            return current

        if self._shared.catalog.read(made) is None:
            return None
        current = self._shared.catalog.write(settle)
        if current is None:
            return None
        self._at_store.end(upload)
        return self._writes.written(bucket, key, current, write_type, durability)

    def _finish(
        self,
        bucket: Bucket,
        upload: Upload,
        record: Record,
        refs: Refs,
        conditions: WriteConditions,
        request: str,
        ask: Ask | None,
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
        keep = plan.keep and not (plan.through and mount.local_files)
        held = frozenset(ref.segment for ref in refs) if keep else frozenset()

        def unchanged(tx: Transaction) -> None:
            current = under_way.find(tx, bucket, upload.key, upload.upload_id)
            if current.touched != upload.touched:
                raise _Changed

        def finish(tx: Transaction, seq: int) -> None:
            _remember(tx, upload, seq, request, record, durability, keep=held)

        if plan.through:
            kept = refs if keep else [msgspec.structs.replace(r, segment="") for r in refs]
            ask = ask or partial(self._join, mount, upload, bucket, refs)
            written = self._through(
                bucket, upload, record, kept, conditions, unchanged, finish, ask
            )
        else:

            def also(tx: Transaction, seq: int) -> None:
                unchanged(tx)
                finish(tx, seq)

            written = self._writes.commit_cached(
                bucket, upload.key, record, conditions, refs=refs, also=also
            )
        return self._writes.written(bucket, upload.key, written, write_type, durability)

    def _through(
        self,
        bucket: Bucket,
        upload: Upload,
        record: Record,
        kept: Refs,
        conditions: WriteConditions,
        unchanged: Callable[[Transaction], None],
        finish: Callable[[Transaction, int], None],
        ask: Ask,
    ) -> Record:
        """Have the object published while the upload is marked as being completed."""
        row = under_way.row_of(upload)

        def mark(owner: int, tx: Transaction) -> None:
            current = catalog.get(tx, row, Upload)
            if current is not None:
                tx.put(row, encode(msgspec.structs.replace(current, completing=owner)))

        begun: list[bool] = []

        def begin(tx: Transaction) -> None:
            unchanged(tx)
            mark(self._shared.owner.number, tx)
            begun.append(True)

        def leave() -> None:
            # Who never had its turn must not take the mark of another completion away.
            if begun:
                self._shared.catalog.write(partial(mark, 0), durable=False)

        with ExitStack() as stack:
            stack.callback(leave)
            written = ask(record, kept, conditions, begin, finish)
            stack.pop_all()
            return written

    def _join(
        self,
        mount: Mount,
        upload: Upload,
        bucket: Bucket,
        refs: Refs,
        record: Record,
        kept: Refs,
        conditions: WriteConditions,
        prepare: Callable[[Transaction], None],
        finish: Callable[[Transaction, int], None],
    ) -> Record:
        """Join the parts once, into the under store."""
        with closing(self._reads.chain(refs)) as chain:
            return self._writes.through(
                bucket,
                upload.key,
                ReaderBody(chain, record.size),
                mount,
                Attributes(upload.headers, upload.metadata, upload.tags),
                conditions,
                lambda object_id, size: record,
                keep=False,
                prepare=prepare,
                finish=finish,
                refs=kept,
            )


class _Changed(Exception):
    """A part came in while its upload was being completed."""


def _remember(
    tx: Transaction,
    upload: Upload,
    seq: int,
    request: str,
    record: Record,
    durability: Durability,
    *,
    keep: frozenset[str],
) -> None:
    """End an upload that is complete, and remember what a repeated completion is answered."""
    if tx.get(under_way.row_of(upload)) is not None:
        under_way.end(tx, upload, seq, keep=keep)
    done = Completed(
        upload.bucket_id, upload.key, request, now_ms(),
        record, record.write_type, durability.value,
    )  # fmt: skip
    tx.put(keys.completed_row(upload.upload_id), encode(done))


def _state(
    snapshot: Snapshot, bucket: Bucket, key: str, upload_id: str
) -> Completed | tuple[Upload, Parts]:
    """Give the memory of a finished upload, or an upload under way and its parts."""
    done = catalog.get(snapshot, keys.completed_row(upload_id), Completed)
    if done is not None and (done.bucket_id, done.key) == (bucket.id, key):
        return done
    upload = under_way.find(snapshot, bucket, key, upload_id)
    return upload, [p for _, p in catalog.rows(snapshot, keys.parts_prefix(upload_id), Part)]


def _choose(upload: Upload, found: Sequence[Part], wanted: Sequence[CompletedPart]) -> Parts:
    """Find the parts that a completion lists, and check what S3 checks of them."""
    by_number = {part.number: part for part in found}
    chosen: Parts = []
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
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < SMALLEST_PART:
            raise EntityTooSmall(
                ETag=part.etag,
                PartNumber=str(part.number),
                ProposedSize=str(part.size),
                MinSizeAllowed=str(SMALLEST_PART),
            )
    return chosen


def _digest(parts: Sequence[CompletedPart]) -> str:
    listed = [(part.number, part.etag) for part in parts]
    return hashlib.sha256(repr(listed).encode()).hexdigest()
