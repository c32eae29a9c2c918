"""Deleting objects: the two delete types."""

from __future__ import annotations

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Intent, Record, Whiteout, encode
from forebay.errors import ConditionFailed, NotFound, ServiceUnavailable, StorageError, Unavailable
from forebay.events import ObjectDeleted
from forebay.objects import intents
from forebay.objects.mounts import Mount
from forebay.objects.shared import Shared, store_is_down
from forebay.objects.sync import TRIES, look
from forebay.stores.metadata import Transaction
from forebay.types import DeleteType, WriteConditions


class Deletes:
    """Deletes of objects."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def delete_type(self, mount: Mount, key: str, requested: DeleteType | None) -> DeleteType:
        """Choose the delete type of one delete."""
        asked = requested if mount.config.allow_requested_types else None
        chosen = self._shared.hooks.delete_type(mount=mount.config, key=key, requested=asked)
        return chosen or mount.config.delete_type

    def delete(
        self,
        bucket: Bucket,
        key: str,
        *,
        if_match: str | None = None,
        requested: DeleteType | None = None,
    ) -> DeleteType:
        """Take an object out of the namespace, and with ALLUXIO_AND_UFS out of the under store.

        A missing object is success. Raises ConditionFailed, ConditionalRequestConflict,
        NoSuchKey (If-Match on nothing), AccessDenied, and ServiceUnavailable when the under
        store cannot be reached; nothing has changed then.
        """
        shared = self._shared
        mount = shared.mounts.find(bucket.name, key)
        mount.check_writable()
        delete_type = self.delete_type(mount, key, requested)
        conditions = WriteConditions(if_match=if_match)
        current = look(shared, bucket, key, certain=True)
        if current is None and intents.clear(shared, bucket, key):
            # A write that failed might have been published after all.
            current = look(shared, bucket, key, certain=True)
        intents.check_conditions(conditions, current)
        if current is None:
            # A write of the key may be under way; what it will leave is later than this delete.
            return delete_type
        if delete_type is DeleteType.ALLUXIO_ONLY:
            self._hide(bucket, key, mount, conditions)
        else:
            self._remove(bucket, key, mount, conditions)
        shared.trash_waits.set()
        shared.track(ObjectDeleted(bucket.name, key, delete_type.value))
        return delete_type

    def expire(self, bucket: Bucket, key: str, object_id: str) -> bool:
        """Delete one version of an object everywhere, and never another; tell whether it went.

        The under store is asked first: what was changed outside is another version. Raises
        AccessDenied, and ServiceUnavailable when the under store cannot be reached.
        """
        shared = self._shared
        mount = shared.mounts.find(bucket.name, key)
        mount.check_writable()
        current = look(shared, bucket, key, force=True)
        if current is None or current.object_id != object_id:
            return False
        try:
            self._remove(bucket, key, mount, WriteConditions(), only=object_id)
        except ConditionFailed:
            return False
        shared.trash_waits.set()
        shared.track(ObjectDeleted(bucket.name, key, DeleteType.ALLUXIO_AND_UFS.value))
        return True

    def _remove(
        self,
        bucket: Bucket,
        key: str,
        mount: Mount,
        conditions: WriteConditions,
        *,
        only: str | None = None,
    ) -> None:
        """Delete in the under store first; when that fails, nothing has changed.

        With `only` it has to be this version: raises ConditionFailed where it is not.
        """
        shared = self._shared

        def prepare(tx: Transaction, seq: int, current: Record | None) -> None:
            if only is not None and (current is None or current.object_id != only):
                raise ConditionFailed("the object was overwritten")

        intent = intents.take(
            shared, bucket, key, mount=mount, conditions=conditions, prepare=prepare
        )
        try:
            mount.store.delete(mount.under_key(bucket.name, key))
        except StorageError as failure:
            try:
                shared.catalog.write(lambda tx: intents.drop(tx, bucket.id, key, intent))
            except StorageError:
                intents.leave(shared, bucket, key, intent)
                raise
            if isinstance(failure, Unavailable):
                raise store_is_down(mount.config.path, failure) from failure
            raise

        def commit(tx: Transaction) -> None:
            intents.drop(tx, bucket.id, key, intent)
            current = catalog.get_record(tx, bucket.id, key)
            # A later write that only the cache holds was committed meanwhile: it stays.
            if current is not None and current.seq <= intent.seq:
                catalog.remove(tx, bucket, key, current, intent.seq)

        try:
            shared.catalog.write(commit, durable=shared.sync_writes)
        except BaseException:
            intents.leave(shared, bucket, key, intent)
            raise

    def _hide(self, bucket: Bucket, key: str, mount: Mount, conditions: WriteConditions) -> None:
        """Remove from namespace and cache; a whiteout hides what the under store keeps."""
        shared = self._shared
        under_key = mount.under_key(bucket.name, key)

        def attempt(fingerprint: str | None, seen: Record, held: Intent | None) -> bool:
            def commit(tx: Transaction) -> bool:
                catalog.check_bucket(tx, bucket)
                mount.check_mounted(tx, bucket.name, key)
                intent = intents.check_free(shared, tx, bucket.id, key, conditions)
                current = catalog.get_record(tx, bucket.id, key)
                if current is None or current.seq != seen.seq or current.state is not seen.state:
                    return False
                if held is not None and intent != held:
                    # A write ended since the store was asked: it may show another object now.
                    return False
                seq = catalog.next_seq(tx)
                catalog.remove(tx, bucket, key, current, seq)
                if fingerprint is not None or intent is not None:
                    whiteout = Whiteout(seq, fingerprint, mount.generation)
                    tx.put(keys.whiteout_row(bucket.name, key), encode(whiteout))
                return True

            return shared.catalog.write(commit, durable=shared.sync_writes)

        for _ in range(TRIES):
            seen = look(shared, bucket, key, certain=True)
            intents.check_conditions(conditions, seen)
            if seen is None:
                return
            held = shared.catalog.read(lambda s: catalog.get_intent(s, bucket.id, key))
            try:
                fingerprint: str | None = mount.store.head(under_key).fingerprint
            except NotFound:
                fingerprint = None
            except Unavailable as failure:
                if seen.fingerprint is None:
                    # What the store may still show under this key could not be hidden.
                    raise store_is_down(mount.config.path, failure) from failure
                fingerprint = seen.fingerprint
            if attempt(fingerprint, seen, held):
                return
        raise ServiceUnavailable("the object changes faster than it can be deleted")
