"""Forebay: builds everything from a configuration, opens it and closes it; no behaviour."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from forebay.cache.claims import Claims
from forebay.cache.fetch import Fetches
from forebay.catalog import keys
from forebay.catalog.catalog import Catalog
from forebay.config import Config
from forebay.errors import StorageError
from forebay.making import metadata_store
from forebay.objects.buckets import Buckets
from forebay.objects.copies import Copies
from forebay.objects.delete import Deletes
from forebay.objects.expiry import Expiry
from forebay.objects.explain import Explain
from forebay.objects.free import Free
from forebay.objects.housekeeping import Housekeeping, Turn
from forebay.objects.listing import Listings
from forebay.objects.loading import Loading
from forebay.objects.loads import Loads
from forebay.objects.mount_table import MountTable
from forebay.objects.mounting import Mounting
from forebay.objects.mounts import Mounts
from forebay.objects.owners import Owner
from forebay.objects.persist import Persist, PersistWorkers
from forebay.objects.pins import Pins
from forebay.objects.read import Reads
from forebay.objects.recovery import Recovered
from forebay.objects.recovery import recover as settle_dead
from forebay.objects.shared import Shared, log
from forebay.objects.tiers import Role, Tiers
from forebay.objects.unpersisted import Unpersisted
from forebay.objects.uploads import Uploads
from forebay.objects.write import Writes
from forebay.plugins import Plugins
from forebay.stores.metadata import MetadataStore


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What a start found: whether several processes may serve it, and what was in flight."""

    shared_between_processes: bool
    private: tuple[str, ...]
    """What only one process can use, by its place in the configuration."""
    recovered: Recovered


class Forebay:
    """One namespace, open: recovered when the constructor returns, at work after `start`.

    `plugins` are plugin objects beside the installed ones. Raises ConfigurationError with
    every fault that opening shows, PluginError, StorageError. Where several processes open the
    same configuration, `role` says what this one does behind the requests.
    """

    def __init__(
        self, config: Config, *, plugins: Sequence[object] = (), role: Role = Role.ALONE
    ) -> None:
        self.config = config
        self.role = role
        self.launch_user = _launch_user()
        self._started = False
        self._before = ExitStack()
        with ExitStack() as stack:
            self.plugins = Plugins(blocked=config.plugins_blocked, extra=plugins)
            self.hooks = self.plugins.hooks
            if config.state:
                Path(config.state).mkdir(parents=True, exist_ok=True, mode=0o700)
            metadata: MetadataStore = metadata_store(config).make(self.plugins)
            stack.callback(metadata.close)
            self.catalog = Catalog(metadata)
            self._table = MountTable(config, self.catalog, self.plugins)
            stack.callback(self._table.close)
            self._tiers = Tiers(config, self.plugins, role, lambda: self._shared)
            self.cache = self._tiers.cache
            stack.callback(self.cache.close)
            fetches = self._fetches(stack)
            owner = Owner(self.catalog, config.state)
            stack.callback(owner.close)
            mounts = self._table.mounts
            self._shared = Shared(
                config, self.catalog, self.cache, fetches, mounts, self.hooks, owner
            )
            self._table.attach(self._shared)
            self._build()
            self.recovered = settle_dead(self._shared)
            self._closing = stack.pop_all()

    def _build(self) -> None:
        shared = self._shared
        self.mounting = Mounting(shared, self._table)
        self.reads = Reads(shared)
        self.writes = Writes(shared)
        self.copies = Copies(shared, self.reads, self.writes)
        self.deletes = Deletes(shared)
        self.listings = Listings(shared)
        self.buckets = Buckets(shared, self.listings, self.deletes)
        self.uploads = Uploads(shared, self.writes, self.reads)
        self.persist = Persist(shared, self.reads, self.writes)
        self.unpersisted = Unpersisted(shared, self.buckets)
        self.free = Free(shared, self.buckets)
        self.pins = Pins(shared, self.buckets)
        shared.pinned = self.pins.pins_segment
        self.explain = Explain(shared, self.buckets, self.listings, self.unpersisted, self.pins)
        self._expiry = Expiry(shared, self.pins, self.free, self.deletes)
        self.loads = Loads(shared, self.buckets)
        self.loading = Loading(shared, self.buckets, self.listings, self.reads)
        self.housekeeping = Housekeeping(shared, self.uploads, self._tiers.pass_on)
        self._turn = Turn(self.config.state)
        self._workers = PersistWorkers(shared, self.persist)

    @property
    def mounts(self) -> Mounts:
        """The mounts as they are now."""
        return self._shared.mounts

    @property
    def private(self) -> tuple[str, ...]:
        """What cannot be shared between processes, by its place in the configuration."""
        found = [] if self.catalog.shared_between_processes else ["metadata"]
        found += [
            f"mounts.{mount.config.path}"
            for mount in self.mounts
            if not mount.store.capabilities.shared_between_processes
        ]
        found += [f"cache.tiers.{name}" for name in self._tiers.private]
        return tuple(found)

    @property
    def ready(self) -> bool:
        """Whether requests can be answered: started, and the catalog answers."""
        try:
            return self._started and self.catalog.read(lambda s: s.get(keys.FORMAT)) is not None
        except StorageError as failure:
            log.warning("not ready: the catalog does not answer: %s", failure)
            return False

    def start(self) -> None:
        """Begin the work behind the requests: persisting, clean-up; tell plugins.

        In the housekeeping process clean-up and loads alone, when an earlier one has ended.
        """
        if self.role is Role.HOUSEKEEPING:
            self._table.start()
            parts = (self._tiers, self.housekeeping, self.loading, self._expiry)
            self._turn.wait(*(part.start for part in parts))
            return
        self._started = True
        self._table.start()
        self._tiers.start()
        self.housekeeping.start()
        self._workers.start()
        if self.role is Role.ALONE:
            self.loading.start()
            self._expiry.start()
        self.hooks.startup(forebay=self)

    def before_close(self, end: Callable[[], object]) -> None:
        """Have `end` called when the namespace is about to be closed, the last one first."""
        self._before.callback(end)

    def close(self) -> None:
        """End the work and close every store; what was acknowledged needs nothing more."""
        try:
            self._before.close()
            if self._started:
                self._started = False
                self.hooks.shutdown(forebay=self)
        finally:
            self._turn.stop()
            self._expiry.stop()
            self.loading.stop()
            self._workers.stop()
            self.housekeeping.stop()
            self._tiers.stop()
            self._turn.close()
            self._closing.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- opening ---------------------------------------------------------------------

    def _fetches(self, stack: ExitStack) -> Fetches:
        settings, state = self.config.cache, self.config.state
        fetches = Fetches(
            self.cache,
            Claims(Path(state) / "claims" if state else None),
            parallel=settings.parallel_reads,
            memory=settings.fetch_memory,
        )
        stack.callback(fetches.close)
        return fetches


def recover(config: Config) -> RecoveryReport:
    """Open and close everything once: settles what is in flight and finds every fault.

    Called by the parent of several worker processes before it forks; nothing stays open.
    """
    forebay = Forebay(config)
    try:
        return RecoveryReport(not forebay.private, forebay.private, forebay.recovered)
    finally:
        forebay.close()


def _launch_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
