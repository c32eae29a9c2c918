"""How operators mount and unmount under stores while requests are served."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import (
    Bucket,
    Job,
    MountedRow,
    MountRow,
    Record,
    Trash,
    Upload,
    encode,
)
from forebay.config import MountConfig
from forebay.errors import ConfigurationError, MountBusy, NotFound, StorageError
from forebay.events import MountAdded, MountRemoved
from forebay.objects.breakers import OpenBreaker, open_breakers
from forebay.objects.mount_table import MountTable, Place, seen_by
from forebay.objects.mounts import mount_points, split_path
from forebay.objects.shared import Shared, log, now_ms
from forebay.settings import hide_password, hide_secrets, nearest
from forebay.stores.metadata import Snapshot, Transaction
from forebay.stores.under import UnderStore

ALL = 10.0
"""Seconds that a change waits for the other processes to take note of it."""


@dataclass(frozen=True, slots=True)
class MountState:
    """A mount as an operator sees it.

    `options` are shown with ``…`` in place of secrets. `reason` says why its under store is
    not open, has not answered since the start, or is left alone after failures; "" when it
    answers. `since` is when it came at run time (ms since 1970), 0 for a configured one.
    """

    config: MountConfig
    options: Mapping[str, Any]
    configured: bool
    reason: str
    since: int

    def shown(self) -> dict[str, Any]:
        """Give all of it as plain values, fit for JSON and free of secrets."""
        config = self.config
        return {
            "path": config.path,
            "under": hide_password(config.under),
            "options": dict(self.options),
            "write_type": config.write_type.value,
            "delete_type": config.delete_type.value,
            "metadata_sync": config.metadata_sync,
            "negative_sync": config.negative_sync,
            "read_only": config.read_only,
            "allow_requested_types": config.allow_requested_types,
            "plugin": config.plugin,
            "configured": self.configured,
            "reachable": not self.reason,
            "reason": self.reason,
            "since": self.since,
        }


@dataclass(frozen=True, slots=True)
class MountChange:
    """What `mount` or `unmount` did; `behind` names the processes that have not noticed yet."""

    path: str
    behind: tuple[str, ...]


class Mounting:
    """The operators' way to change what is mounted, in all processes at once."""

    def __init__(self, shared: Shared, table: MountTable) -> None:
        self._shared = shared
        self._table = table

    def list(self) -> list[MountState]:
        """Give every mount by path, as this process has it."""
        alone = open_breakers(self._shared)
        return [self._state(place, alone) for _, place in sorted(self._table.places().items())]

    def _state(self, place: Place, alone: Iterable[OpenBreaker]) -> MountState:
        reason = ""
        if place.opener is not None:
            reason = place.opener.silent if place.store else place.opener.reason
        reason = reason or "; ".join(
            f"{one.operations} are left alone: {one.reason}"
            for one in alone
            if one.guards(place.config.under)
        )
        options = place.config.options
        if place.row is not None:
            # As they were asked for: references to secrets stay references.
            options = json.loads(place.row.table).get("options", {})
        since = place.row.since if place.row else 0
        return MountState(place.config, hide_secrets(options), place.row is None, reason, since)

    def mount(
        self,
        path: str,
        table: Mapping[str, Any],
        *,
        folder: Path | None = None,
        wait: float = ALL,
    ) -> MountChange:
        """Mount an under store at `path`, in all processes and after every restart.

        `table` has the keys of ``[mounts."/path"]`` in the configuration; ``{ env = … }`` and
        ``{ file = … }`` are kept as they are and resolved whenever the store is opened.
        Relative paths begin at `folder`. The store is opened and asked for its first entry
        before anything changes. Waits up to `wait` seconds for the other processes.

        Raises ConfigurationError (also for a path that is taken), StorageError (the store
        cannot be reached, or refuses us) and MountBusy while objects below the path are in no
        under store yet.
        """
        folder = folder or Path.cwd()
        config = self._table.read(path, dict(table), folder)
        if config.path in self._table.places():
            raise ConfigurationError(f"{config.path} is mounted already; unmount it first")
        _check_directory(config)
        store = self._table.open(config)
        try:
            self._try_out(config, store)
            row = MountedRow(_json(config.path, table), str(folder), 0, now_ms())
        except BaseException:
            store.close()
            raise
        version = self._table.add(
            lambda: self._shared.catalog.write(partial(self._add, config, row)), store
        )
        self._shared.track(MountAdded(config.path, hide_password(config.under)))
        return MountChange(config.path, self._wait_for_all(version, wait))

    def unmount(
        self, path: str, *, force: bool = False, drain: float = 0.0, wait: float = ALL
    ) -> MountChange:
        """Take the mount at `path` out of the namespace and its pages out of the cache.

        The under store keeps all it has. Objects that only the cache has, and unfinished
        uploads, refuse it: up to `drain` seconds the former are waited for while they are
        being persisted; with `force` they are lost, and the uploads go to whatever is mounted
        there when they are completed. Waits up to `wait` seconds for the other processes.

        Raises ConfigurationError (no such mount, or a configured one), MountBusy, StorageError.
        """
        path = "/" + path.strip("/")
        places = self._table.places()
        place = places.get(path)
        known = [p for p, other in places.items() if other.row is not None]
        if place is None:
            raise ConfigurationError(f"nothing is mounted at {path}{nearest(path, known)}")
        if place.row is None:
            raise ConfigurationError(
                f"the mount {path} is part of the configuration; remove it there and reload"
            )
        end = time.monotonic() + drain
        while True:
            try:
                # Asked before: functions of a transaction ask no store.
                stands = self._stands_without(path)
                version = self._shared.catalog.write(
                    partial(self._remove, path, place.generation, stands, force)
                )
                break
            except _Draining as busy:
                if time.monotonic() > end:
                    raise MountBusy(*busy.args) from None
                self._shared.jobs_wait.set()
                time.sleep(0.05)
        self._table.refresh()
        self._shared.track(MountRemoved(path, force))
        return MountChange(path, self._wait_for_all(version, wait))

    def _wait_for_all(self, version: int, patience: float) -> tuple[str, ...]:
        """Wait until every living process works with a version; name those that do not."""
        end = time.monotonic() + patience
        while True:
            behind = [
                f"{seen.host} pid {seen.pid}"
                for owner, seen in self._shared.catalog.read(seen_by)
                if seen.version < version and self._shared.owner.alive(owner)
            ]
            if not behind or time.monotonic() > end:
                return tuple(behind)
            time.sleep(0.02)

    # --- the transactions of a change --------------------------------------------------

    def _add(self, config: MountConfig, row: MountedRow, tx: Transaction) -> tuple[MountedRow, int]:
        if tx.get(keys.mounted_row(config.path)) is not None:
            raise ConfigurationError(f"{config.path} is mounted already; unmount it first")
        name, prefix = split_path(config.path)
        bucket = catalog.get_bucket(tx, name or "")
        fixed = self._shared.config.mounts.keys()
        if bucket is not None and (waiting := _unpersisted(tx, bucket, config.path, fixed)):
            raise MountBusy(
                f"{len(waiting)} objects below {config.path} are in no under store yet;"
                " persist or delete them first"
            )
        if tx.get(keys.hidden_bucket_row(name or "")) is not None:
            if prefix:
                raise MountBusy(
                    f"the bucket {name} was deleted and hides what the under store keeps;"
                    " create it again first"
                )
            tx.delete(keys.hidden_bucket_row(name or ""))
        row = msgspec.structs.replace(row, generation=catalog.next_seq(tx))
        tx.put(keys.mount_row(config.path), encode(MountRow(config.under, row.generation)))
        tx.put(keys.mounted_row(config.path), encode(row))
        return row, _count_change(tx)

    def _remove(
        self, path: str, generation: int, stands: bool, force: bool, tx: Transaction
    ) -> int:
        row = catalog.get(tx, keys.mounted_row(path), MountedRow)
        if row is None or row.generation != generation:
            raise ConfigurationError(f"nothing is mounted at {path} any more")
        name, _ = split_path(path)
        bucket = catalog.get_bucket(tx, name or "")
        if bucket is not None and not force:
            _check_idle(tx, bucket, path, generation, self._shared.config.mounts.keys())
        tx.delete(keys.mounted_row(path))
        tx.delete(keys.mount_row(path))
        tx.put(keys.unmounted_row(generation), b"")
        root = catalog.get(tx, keys.mount_row("/"), MountRow)
        if root is not None:
            # So that what was mounted here is swept, by this process or after a restart.
            tx.put(keys.mount_row("/"), encode(msgspec.structs.replace(root, swept=False)))
        if bucket is not None and bucket.owner is None and not stands:
            others = [
                *self._shared.config.mounts,
                *(r[1:].decode() for r, _ in _scan(tx, keys.MOUNTED)),
            ]
            if not any(split_path(other)[0] == name for other in others):
                tx.delete(keys.bucket_row(bucket.name))
                tx.delete(keys.deleted_row(bucket.id))
                tx.delete(keys.changed_row(bucket.id))
                catalog.discard(tx, catalog.next_seq(tx), Trash("", bucket_id=bucket.id))
        return _count_change(tx)

    def _stands_without(self, path: str) -> bool:
        """Tell whether the bucket of a mount point is a directory of the root mount as well."""
        name, _ = split_path(path)
        try:
            return (
                next(iter(self._shared.mounts.root.store.list(f"{name}/", delimiter="/")), None)
                is not None
            )
        except NotFound:
            return False
        except StorageError as failure:
            log.warning("the bucket %s stays, the root mount cannot be asked: %s", name, failure)
            return True

    def _try_out(self, config: MountConfig, store: UnderStore) -> None:
        """See that a store answers, and that all processes of this catalog would see the same."""
        try:
            next(iter(store.list("", delimiter="/")), None)
        except NotFound as nothing:
            raise ConfigurationError(
                f"mounts.{config.path}.under: {hide_password(config.under)} is not there: {nothing}"
            ) from nothing
        own = self._shared.owner
        others = [
            owner
            for owner, _ in self._shared.catalog.read(seen_by)
            if owner != own.number and own.alive(owner)
        ]
        if others and not store.capabilities.shared_between_processes:
            raise ConfigurationError(
                f"mounts.{config.path}.under: {hide_password(config.under)} is seen by one process"
                f" only, and {len(others) + 1} serve; mount it with server.workers = 1"
            )


