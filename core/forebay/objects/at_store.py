"""Parts of uploads at an under store that takes an object in parts itself.

A part is staged here first, then handed on, so that a completion moves no bytes. Bytes that are
staged are let go of only when the catalog knows what the store calls the part. Of all that
wants to hand on parts of one number, one does at a time: what the store has is then the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import cast

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import (
    AtStore,
    Bucket,
    Intent,
    Part,
    Record,
    SegmentRef,
    Upload,
    encode,
)
from forebay.errors import (
    InvalidKey,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    SlowDown,
    StorageError,
    Unavailable,
)
from forebay.objects import intents, under_way
from forebay.objects.mounts import Mount
from forebay.objects.owners import owner_of
from forebay.objects.read import Reads
from forebay.objects.shared import Shared, check_stored, log, now_ms, store_is_down
from forebay.objects.write import PLANS, Writes
from forebay.stores.metadata import Transaction
from forebay.stores.under import SupportsMultipart
from forebay.streams import ReaderBody
from forebay.types import Attributes, ObjectInfo, StoredPart, WriteConditions, WriteType

PATIENCE = 30.0
"""Seconds that whoever hands on a part waits for an earlier one of its number."""


class NotByStore(Exception):
    """The under store does not make the object of its parts; those that are staged may do."""


class PartsAtStore:
    """Parts that an under store is to have before the completion."""

    def __init__(self, shared: Shared, writes: Writes, reads: Reads) -> None:
        self._shared = shared
        self._writes = writes
        self._reads = reads

    def begin(
        self, mount: Mount, bucket: Bucket, key: str, write_type: WriteType, attributes: Attributes
    ) -> AtStore | None:
        """Begin an upload at the store as well; None where its parts are to be joined here.

        Raises what a completion could only end with: InvalidKey, PermissionDenied.
        """
        if not PLANS[write_type].through or not _takes_parts(mount):
            return None
        under_key = mount.under_key(bucket.name, key)
        try:
            token = _store(mount).begin_upload(under_key, attributes=attributes)
        except (InvalidKey, PermissionDenied):
            raise
        except StorageError as failure:
            log.info("parts of %s/%r stay here: %s", bucket.name, key, failure)
            return None
        return AtStore(under_key, token, mount.generation)

    def end(self, upload: Upload) -> None:
        """Let the store forget an upload that is over; what it does not is left to its owner."""
        at = upload.at_store
        if at is None:
            return
        for mount in self._shared.mounts:
            if mount.generation == at.generation and _takes_parts(mount):
                try:
                    _store(mount).abort_upload(at.key, at.token)
                except StorageError as failure:
                    log.warning("parts of %r stay in %s: %s", at.key, mount.config.under, failure)

    def there(self, bucket: Bucket, upload: Upload, parts: Iterable[Part]) -> Iterator[Part]:
        """Give the parts that can be had: staged ones, and those that the upload's store has."""
        known = self._mount(bucket, upload) is not None
        for part in parts:
            if known:
                yield part
            elif part.segment:
                yield msgspec.structs.replace(part, tag="")

    def _mount(self, bucket: Bucket, upload: Upload) -> Mount | None:
        """Give the mount of the upload at the store; None where another store is mounted now."""
        at = upload.at_store
        mount = self._shared.mounts.find(bucket.name, upload.key)
        return mount if at is not None and at.generation == mount.generation else None

    # --- parts -----------------------------------------------------------------------

    def claim(self, bucket: Bucket, upload: Upload) -> str:
        """Give a name for whoever hands on a part; "" where nobody takes it."""
        mount = self._mount(bucket, upload)
        return self._shared.owner.new_id() if mount is not None and _takes_parts(mount) else ""

    def sending(self, upload: Upload, old: Part | None, claim: str) -> str:
        """Say who hands on a part that takes the place of `old`: who does so with that, or we.

        Nobody while the upload is being completed: the store is to have what was listed.
        """
        if old is not None and self._busy(old):
            return old.sending
        return "" if self._completed(upload) else claim

    def _completed(self, upload: Upload) -> bool:
        """Tell whether somebody is completing an upload right now."""
        return bool(upload.completing) and self._shared.owner.alive(upload.completing)

    def _busy(self, part: Part) -> bool:
        return bool(part.sending) and self._shared.owner.alive(owner_of(part.sending))

    def send_if_it_can(self, bucket: Bucket, upload: Upload, part: Part, claim: str) -> None:
        """Hand on a part that was staged just now; what fails is left to the completion.

        So is a part whose number somebody else is at: nobody's thread waits for that.
        """
        if part.sending != claim:
            return
        try:
            self._send(bucket, upload, part, claim)
        except NotByStore:
            return
        except StorageError as failure:
            log.info("part %d of %r stays here for now: %s", part.number, upload.key, failure)

    def bring(self, bucket: Bucket, upload: Upload, parts: Sequence[Part]) -> bool:
        """Hand on what the store does not have yet of `parts`; tell whether there was any.

        Raises NotByStore, ServiceUnavailable, SlowDown, StorageError.
        """
        missing = [part for part in parts if not part.tag]
        for part in missing:
            try:
                self._send(bucket, upload, part, self._shared.owner.new_id())
            except StorageError as failure:
                raise self._meaning(bucket, upload, parts, failure) from failure
        return bool(missing)

    def _send(self, bucket: Bucket, upload: Upload, part: Part, claim: str) -> None:
        """Hand on a part, unless it is there by now or another one has come in its place."""
        mount = self._mount(bucket, upload)
        if mount is None or not (part.sending == claim or self._claimed(upload, part, claim)):
            return
        tag = ""
        try:
            tag = self._put(mount, upload, part)
        except NotFound as gone:
            self._forget(upload)
            raise NotByStore(f"the store has no such upload any more: {gone}") from gone
        finally:
            self._note(upload, part, claim, tag)

    def _put(self, mount: Mount, upload: Upload, part: Part) -> str:
        at = upload.at_store
        assert at is not None
        with closing(self._reads.chain([SegmentRef(part.segment, part.size)])) as chain:
            body = ReaderBody(chain, part.size)
            return _store(mount).put_part(
                at.key, at.token, part.number, body, size=part.size, md5=part.etag
            )

    def _claimed(self, upload: Upload, part: Part, claim: str) -> bool:
        """Wait until nobody else hands on a part of this number; False where it is not needed.

        And until nobody completes the upload: the store is to have what was listed.
        """
        row = keys.part_row(upload.upload_id, part.number)

        def take(tx: Transaction) -> bool | None:
            now = catalog.get(tx, under_way.row_of(upload), Upload)
            current = catalog.get(tx, row, Part)
            if now is None or current is None:
                return False
            if current.segment != part.segment or current.tag:
                return False
            if self._busy(current) or self._completed(now):
                return None
            tx.put(row, encode(msgspec.structs.replace(current, sending=claim)))
            return True

        end, pause = time.monotonic() + PATIENCE, 0.001
        while (taken := self._shared.catalog.write(take, durable=False)) is None:
            if time.monotonic() > end:
                raise SlowDown(f"what was to happen before part {part.number} does not end")
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        return taken

    def _note(self, upload: Upload, part: Part, claim: str, tag: str) -> None:
        """Note what the store calls a part, and let go of what nothing else needs then."""
        row = keys.part_row(upload.upload_id, part.number)
        let_go = bool(tag) and not PLANS[WriteType(upload.write_type)].keep

        def note(tx: Transaction) -> tuple[bool, bool]:
            now = catalog.get(tx, under_way.row_of(upload), Upload)
            current = catalog.get(tx, row, Part)
            if now is None or current is None:
                return now is None, False
            if current.sending == claim:
                current = msgspec.structs.replace(current, sending="")
            ours = current.segment == part.segment and now.at_store == upload.at_store
            if ours and tag:
                current = msgspec.structs.replace(current, tag=tag)
            if ours and let_go:
                current = msgspec.structs.replace(current, segment="")
                tx.delete(keys.use_row(part.segment, upload.upload_id))
            tx.put(row, encode(current))
            return False, ours and let_go

        durable = let_go and self._shared.sync_writes
        over, free = self._shared.catalog.write(note, durable=durable)
        if free:
            self._shared.cache.delete(part.segment, part.size)
        if over:
            # The store may have got the part after it was told to forget the upload.
            self.end(upload)

    def _forget(self, upload: Upload) -> None:
        """Note that the store has lost an upload: what was let go of has to be sent again."""
        row = under_way.row_of(upload)

        def forget(tx: Transaction) -> None:
            current = catalog.get(tx, row, Upload)
            if current is not None and current.at_store == upload.at_store:
                tx.put(row, encode(msgspec.structs.replace(current, at_store=None)))

        self._shared.catalog.write(forget)
        log.warning("the under store has lost parts of %r: those that are not here", upload.key)
        self.end(upload)

    # --- completion ------------------------------------------------------------------

    def makes(self, bucket: Bucket, upload: Upload, parts: Sequence[Part]) -> bool:
        """Tell whether the store is to make the object of `parts`. Raises ServiceUnavailable."""
        mount = self._mount(bucket, upload)
        if mount is not None and _takes_parts(mount):
            return True
        if all(part.segment for part in parts):
            return False
        # Only the store has them, and it is not open yet.
        path = self._shared.mounts.find(bucket.name, upload.key).config.path
        raise ServiceUnavailable(f"the under store of {path} is down")

    def complete(
        self,
        bucket: Bucket,
        upload: Upload,
        parts: Sequence[Part],
        record: Record,
        refs: list[SegmentRef],
        conditions: WriteConditions,
        prepare: Callable[[Transaction], None],
        finish: Callable[[Transaction, int], None],
    ) -> Record:
        """Let the store make the object of its parts, behind the gate, and commit its record.

        `prepare` runs in the transaction that takes the intent, `finish` in the one that
        commits. Raises NotByStore, and what a write does.
        """
        shared, key = self._shared, upload.key
        mount = self._mount(bucket, upload)
        if mount is None:
            raise NotByStore("another store is mounted here now")

        def ready(tx: Transaction, seq: int, current: Record | None) -> Record:
            prepare(tx)
            return msgspec.structs.replace(record, seq=seq)

        intent = intents.take(
            shared, bucket, key, mount=mount, conditions=conditions, prepare=ready
        )
        try:
            info = self._ask(mount, upload, parts, intent)
        except BaseException as failure:
            self._writes.settle_later(bucket, key, intent)
            if isinstance(failure, StorageError):
                raise self._meaning(bucket, upload, parts, failure) from failure
            raise
        assert intent.record is not None
        made = msgspec.structs.replace(
            intent.record, fingerprint=info.fingerprint, synced=now_ms(), local=mount.local_files
        )
        try:
            return intents.commit_published(
                shared, bucket, key, intent, made,
                mount=mount, refs=refs, also=lambda tx: finish(tx, intent.seq),
            )  # fmt: skip
        except BaseException:
            self._writes.settle_later(bucket, key, intent)
            raise

    def _ask(
        self, mount: Mount, upload: Upload, parts: Sequence[Part], intent: Intent
    ) -> ObjectInfo:
        at, record = upload.at_store, intent.record
        assert at is not None
        assert record is not None
        stored = [StoredPart(part.number, part.size, part.tag) for part in parts]
        try:
            info = _store(mount).complete_upload(at.key, at.token, stored)
        except NotFound:
            found = self._made_before(mount, at.key, record)
            if found is None:
                raise
            info = found
        check_stored(info, record.size)
        return info

    def _made_before(self, mount: Mount, under_key: str, record: Record) -> ObjectInfo | None:
        """Look whether an earlier completion, whose answer nobody heard, made the object."""
        try:
            info = mount.store.head(under_key)
        except NotFound:
            return None
        asked = Attributes(record.headers, record.metadata, record.tags)
        same = (info.size, info.etag) == (record.size, record.etag)
        return info if same and info.attributes in (None, asked) else None

    def _meaning(
        self, bucket: Bucket, upload: Upload, parts: Sequence[Part], failure: StorageError
    ) -> Exception:
        """Say what follows when the store did not do its share of a completion."""
        if isinstance(failure, Unavailable):
            path = self._shared.mounts.find(bucket.name, upload.key).config.path
            return store_is_down(path, failure)
        if isinstance(failure, NotFound):
            self._forget(upload)
        elif not all(part.segment for part in parts):
            return failure
        return NotByStore(str(failure))


def _takes_parts(mount: Mount) -> bool:
    return hasattr(mount.store, "put_part")


def _store(mount: Mount) -> SupportsMultipart:
    return cast(SupportsMultipart, mount.store)
