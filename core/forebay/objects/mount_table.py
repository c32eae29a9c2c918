"""The mount table of one process: brought up to what the configuration and the catalog say.

The configuration's mounts are fixed; the others are rows of the catalog, and a number beside
them counts their changes. Every process reads that number several times a second, opens and
lets go of stores as the rows say, replaces the whole table, and notes which version it has.
What was begun with an older table is found out in the transaction that would commit it (see
`Mount.check_mounted`), so no moment needs all processes to agree.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.catalog import Catalog
from forebay.catalog.records import MountedRow, MountRow, Seen, encode
from forebay.config import Config, MountConfig, read_mount
from forebay.errors import ConfigurationError, StorageError
from forebay.events import Event
from forebay.lanes import SlowStore
from forebay.making import under_store
from forebay.objects import breakers
from forebay.objects.mounts import Mount, Mounts, split_path
from forebay.objects.opening import Opener, UnreachableStore, first_tries, told
from forebay.objects.recovery import mount_generation
from forebay.objects.shared import Shared, log
from forebay.plugins import Plugins
from forebay.settings import Reading
from forebay.stores.metadata import Snapshot, Transaction
from forebay.stores.under import UnderStore

POLL = 0.1
"""Seconds between two looks at the number of changes."""
PATIENCE = 10.0
"""Seconds that a start, or a change, waits for under stores that neither open nor fail."""
IN_TURN = 0.25
"""Seconds for which stores are opened one after another, before the next goes on beside it."""


class _Hold:
    """Lives as long as somebody may use a store."""

    __slots__ = ("__weakref__",)


@dataclass(slots=True, eq=False)
class Place:
    """What is mounted at one path; `row` is None for a configured mount."""

    config: MountConfig
    row: MountedRow | None
    generation: int = 0
    opener: Opener | None = None
    store: UnderStore | None = None
    hold: _Hold | None = None
    settled: bool = False
    """Whether `generation` is the one of the open store."""


class MountTable:
    """The mount table of one process, kept up to date.

    Opens the under stores of `config` and of the catalog. Raises ConfigurationError with the
    faults of all configured mounts; a store that is down is tried again in the background.
    """

    def __init__(self, config: Config, catalog_: Catalog, plugins: Plugins) -> None:
        self._config = config
        self._catalog = catalog_
        self._plugins = plugins
        self._shared: Shared | None = None
        self._lock = threading.RLock()
        self._refreshing = threading.Lock()
        self._stopping = threading.Event()
        self._started = False
        self._places: dict[str, Place] = {}
        self._finalizers: list[weakref.finalize[..., _Hold]] = []
        self._retired: deque[UnderStore] = deque()
        self._thread = threading.Thread(target=self._watch, name="mounts", daemon=True)
        try:
            self.mounts = self._first_table()
        except BaseException:
            self.close()
            raise

    def attach(self, shared: Shared) -> None:
        """Have `shared.mounts` replaced at every change."""
        with self._lock:
            self._shared = shared
            self._install(self.mounts.version)

    def start(self) -> None:
        """Take part in changes: from now on they wait for this process."""
        self._started = True
        self._acknowledge()
        self._thread.start()

    def close(self) -> None:
        """Close every store; takes no part in changes any more."""
        self._stopping.set()
        if self._started:
            self._thread.join()
            self._started = False
            owner = self._of_shared.owner.number
            try:
                self._catalog.write(lambda tx: tx.delete(keys.seen_row(owner)), durable=False)
            except StorageError as failure:
                log.warning("the note of this process goes with its owner: %s", failure)
        with self._lock:
            places, self._places = list(self._places.values()), {}
        for place in places:
            if place.opener is not None:
                place.opener.stop(0.2)
        for finalizer in self._finalizers:
            finalizer()
        self._close_retired()

    @property
    def _of_shared(self) -> Shared:
        assert self._shared is not None
        return self._shared

    # --- the table ------------------------------------------------------------------

    def places(self) -> dict[str, Place]:
        """Give what is mounted, by path."""
        with self._lock:
            return dict(self._places)

    def refresh(self) -> None:
        """Bring this process to what the catalog says is mounted."""
        with self._refreshing:
            self._refresh({})

    def add(self, commit: Callable[[], tuple[MountedRow, int]], store: UnderStore) -> int:
        """Let `commit` write the row of a mount, and put its open store to use.

        Gives the version of the table since then. The store is closed if nothing came of it.
        """
        ready = {-1: store}
        try:
            with self._refreshing:
                row, version = commit()
                ready = {row.generation: store}
                self._refresh(ready)
        finally:
            # Nothing was mounted, or the table could not be read again just now.
            for unused in ready.values():
                unused.close()
        return version

    def _refresh(self, ready: dict[int, UnderStore]) -> None:
        """Bring the table up to date; `ready` are open stores by generation, taken when used."""
        version, rows = self._catalog.read(_table)
        if version == self.mounts.version or self._stopping.is_set():
            return
        with self._lock:
            gone = [
                path
                for path, place in self._places.items()
                if place.row is not None
                and (path not in rows or rows[path].generation != place.generation)
            ]
            lost = [self._places.pop(path) for path in gone]
        new = self._places_of({p: r for p, r in rows.items() if p not in self._places}, ready)
        with self._lock:
            self._places.update(new)
            self._install(version)
        for place in lost:
            if place.opener is not None:
                place.opener.stop()
        self._of_shared.void_waits.set()
        self._acknowledge()

    def _first_table(self) -> Mounts:
        version, rows = self._catalog.read(_table)
        for path in rows.keys() & self._config.mounts.keys():
            log.warning("%s is configured; what was mounted there at run time is ignored", path)
        end = time.monotonic() + PATIENCE
        for path, config in self._config.mounts.items():
            place = self._places[path] = Place(config, None)
            place.opener = self._opener(path, place, partial(self.open, config))
        openers = {p: place.opener for p, place in self._places.items() if place.opener}
        first_tries([*openers.values()], end - time.monotonic())
        faults = []
        for path, opener in openers.items():
            match opener.fault:
                case None | StorageError():
                    pass
                case fault:
                    faults += told(path, fault)
                    if not isinstance(fault, ConfigurationError):
                        raise fault
        if faults:
            raise ConfigurationError(*faults)
        self._places |= self._places_of(
            {p: r for p, r in rows.items() if p not in self._places}, {}
        )
        return self._build(version)

    def _places_of(
        self, rows: Mapping[str, MountedRow], ready: dict[int, UnderStore]
    ) -> dict[str, Place]:
        """Open what rows of the catalog speak of, or begin to."""
        places: dict[str, Place] = {}
        for path, row in rows.items():
            place = places[path] = Place(self._read_row(path, row), row, row.generation)
            store = ready.pop(row.generation, None)
            if store is not None:
                self._give(place, store)
                place.settled = True
            else:
                place.opener = self._opener(path, place, partial(self._open_row, place, path, row))
        first_tries([p.opener for p in places.values() if p.opener], PATIENCE / 2)
        return places

    def _opener(self, path: str, place: Place, open_store: Callable[[], UnderStore]) -> Opener:
        opener = Opener(path, open_store, partial(self._late, path, place))
        opener.wait(IN_TURN)
        return opener

    def _late(self, path: str, place: Place) -> None:
        """Put a store to use that opened after its place was part of the table."""
        with self._lock:
            if self._places.get(path) is place and self._shared is not None:
                try:
                    self._install(self.mounts.version)
                except StorageError as failure:
                    log.warning("%s comes with the next change: %s", path, failure)

    def _install(self, version: int) -> None:
        self.mounts = self._build(version)
        self._of_shared.mounts = self.mounts

    def _build(self, version: int) -> Mounts:
        made = {}
        for path, place in self._places.items():
            if place.store is None and place.opener is not None:
                store = place.opener.take()
                if store is not None:
                    self._give(place, store)
            if not place.settled:
                self._generate(path, place)
                place.settled = place.store is not None
            using = place.store
            if using is None:
                assert place.opener is not None
                using = UnreachableStore(place.opener.reason)
            bucket, prefix = split_path(path)
            made[path] = Mount(
                place.config, using, place.generation, bucket, prefix, version, place.hold
            )
        return Mounts(made, version)

    def _give(self, place: Place, store: UnderStore) -> None:
        place.store, place.hold = store, _Hold()
        finalizer = weakref.finalize(place.hold, self._retired.append, store)
        finalizer.atexit = False
        self._finalizers = [f for f in self._finalizers if f.alive]
        self._finalizers.append(finalizer)

    def _generate(self, path: str, place: Place) -> None:
        """Find out of which generation the records of a mount are, now that its store is known."""
        persistent = place.store is None or place.store.capabilities.persistent
        if place.row is None:
            place.generation = self._catalog.write(
                partial(mount_generation, path, place.config.under, persistent)
            )
        elif not persistent:
            place.row = self._catalog.write(partial(_forgotten, path, place.row))
            place.generation = place.row.generation

    # --- opening -----------------------------------------------------------------------

    def read(self, path: str, table: dict[str, Any], folder: Path) -> MountConfig:
        """Read what is to be mounted at a path. Raises ConfigurationError with every fault."""
        reading = Reading(folder)
        if path.strip("/") == "":
            raise ConfigurationError("mounts./: the root mount is part of the configuration")
        config = read_mount(reading, path, table, self._config.properties, folder)
        if reading.faults or config is None:
            raise ConfigurationError(*reading.faults)
        return config

    def _read_row(self, path: str, row: MountedRow) -> MountConfig:
        """Read a row; what cannot be read any more stands in the table and is not reachable."""
        table = json.loads(row.table)
        try:
            return self.read(path, table, Path(row.folder))
        except ConfigurationError:
            return MountConfig(path, str(table.get("under", "")), read_only=True)

    def _open_row(self, place: Place, path: str, row: MountedRow) -> UnderStore:
        place.config = self.read(path, json.loads(row.table), Path(row.folder))
        return self.open(place.config)

    def open(self, config: MountConfig) -> UnderStore:
        """Open an under store. Raises ConfigurationError, and Unavailable when it is down."""
        store: UnderStore = under_store(self._config, config).make(self._plugins)
        on_event = getattr(store, "on_event", None)
        if on_event is not None:
            on_event(self._track)
        if store.capabilities.local_files or not store.capabilities.persistent:
            return store  # files and memory of this machine: nobody waits for them
        slow: Any = SlowStore(store, config.path)
        return slow  # type: ignore[no-any-return]

    def _track(self, event: Event) -> None:
        if self._shared is not None:
            breakers.note(self._shared, event)
            self._shared.track(event)

    # --- taking note ---------------------------------------------------------------------

    def _acknowledge(self) -> None:
        if self._started:
            owner = self._of_shared.owner.number
            seen = Seen(self.mounts.version, os.getpid(), socket.gethostname())
            self._catalog.write(
                lambda tx: tx.put(keys.seen_row(owner), encode(seen)), durable=False
            )

    def _watch(self) -> None:
        while not self._stopping.wait(POLL):
            try:
                self.refresh()
            except StorageError as failure:
                log.warning("changes of the mounts are seen later: %s", failure)
            except Exception:
                log.exception("changes of the mounts are seen later")
            self._close_retired()

    def _close_retired(self) -> None:
        """Close stores whose last request has ended."""
        while self._retired:
            store = self._retired.popleft()
            try:
                store.close()
            except StorageError as failure:
                log.warning("an under store did not close in good order: %s", failure)


def _table(snapshot: Snapshot) -> tuple[int, dict[str, MountedRow]]:
    found = catalog.rows(snapshot, keys.MOUNTED, MountedRow)
    return catalog.get_number(snapshot, keys.MOUNTS), {r[1:].decode(): row for r, row in found}


def seen_by(snapshot: Snapshot) -> list[tuple[int, Seen]]:
    """Give which version of the table each process works with, by its owner number."""
    return [
        (int.from_bytes(row[1:], "big"), seen)
        for row, seen in catalog.rows(snapshot, keys.SEEN, Seen)
    ]


def _forgotten(path: str, row: MountedRow, tx: Transaction) -> MountedRow:
    """Begin a new generation of a mount whose store lost everything with the process before."""
    current = catalog.get(tx, keys.mounted_row(path), MountedRow)
    if current != row:
        return row
    row = msgspec.structs.replace(row, generation=catalog.next_seq(tx))
    known = catalog.get(tx, keys.mount_row(path), MountRow)
    tx.put(keys.mount_row(path), encode(MountRow(known.uri if known else "", row.generation)))
    tx.put(keys.mounted_row(path), encode(row))
    return row
