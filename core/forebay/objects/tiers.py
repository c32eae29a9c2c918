"""The cache as it is configured: its tiers, and who of a node's processes evicts from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from enum import Enum
from pathlib import Path

from forebay.cache.cache import Cache
from forebay.cache.notes import Listener, Messenger
from forebay.cache.residency import Residency, TierReport
from forebay.cache.room import FileRoom, RoomCounter
from forebay.cache.tier import Tier, log_health
from forebay.config import Config, TierConfig
from forebay.events import PageCorrupt, TierFailed, TierRecovered
from forebay.making import eviction_policy, page_store
from forebay.objects.housekeeping import evictable
from forebay.objects.residency import place_of
from forebay.objects.shared import Shared
from forebay.plugins import Plugins
from forebay.types import PageId

SOCKET = "housekeeping.sock"


class Role(Enum):
    """What a process of a node does: everything, requests alone, or what is behind them."""

    ALONE = "alone"
    WORKER = "worker"
    HOUSEKEEPING = "housekeeping"


class Tiers:
    """Opens the tiers; `cache` is what they are to everybody else.

    `private` names the tiers that other processes cannot use.
    """

    cache: Cache
    private: tuple[str, ...]

    def __init__(
        self, config: Config, plugins: Plugins, role: Role, shared: Callable[[], Shared]
    ) -> None:
        """Open the page stores; `shared` is asked when there is something to decide."""
        self._config = config
        self._plugins = plugins
        self._shared = shared
        self._address = Path(config.state, SOCKET)
        names = [settings.name for settings in config.cache.tiers]
        self._messenger = Messenger(self._address, names) if role is Role.WORKER else None
        self._listener: Listener | None = None
        self._tiers: list[Tier] = []
        private: list[str] = []
        with ExitStack() as opened:
            for number, settings in enumerate(config.cache.tiers):
                self._tiers.append(self._tier(number, settings, private))
                opened.callback(self._tiers[-1].close)
            opened.pop_all()
        self.private = tuple(private)
        if self._messenger is None:
            self._residency: Residency | None = Residency(
                self._tiers,
                mount_of=self._mount_of,
                quotas=self._quotas,
                on_corrupt=self._corrupt,
            )
        else:
            self._residency = None
            self._messenger.own = self._own_report
        self.cache = Cache(
            self._tiers,
            page_size=config.cache.page_size,
            on_corrupt=self._corrupt,
            residency=self._messenger or self._residency,
        )
        self._listens = role is Role.HOUSEKEEPING

    @property
    def pass_on(self) -> Callable[[], None] | None:
        """How a worker says that there is trash; None for who cleans up by itself."""
        return None if self._messenger is None else self._messenger.trash_waits

    def start(self) -> None:
        """Begin to move pages, or to tell who does."""
        if self._messenger is not None:
            self._messenger.start()
        if self._residency is not None:
            if self._listens:
                trash = self._shared().trash_waits
                self._listener = Listener(self._address, self._tiers, self._residency, trash)
                self._listener.start()
            self._residency.start()

    def stop(self) -> None:
        """End that; the cache stays open."""
        if self._listener is not None:
            self._listener.stop()
        if self._residency is not None:
            self._residency.stop()
        if self._messenger is not None:
            self._messenger.stop()

    def _tier(self, number: int, settings: TierConfig, private: list[str]) -> Tier:
        policy = eviction_policy(settings).factory(self._plugins)
        store = page_store(self._config, settings).make(self._plugins)
        room = RoomCounter()
        if store.shared_between_processes:
            place = settings.path or os.path.join(self._config.state, "room", settings.name)
            room = FileRoom(place, min_free=settings.min_free)
        else:
            private.append(settings.name)
        tier = Tier(
            settings.name,
            store,
            policy,
            capacity=settings.capacity,
            room=room,
            evictable=lambda page: evictable(self._shared(), page),
            pinned=lambda segment: self._shared().pinned(segment),
            watermarks=(settings.high_watermark, settings.low_watermark),
            tell=None if self._messenger is None else self._messenger.of_tier(number),
        )
        tier.on_health = self._health
        return tier

    def _mount_of(self, segment: str) -> str | None:
        place = place_of(self._shared(), segment)
        return None if place is None else place.mount.config.path

    def _quotas(self) -> dict[str, int]:
        configs = (mount.config for mount in self._shared().mounts)
        return {one.path: one.cache_quota for one in configs if one.cache_quota is not None}

    def _own_report(self) -> list[TierReport]:
        rooms = [(tier, tier.room()) for tier in self._tiers]
        return [
            TierReport(tier.name, tier.capacity, room.used, room.pages, failure=tier.failure)
            for tier, room in rooms
        ]

    def _corrupt(self, tier: str, page: PageId, may_go: bool) -> None:
        self._shared().track(PageCorrupt(tier, page.segment, not may_go))

    def _health(self, tier: Tier, failure: str) -> None:
        log_health(tier, failure)
        self._shared().track(
            TierFailed(tier.name, failure) if failure else TierRecovered(tier.name)
        )
