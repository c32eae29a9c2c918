"""Which pages lie on which tier of this node, and when they move: up, down, or out.

One process of a node has the residency, and it alone evicts. With one worker that is the worker
itself; with several it is the housekeeping process, to which the workers tell what they do.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from forebay.cache.stock import Resident, Tally
from forebay.cache.tier import Tier
from forebay.errors import Corrupt, StorageError
from forebay.stores.pages import SupportsVerify
from forebay.streams import BLOCK
from forebay.types import PageId

_log = logging.getLogger(__name__)

MOVED = 64 << 20
"""Bytes of the largest page that is moved between tiers; a larger one only goes."""
PROMOTED_AT = 2
"""Hits in a lower tier that bring a page up."""
REMEMBERED = 10_000
"""Evictions that are remembered, to say why a page is not there."""
_WAITING = 4096
"""Promotions, and pages that came and whose mount is not known yet, that wait at most."""
_LOOKS = 1000
"""Segments whose mount is looked for in one round because it was not found before."""
_ROUND = 1.0
"""Longest time between two rounds, in seconds."""
_FULL = 0.9
"""Below this share of what it is kept at, a lower tier takes every victim of an upper one."""
_TRIES = 20
"""Rounds in which the mount of a page is looked for; its object may not be committed yet."""
_SCRUB = 4 << 20
"""Bytes that are held against their checksums in each round."""
_PRIME = 10.0
"""Seconds between two listings of the shelves because a process was killed, at first."""
_PRIMED_AGAIN = 60.0
"""And at most: they double while what comes and goes hides what is right."""
_QUOTA = 0.95
"""Down to this share of its quota a mount is brought that is over it."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """Why a page left a tier: ``room``, ``quota`` or ``corrupt``; `at` in seconds since 1970."""

    tier: str
    why: str
    at: float
    hits: int


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """One page on one tier, and how often it was used there."""

    tier: str
    page: PageId
    size: int
    hits: int


@dataclass(frozen=True, slots=True)
class TierReport:
    """How a tier does: bytes, pages, what happened since the start; `failure` empty if well."""

    name: str
    capacity: int
    used: int
    pages: int
    tally: Tally = field(default_factory=Tally)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class MountReport:
    """What the cache holds of a mount (path, "" for what is not known) and did for it."""

    path: str
    used: int
    quota: int | None = None
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class Report:
    """The cache of this node; without `complete` only what one worker can tell by itself."""

    tiers: list[TierReport]
    mounts: list[MountReport]
    complete: bool = True


class Residency:
    """Moves pages between the tiers, the fastest first, and out of the last; safe for threads.

    Watermarks, quotas, promotion and scrubbing are done in rounds, by `tend` or on a thread
    between `start` and `stop`. Demotion happens whenever something is evicted.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        *,
        mount_of: Callable[[str], str | None] = lambda segment: None,
        quotas: Callable[[], Mapping[str, int]] = dict,
        on_corrupt: Callable[[str, PageId, bool], None] = lambda tier, page, expendable: None,
    ) -> None:
        """Watch over `tiers`, which belong to the cache.

        `mount_of` gives the mount's path of a segment, None while it is not known; `quotas` the
        bytes that a mount may have in all tiers together, by path.
        """
        self.tiers = list(tiers)
        self._mount_of = mount_of
        self._quotas = quotas
        self._on_corrupt = on_corrupt
        self._evictions: OrderedDict[PageId, Eviction] = OrderedDict()
        self._refused = [_Ids(tier.capacity) for tier in self.tiers]
        self._up: deque[tuple[int, PageId]] = deque(maxlen=_WAITING)
        self._came: deque[tuple[int, PageId, int]] = deque(maxlen=_WAITING)
        self._placing = threading.Lock()
        self._place_at = 0.0
        self._mounts: OrderedDict[str, str] = OrderedDict()
        self._missed: Counter[str] = Counter()
        self._missed_of: Counter[str] = Counter()
        self._fetched = 0
        self._prime_at = [-math.inf] * len(self.tiers)
        self._pauses = [_PRIME] * len(self.tiers)
        self._needs: dict[int, int] = {}
        self._scrubbing: list[tuple[int, PageId]] = []
        self._unsound: set[PageId] = set()
        self._poke = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        for number, tier in enumerate(self.tiers):
            tier.before_eviction = partial(self._leave, number)
            tier.stock.on_put = partial(self._put, number)
            if number:
                tier.stock.on_hit = partial(self._hit, number)

    def start(self) -> None:
        """Meet what is on the shelves, then go on with rounds, on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="residency", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is at."""
        self._stopping.set()
        self._poke.set()
        if self._thread is not None:
            self._thread.join()

    def tend(self) -> None:
        """Do one round: make room, keep quotas, bring up what is hot, scrub a little."""
        self._place()
        for number, tier in enumerate(self.tiers):
            self._try(tier, partial(self._make_room, number, tier))
        self._keep_quotas()
        while self._up and not self._stopping.is_set():
            number, page = self._up.popleft()
            self._try(self.tiers[number], partial(self._promote, number, page))
        self._scrub()

    def need(self, number: int, size: int) -> None:
        """Make `size` bytes of room on a tier soon, by its number."""
        self._needs[number] = max(size, self._needs.get(number, 0))
        self._poke.set()

    def missed(self, segment: str) -> None:
        """Take note that a page of a segment has to be fetched."""
        self._fetched += 1
        if len(self._missed) < _WAITING or segment in self._missed:
            self._missed[segment] += 1

    # --- what is known ---------------------------------------------------------------

    def report(self) -> Report:
        """Tell how the tiers do, and what each mount has of them."""
        self._place()
        tiers: list[TierReport] = []
        mounts: dict[str, Tally] = {}
        used: Counter[str] = Counter()
        quotas = self._quotas()
        misses = self._fetched
        for tier in reversed(self.tiers):
            # What a lower tier had, this one had not.
            tally = replace(tier.stock.tally, misses=misses)
            misses += tally.hits
            room = tier.room()
            report = TierReport(
                tier.name, tier.capacity, room.used, room.pages, tally, tier.failure
            )
            tiers.insert(0, report)
            for path, size in list(tier.stock.used.items()):
                used[path or ""] += size
            for path, one in list(tier.stock.mounts.items()):
                mounts.setdefault(path, Tally()).add(one)
        for path, count in list(self._missed_of.items()):
            mounts.setdefault(path, Tally()).misses += count
        paths = sorted(path for path in {*mounts, *used, *quotas} if path or used[""])
        return Report(
            tiers,
            [MountReport(p, used[p], quotas.get(p), mounts.get(p, Tally())) for p in paths],
        )

    def whereabouts(self, segment: str) -> list[Whereabouts]:
        """Give every page of a segment, by tier and index."""
        return [
            Whereabouts(tier.name, page, one.size, one.hits)
            for tier in self.tiers
            for page, one in tier.stock.of_segment(segment)
        ]

    def hits(self, segment: str, page_size: int, first: int, stop: int) -> dict[int, int]:
        """Count the uses of pages `first` to `stop` of a segment on all tiers, by index.

        Pages that nobody used are left out. Takes time in proportion to the pages asked for.
        """
        found: Counter[int] = Counter()
        for tier in self.tiers:
            for index in range(first, stop):
                one = tier.stock.get(PageId(segment, page_size, index))
                if one is not None and one.hits:
                    found[index] += one.hits
        return dict(found)

    def evictions(self, segment: str) -> dict[PageId, Eviction]:
        """Give the last eviction of each page of a segment, as far as they are remembered."""
        return {page: e for page, e in list(self._evictions.items()) if page.segment == segment}

    # --- what tiers tell -------------------------------------------------------------

    def _put(self, number: int, page: PageId) -> None:
        self._came.append((number, page, 0))
        tier = self.tiers[number]
        if tier.stock.noted > tier.capacity * tier.high or self._quotas():
            self._poke.set()

    def _hit(self, number: int, page: PageId, before: int, now: int) -> None:
        # A hit here means that no tier above has it, or has it no more.
        if before // PROMOTED_AT != now // PROMOTED_AT:
            self._up.append((number, page))
            self._poke.set()

    def _leave(self, number: int, tier: Tier, page: PageId, resident: Resident, why: str) -> None:
        """See off a victim: remember why it went, and put it one tier down if it is worth that."""
        self._evictions[page] = Eviction(tier.name, why, time.time(), resident.hits)
        while len(self._evictions) > REMEMBERED:
            self._evictions.popitem(last=False)
        below = number + 1
        if why == "room" and below < len(self.tiers) and resident.size <= MOVED:
            lower = self.tiers[below]
            goes_down = not lower.holds(page) and self._worth(below, page, resident)
            if goes_down and self._copy(tier, lower, page):
                lower.stock.tally.demoted += 1

    # --- moving ----------------------------------------------------------------------

    def _worth(self, below: int, page: PageId, resident: Resident) -> bool:
        """Tell whether a victim is written one tier down: used, or refused there lately.

        A tier that is not full takes all; else it would stay empty.
        """
        lower = self.tiers[below]
        was_refused = self._refused[below].take(page)
        if resident.hits or was_refused:
            return True
        if lower.room().used < _FULL * lower.low * lower.capacity:
            return True
        self._refused[below].add(page, resident.size)
        return False

    def _promote(self, number: int, page: PageId) -> None:
        """Copy a page one tier up; the copy below stays."""
        tier, resident = self.tiers[number], self.tiers[number].stock.get(page)
        if resident is None or resident.size > MOVED or not tier.expendable(page):
            return
        for upper in self.tiers[:number]:
            if resident.size <= upper.capacity // 2 and not upper.failure:
                if not upper.holds(page) and self._copy(tier, upper, page):
                    upper.stock.tally.promoted += 1
                return

    def _copy(self, source: Tier, target: Tier, page: PageId) -> bool:
        """Copy a page whose bytes are right to another tier, if there is room."""
        if not self._sound(source, page):
            return False
        try:
            reader = source.store.open(page)
            if reader is None:
                return False
            try:
                writer = target.writer(page, reader.size, required=False)
                try:
                    at = 0
                    while at < reader.size and (block := reader.pread(BLOCK, at)):
                        writer.write(block)
                        at += len(block)
                    writer.commit(sync=False)
                finally:
                    writer.abort()
            finally:
                reader.close()
        except StorageError as error:
            _log.debug("%s stays out of tier %s: %s", page, target.name, error)
            return False
        return True

    def _make_room(self, number: int, tier: Tier) -> None:
        if time.monotonic() > self._prime_at[number] and tier.doubtful:
            self._prime(number)
            more = tier.doubtful
            self._pauses[number] = min(2 * self._pauses[number], _PRIMED_AGAIN) if more else _PRIME
        tier.make_room(self._needs.pop(number, 0))

    def _keep_quotas(self) -> None:
        """Evict of every mount that is over its quota, from the lowest tier up."""
        for path, quota in self._quotas().items():
            over = sum(tier.stock.used[path] for tier in self.tiers) - quota
            if over > 0:
                over += int(quota * (1 - _QUOTA))
            for tier in reversed(self.tiers):
                if over > 0 and tier.stock.used[path] > 0:
                    evict = partial(tier.evict, over, "quota", of_mount=path)
                    over -= self._try(tier, evict) or 0

    def _place(self) -> None:
        """Find the mounts of pages that came, and of those that were missed.

        Once a round also of every other page that has none: it was met on the shelves or by a
        use, or its object was committed late.
        """
        with self._placing:
            for _ in range(len(self._came)):
                number, page, tries = self._came.popleft()
                stock = self.tiers[number].stock
                path = self._path_of(page.segment)
                if path is not None:
                    stock.assign(page, path)
                elif tries < _TRIES and stock.knows(page):
                    self._came.append((number, page, tries + 1))
            while self._missed:
                segment, count = self._missed.popitem()
                self._missed_of[self._path_of(segment) or ""] += count
            if time.monotonic() >= self._place_at:
                self._place_at = time.monotonic() + _ROUND
                self._place_all(_LOOKS)

    def _place_all(self, looks: float = math.inf) -> None:
        """Find the mounts of all pages that have none, in up to `looks` segments of each tier."""
        for tier in self.tiers:
            unplaced: dict[str, list[PageId]] = {}
            for page in tier.stock.unplaced():
                unplaced.setdefault(page.segment, []).append(page)
            left = looks
            for segment, pages in unplaced.items():
                if left <= 0 or self._stopping.is_set():
                    break
                left -= 1
                path = self._path_of(segment)
                for page in pages:
                    if path is None:
                        tier.stock.put_off(page)
                    else:
                        tier.stock.assign(page, path)

    def _path_of(self, segment: str) -> str | None:
        path = self._mounts.get(segment)
        if path is None:
            try:
                path = self._mount_of(segment)
            except StorageError as error:
                _log.debug("the mount of segment %s is not known: %s", segment, error)
            if path is not None:
                self._mounts[segment] = path
                if len(self._mounts) > _WAITING:
                    self._mounts.popitem(last=False)
        return path

    # --- soundness -------------------------------------------------------------------

    def _scrub(self) -> None:
        """Hold the next few pages of durable tiers against their checksums."""
        budget = _SCRUB
        while budget > 0 and not self._stopping.is_set():
            if not self._scrubbing:
                self._scrubbing = [
                    (number, page)
                    for number, tier in enumerate(self.tiers)
                    if tier.durable and isinstance(tier.store, SupportsVerify)
                    for page, _ in tier.stock.residents()
                ]
                if not self._scrubbing:
                    return
                budget = 0  # one pass a round at most
            number, page = self._scrubbing.pop()
            tier = self.tiers[number]
            size = tier.stock.size_of(page)
            if size is not None:
                self._sound(tier, page)
                budget -= max(size, 1)

    def _sound(self, tier: Tier, page: PageId) -> bool:
        """Verify a page; a copy that is not what was put goes, an only copy is told of once."""
        if not isinstance(tier.store, SupportsVerify):
            return True
        try:
            return tier.store.verify(page)
        except Corrupt:
            expendable = tier.expendable(page)
            if expendable:
                self._evictions[page] = Eviction(tier.name, "corrupt", time.time(), 0)
                tier.delete(page)
            if expendable or page not in self._unsound:
                self._on_corrupt(tier.name, page, expendable)
            if not expendable:
                self._unsound.add(page)
        except StorageError as error:
            tier.failed(error)
        return False

    # --- rounds ----------------------------------------------------------------------

    def _run(self) -> None:
        for number, tier in enumerate(self.tiers):
            if not self._stopping.is_set():
                self._try(tier, partial(self._prime, number))
        self._place_all()
        while not self._stopping.is_set():
            self._poke.wait(_ROUND)
            self._poke.clear()
            try:
                self.tend()
            except Exception:
                _log.exception("a round of the residency failed")
                self._stopping.wait(_ROUND)

    def _prime(self, number: int) -> None:
        self._prime_at[number] = time.monotonic() + self._pauses[number]
        self.tiers[number].prime()

    def _try(self, tier: Tier, work: Callable[[], int | None]) -> int | None:
        """Do something on a tier; a store that fails is told of by the tier, once."""
        try:
            return work()
        except StorageError as error:
            tier.failed(error)
            return None


class _Ids:
    """Ids of pages that were refused, the oldest forgotten; they stand for `capacity` bytes."""

    def __init__(self, capacity: int) -> None:
        self._left = capacity
        self._ids: OrderedDict[PageId, int] = OrderedDict()

    def add(self, page: PageId, size: int) -> None:
        """Remember a page of `size` bytes."""
        self._ids[page] = max(size, 1)
        self._left -= max(size, 1)
        while self._left < 0:
            self._left += self._ids.popitem(last=False)[1]

    def take(self, page: PageId) -> bool:
        """Forget a page; tell whether it was remembered."""
        size = self._ids.pop(page, None)
        if size is None:
            return False
        self._left += size
        return True