class _Draining(MountBusy):
    """Only objects that are being persisted stand in the way."""


def _check_directory(config: MountConfig) -> None:
    """Refuse a directory that is not there: opening would make it, where a typing error says."""
    parts = urlsplit(config.under)
    directory = unquote(parts.path)
    if parts.scheme == "file" and not os.path.isdir(directory):
        raise ConfigurationError(
            f"mounts.{config.path}.under: {directory} is no directory of the server's machine, or"
            " none that it may read; make it first, or correct the path"
        )


def _json(path: str, table: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(dict(table)).encode()
    except TypeError as error:
        raise ConfigurationError(f"mounts.{path}: {error}") from error


def _scan(snapshot: Snapshot, prefix: bytes) -> list[tuple[bytes, bytes]]:
    return list(snapshot.scan(prefix, keys.end(prefix)))


def _count_change(tx: Transaction) -> int:
    version = catalog.get_number(tx, keys.MOUNTS) + 1
    tx.put(keys.MOUNTS, keys.number(version))
    return version


def _below(tx: Transaction, bucket: Bucket, key: str, path: str, fixed: Collection[str]) -> bool:
    """Tell whether a mount at `path` would hold a key, mounts inside it left out."""
    points = list(mount_points(bucket.name, key))
    inner = (point for point in points if len(point) > len(path))
    return path in points and not any(
        point in fixed or tx.get(keys.mounted_row(point)) is not None for point in inner
    )


def _unpersisted(
    tx: Transaction, bucket: Bucket, path: str, fixed: Collection[str]
) -> list[tuple[str, Record]]:
    """Give the objects that are in no under store and that a mount at `path` holds, or would."""
    found = []
    for row, _ in _scan(tx, keys.dirty_row(bucket.id, split_path(path)[1])):
        key = keys.location(row).key
        record = catalog.get_record(tx, bucket.id, key)
        if record is None or not _below(tx, bucket, key, path, fixed):
            continue
        # What a forced unmount gave up is about to be swept.
        if tx.get(keys.unmounted_row(record.generation)) is None:
            found.append((key, record))
    return found


def _check_idle(
    tx: Transaction, bucket: Bucket, path: str, generation: int, fixed: Collection[str]
) -> None:
    """Raise MountBusy for what an unmount would lose."""
    waiting = stuck = 0
    for key, record in _unpersisted(tx, bucket, path, fixed):
        if record.generation == generation:
            job = catalog.get(tx, keys.job_row(bucket.id, key), Job)
            waiting, stuck = (waiting + 1, stuck) if job else (waiting, stuck + 1)
    under = keys.UPLOADS + keys.number(bucket.id) + split_path(path)[1].encode()
    uploads = sum(
        _below(tx, bucket, upload.key, path, fixed) for _, upload in catalog.rows(tx, under, Upload)
    )
    reasons = [
        f"{count} {what}"
        for count, what in (
            (stuck, "objects that are in no under store and are not going to be persisted"),
            (waiting, "objects that wait to be persisted"),
            (uploads, "unfinished uploads"),
        )
        if count
    ]
    if reasons:
        kind = MountBusy if stuck or uploads else _Draining
        raise kind(f"below {path} there are {' and '.join(reasons)}; drain, end, or force it")
