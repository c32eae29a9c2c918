"""Buckets: the top-level directories of the namespace."""

from __future__ import annotations

import time

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Record, Trash, Whiteout, encode
from forebay.errors import (
    AccessDenied,
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    NoSuchBucket,
    StorageError,
    Unavailable,
)
from forebay.events import BucketCreated, BucketDeleted
from forebay.objects.delete import Deletes
from forebay.objects.listing import Listings
from forebay.objects.mounts import Mount
from forebay.objects.shared import Shared, log, now_ms, store_is_down
from forebay.objects.write import PLANS
from forebay.stores.metadata import Snapshot, Transaction
from forebay.streams import BytesReader
from forebay.types import Attributes, CommonPrefix, DeleteType, ObjectInfo, PersistState

RESERVED = frozenset({"-"})
"""Names under which the product itself answers."""
NO_BUCKET = 0
"""Stands for the id of a bucket where buckets themselves are remembered as absent."""


class Buckets:
    """Creation, deletion and listing of buckets, and their tags."""

    def __init__(self, shared: Shared, listings: Listings, deletes: Deletes) -> None:
        self._shared = shared
        self._listings = listings
        self._deletes = deletes

    def get(self, name: str, *, certain: bool = False) -> Bucket:
        """Give a bucket; with `certain` no absence is believed from memory.

        Raises NoSuchBucket, ServiceUnavailable.
        """
        found = self._shared.catalog.read(lambda s: catalog.get_bucket(s, name))
        if found is not None:
            return found
        if name in RESERVED or not self._stands(name, certain=certain):
            raise NoSuchBucket(BucketName=name)
        adopted = self._adopt(name)
        if adopted is None:
            raise NoSuchBucket(BucketName=name)
        return adopted

    def _stands(self, name: str, *, certain: bool) -> bool:
        """Tell whether a mount point or a top-level directory makes the bucket.

        Unless it must be `certain`, an absence is believed for the root's `negative_sync`.
        """
        mounts, absences = self._shared.mounts, self._shared.absences
        if name in mounts.buckets():
            return True
        root = mounts.root
        if not certain and absences.believed(root, NO_BUCKET, name):
            return False
        asked = time.monotonic()
        try:
            stands = next(iter(root.store.list(f"{name}/", delimiter="/")), None) is not None
        except Unavailable as failure:
            raise store_is_down(root.config.path, failure) from failure
        if not stands:
            absences.note(root, NO_BUCKET, name, asked)
        return stands

    def _adopt(self, name: str) -> Bucket | None:
        """Remember a bucket that came from a mount; it has no owner."""

        def adopt(tx: Transaction) -> Bucket | None:
            current = catalog.get_bucket(tx, name)
            if current is not None:
                return current
            if tx.get(keys.hidden_bucket_row(name)) is not None:
                return None
            bucket = Bucket(catalog.next_seq(tx), name, now_ms())
            tx.put(keys.bucket_row(name), encode(bucket))
            return bucket

        return self._shared.catalog.write(adopt)

    def names(self) -> list[str]:
        """Give the names of all buckets, whoever owns them, sorted."""

        def known(snapshot: Snapshot) -> set[str]:
            return {row.name for _, row in catalog.rows(snapshot, keys.BUCKETS, Bucket)}

        mounts = self._shared.mounts
        found = self._shared.catalog.read(known) | self._directories(mounts.root)
        return sorted((found | set(mounts.buckets())) - RESERVED)

    def list(
        self, user: str, *, prefix: str = "", after: str = "", limit: int
    ) -> tuple[list[Bucket], bool]:
        """Give the caller's own buckets and those without an owner, by name, and if more follow."""
        mounts = self._shared.mounts
        names = set(mounts.buckets()) | self._directories(mounts.root)

        def known(snapshot: Snapshot) -> dict[str, Bucket]:
            return {row.name: row for _, row in catalog.rows(snapshot, keys.BUCKETS, Bucket)}

        buckets = self._shared.catalog.read(known)
        for name in names - buckets.keys() - RESERVED:
            adopted = self._adopt(name)
            if adopted is not None:
                buckets[name] = adopted
        found = [
            bucket
            for name, bucket in sorted(buckets.items())
            if name > after and name.startswith(prefix) and bucket.owner in (None, user)
        ]
        return found[:limit], len(found) > limit

    def _directories(self, root: Mount) -> set[str]:
        try:
            return {
                _name(entry)
                for entry in root.store.list("", delimiter="/")
                if _name(entry) and ":" not in _name(entry)
            }
        except Unavailable as failure:
            log.warning("the root mount cannot be listed: %s", failure)
            return set()

    def create(self, name: str, owner: str | None, tags: dict[str, str] | None = None) -> Bucket:
        """Create a bucket.

        Raises BucketAlreadyOwnedByYou (also where nobody owns it) and BucketAlreadyExists.
        """
        mounts = self._shared.mounts
        root, mounted = mounts.root, name in mounts.buckets()
        if not mounted:
            root.check_writable()
        try:
            existing = self.get(name, certain=True)
        except NoSuchBucket:
            pass
        else:
            if existing.owner in (None, owner):
                raise BucketAlreadyOwnedByYou(BucketName=name)
            raise BucketAlreadyExists(BucketName=name)
        if not mounted:
            self._make_directory(root, name)

        def create(tx: Transaction) -> Bucket | None:
            if catalog.get_bucket(tx, name) is not None:
                return None
            bucket = Bucket(catalog.next_seq(tx), name, now_ms(), owner, tags or {})
            tx.put(keys.bucket_row(name), encode(bucket))
            tx.delete(keys.hidden_bucket_row(name))
            return bucket

        bucket = self._shared.catalog.write(create)
        if bucket is None:
            return self.create(name, owner, tags)
        self._shared.track(BucketCreated(name, owner))
        return bucket

    def _make_directory(self, root: Mount, name: str) -> None:
        plan = PLANS[root.config.write_type]
        if plan.state is PersistState.NOT_PERSISTED:
            return
        try:
            root.store.put(f"{name}/", BytesReader(b""), size=0, attributes=Attributes())
        except StorageError as failure:
            if plan.through:
                raise
            log.info("the directory of bucket %s comes with its first object: %s", name, failure)

    def delete(self, bucket: Bucket, requested: DeleteType | None = None) -> DeleteType:
        """Delete an empty bucket; uploads under way do not count and are aborted.

        Raises BucketNotEmpty, and AccessDenied for a mount point.
        """
        shared = self._shared
        if bucket.name in shared.mounts.buckets():
            raise AccessDenied("a mount point is no bucket to delete; unmount it")
        root = shared.mounts.root
        root.check_writable()
        delete_type = self._deletes.delete_type(root, "", requested)
        began = shared.catalog.read(lambda s: catalog.get_number(s, keys.SEQ))
        if self._listings.exists(bucket, "", certain=True):
            raise BucketNotEmpty(BucketName=bucket.name)
        row = shared.catalog.write(lambda tx: self._delete_row(tx, bucket, began))
        if delete_type is DeleteType.ALLUXIO_AND_UFS:
            try:
                root.store.delete(f"{bucket.name}/")
            except StorageError:
                shared.catalog.write(lambda tx: self._bring_back(tx, row))
                raise
        shared.trash_waits.set()
        # Whatever the store still shows there is hidden, until the bucket is created again.
        if delete_type is DeleteType.ALLUXIO_ONLY or self._stands(bucket.name, certain=True):
            whiteout = Whiteout(bucket.id, None, root.generation)
            shared.catalog.write(
                lambda tx: tx.put(keys.hidden_bucket_row(bucket.name), encode(whiteout))
            )
        shared.track(BucketDeleted(bucket.name, delete_type.value))
        return delete_type

    @staticmethod
    def _delete_row(tx: Transaction, bucket: Bucket, began: int) -> Bucket:
        """Remove the row, unless something came in since the bucket was seen empty."""
        catalog.check_bucket(tx, bucket)
        for prefix in (keys.intent_row(bucket.id, ""), keys.dirty_row(bucket.id, "")):
            if next(iter(tx.scan(prefix, keys.end(prefix))), None) is not None:
                raise BucketNotEmpty(BucketName=bucket.name)
        # Records left from before are of objects that vanished from the under store.
        for _, record in catalog.rows(tx, keys.object_row(bucket.id, ""), Record):
            if record.seq > began:
                raise BucketNotEmpty(BucketName=bucket.name)
        current = catalog.get_bucket(tx, bucket.name)
        assert current is not None
        tx.delete(keys.bucket_row(bucket.name))
        tx.delete(keys.deleted_row(bucket.id))
        tx.delete(keys.changed_row(bucket.id))
        catalog.discard(tx, catalog.next_seq(tx), Trash("", bucket_id=bucket.id))
        return current

    @staticmethod
    def _bring_back(tx: Transaction, bucket: Bucket) -> None:
        if catalog.get_bucket(tx, bucket.name) is None:
            tx.put(keys.bucket_row(bucket.name), encode(bucket))

    def set_tags(self, bucket: Bucket, tags: dict[str, str]) -> None:
        """Replace the tags of a bucket. Raises NoSuchBucket."""

        def change(tx: Transaction) -> None:
            catalog.check_bucket(tx, bucket)
            current = catalog.get_bucket(tx, bucket.name)
            assert current is not None
            tx.put(
                keys.bucket_row(bucket.name), encode(msgspec.structs.replace(current, tags=tags))
            )

        self._shared.catalog.write(change)


def _name(entry: ObjectInfo | CommonPrefix) -> str:
    """Give the directory name of a top-level entry, "" for a file at the root."""
    name = entry.prefix if isinstance(entry, CommonPrefix) else entry.key
    return name[:-1] if name.endswith("/") else ""
