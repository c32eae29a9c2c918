"""What is known to lie on the shelves of one tier: how it is used, and what goes next."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

from forebay.stores.eviction import EvictionPolicyFactory
from forebay.types import PageId

_LISTING_AGE = 5.0
"""Seconds before the shelves are listed again because the policy knows no more victims."""
_USES = 3
"""Uses that came together are told to the policy up to here; none counts further."""
_CLAIM = 512
"""Victims that are taken from the policy at once."""
_FULL_AGE = 1.0
"""Seconds in which fills look for no victims after there were none."""


Shelves = Callable[[], Iterable[tuple[PageId, int]]]
"""Gives every page that lies on the shelves, and its size in bytes."""


class Resident:
    """One page on the shelf: `size` in bytes, `hits` since it came, its mount once that is known.

    Of a page that was met by listing nobody knows how it was used before.
    """

    __slots__ = ("hits", "mount", "size", "tally")

    def __init__(self, size: int, tally: Tally) -> None:
        self.size = size
        self.hits = 0
        self.mount: str | None = None
        self.tally = tally  # of its mount


@dataclass(slots=True)
class Tally:
    """What happened since the start, in pages."""

    hits: int = 0
    misses: int = 0
    admitted: int = 0
    rejected: int = 0
    evicted: int = 0
    promoted: int = 0
    demoted: int = 0

    def add(self, other: Tally) -> None:
        """Count what another one counted, too."""
        for field in fields(self):
            more = getattr(self, field.name) + getattr(other, field.name)
            setattr(self, field.name, more)


class Stock:
    """The pages of one tier that this process knows of, and their eviction policy; for threads.

    It belongs to the one who evicts. Of what others do it hears by `put`, `hit` and `gone`;
    what it did not hear it meets by listing the shelves.
    """

    def __init__(
        self,
        policy_factory: EvictionPolicyFactory,
        shelves: Shelves,
        *,
        capacity: int,
    ) -> None:
        """Know nothing yet; `capacity` of the tier in bytes."""
        self.tally = Tally()
        self.mounts: defaultdict[str, Tally] = defaultdict(Tally)
        self.used: Counter[str | None] = Counter()
        self.noted = 0
        self.listed = False
        self.on_put: Callable[[PageId], None] = _ignore
        self.on_hit: Callable[[PageId, int, int], None] | None = None
        self._make_policy = policy_factory
        self._shelves = shelves
        self._capacity = capacity
        self._lock = threading.Lock()
        self._policy = policy_factory({"capacity": capacity})
        self._residents: dict[PageId, Resident] = {}
        # Pages whose mount is not known, and whether they were put: to be counted as admitted.
        self._unplaced: dict[PageId, bool] = {}
        self._claimed: dict[PageId, Resident] = {}
        # Under its own lock, which is taken before the other: what was listed, and when.
        self._listing = threading.Lock()
        self._listings = 0
        self._listed_at = -math.inf
        self._full_until = 0.0

    # --- what happened ---------------------------------------------------------------

    def put(self, page: PageId, size: int) -> None:
        """Take note of a page that was put on the shelf; its size in bytes."""
        with self._lock:
            resident = self._note(page, size)
            self.tally.admitted += 1
            if page.page_size:
                self._full_until = 0.0  # there is a victim again
            if resident.mount is None:
                self._unplaced[page] = True
            else:
                resident.tally.admitted += 1
        self.on_put(page)

    def hit(self, page: PageId, size: int, times: int = 1) -> None:
        """Take note of a use; of a page that was not known, that it is there."""
        with self._lock:
            resident = self._residents.get(page)
            self.tally.hits += times
            if resident is None:
                if page in self._claimed:
                    return
                resident = self._note(page, size)
                resident.hits = times
            else:
                resident.hits += times
                self._policy.on_get(page)
                for _ in range(min(times, _USES) - 1):
                    self._policy.on_get(page)
            resident.tally.hits += times
            hits = resident.hits
        if self.on_hit is not None:
            self.on_hit(page, hits - times, hits)

    def gone(self, page: PageId) -> None:
        """Forget a page that is not on the shelf."""
        if page in self._residents:
            with self._lock:
                self._forget(page)

    def refused(self) -> None:
        """Take note that a page found no room."""
        self.tally.rejected += 1

    # --- what is known ---------------------------------------------------------------

    def knows(self, page: PageId) -> bool:
        """Tell, without I/O, whether the page is known to be there."""
        return page in self._residents

    def size_of(self, page: PageId) -> int | None:
        """Give the size in bytes of a page that is known."""
        resident = self._residents.get(page)
        return None if resident is None else resident.size

    def assign(self, page: PageId, mount: str) -> bool:
        """Say which mount a page is of; False when the page is not known any more."""
        with self._lock:
            resident = self._residents.get(page)
            if resident is not None and resident.mount != mount:
                self.used[resident.mount] -= resident.size
                self.used[mount] += resident.size
                resident.mount, resident.tally = mount, self.mounts[mount]
                resident.tally.admitted += self._unplaced.pop(page, False)
            return resident is not None

    def unplaced(self) -> list[PageId]:
        """Give every page whose mount is not known, however it was met; `put_off` ones last."""
        with self._lock:
            return list(self._unplaced)

    def put_off(self, page: PageId) -> None:
        """Let the other pages of `unplaced` be the first ones next time."""
        with self._lock:
            if page in self._unplaced:
                self._unplaced[page] = self._unplaced.pop(page)

    def get(self, page: PageId) -> Resident | None:
        """Give what is known of a page."""
        return self._residents.get(page)

    def residents(self) -> list[tuple[PageId, Resident]]:
        """Give every page that is known, in no order."""
        with self._lock:
            return list(self._residents.items())

    def of_segment(self, segment: str) -> list[tuple[PageId, Resident]]:
        """Give every page of a segment that is known, by index; looks at all that are known."""
        found = [(page, one) for page, one in self.residents() if page.segment == segment]
        return sorted(found, key=lambda each: (each[0].page_size, each[0].index))

    # --- what goes -------------------------------------------------------------------

    @property
    def claiming(self) -> bool:
        """Whether somebody looks for victims now, and may give some back."""
        return bool(self._claimed)

    def choose(
        self,
        missing: int,
        may_go: Callable[[PageId], bool],
        *,
        required: bool,
        partly: bool = False,
        of_mount: str | None = None,
    ) -> dict[PageId, Resident]:
        """Claim victims of `missing` bytes together, or none when there are not enough.

        With `partly` as many as there are. `of_mount` chooses among its pages alone. `may_go` is
        asked without a lock held. Every victim is to be given up by `done`.
        """
        if not required and time.monotonic() < self._full_until:
            return {}
        # Who need not have the room does not wait for a listing, as long as there are victims.
        listing = self._listings or (self._list_again(0) if required else 0)
        claimed: dict[PageId, Resident] = {}
        chosen: dict[PageId, Resident] = {}
        found, enough = 0, False
        try:
            while found < missing:
                victims = self._claim(missing - found, of_mount)
                claimed.update(victims)
                for page, resident in victims.items():
                    if may_go(page):
                        chosen[page] = resident
                        found += resident.size
                if victims:
                    continue
                last, listing = listing, self._list_again(listing)
                if listing == last:
                    # What others have claimed they may give back, or replace by what can go.
                    if not chosen and of_mount is None and not self._claimed.keys() - claimed:
                        self._full_until = time.monotonic() + _FULL_AGE
                    enough = partly
                    return chosen if partly else {}
            enough = True
            return chosen
        finally:
            with self._lock:
                # Those that may not go return as the newest, not to be asked for every time.
                for page, resident in claimed.items():
                    if not (enough and page in chosen):
                        self._claimed.pop(page, None)
                        self._note(page, resident.size, resident)

    def done(self, claimed: Mapping[PageId, Resident], evicted: Iterable[PageId]) -> None:
        """Give up victims that were claimed; `evicted` are those that are gone from the shelf."""
        with self._lock:
            for page in evicted:
                self.tally.evicted += 1
                claimed[page].tally.evicted += 1
            for page, resident in claimed.items():
                # It may have been put anew meanwhile, and be somebody else's victim already.
                if self._claimed.get(page) is resident:
                    del self._claimed[page]

    def list_shelves(self, shelves: Shelves | None = None) -> None:
        """Meet every page on the shelves that is not known, and forget those that are gone.

        Those met now count as used before any that was known, in the order in which the store
        gives them. `shelves` lists them, where the caller wants to see them, too.
        """
        with self._listing:
            self._list(shelves or self._shelves)

    def _claim(self, missing: int, mount: str | None) -> dict[PageId, Resident]:
        """Take the next victims out of the policy, so that no other thread takes them too."""
        claimed: dict[PageId, Resident] = {}
        with self._lock:
            for page in self._policy.victims():
                resident = self._residents[page]
                if mount is None or resident.mount == mount:
                    claimed[page] = resident
                    missing -= resident.size
                    if missing <= 0 or len(claimed) == _CLAIM:
                        break
            for page in claimed:
                self._forget(page)
            self._claimed.update(claimed)
        return claimed

    def _list_again(self, last: int) -> int:
        """List the shelves, unless that was done after listing `last` or a moment ago.

        Return the number of the newest listing.
        """
        with self._listing:
            stale = time.monotonic() - self._listed_at > _LISTING_AGE
            if self._listings == last and stale:
                self._list(self._shelves)
            return self._listings

    def _list(self, shelves: Shelves) -> None:
        with self._lock:
            before = set(self._residents)
        found = dict(shelves())
        with self._lock:
            for page in before - found.keys():
                self._forget(page)
            unmet = [
                (page, size)
                for page, size in found.items()
                if page not in self._residents and page not in self._claimed
            ]
            if unmet:
                self._meet(unmet)
        self._listings += 1
        self._listed_at = time.monotonic()
        self.listed = True

    def _meet(self, unmet: list[tuple[PageId, int]]) -> None:
        """Begin the policy anew: what was met first, then what was known; the lock is held."""
        known = list(self._policy.victims())
        residents, self._residents, self.noted = self._residents, {}, 0
        put, self._unplaced = self._unplaced, {}
        self.used.clear()
        self._policy = self._make_policy({"capacity": self._capacity})
        for page, size in unmet:
            self._note(page, size)
        for page in known:
            resident = residents[page]
            self._note(page, resident.size, resident)
            for _ in range(min(resident.hits, _USES)):
                self._policy.on_get(page)
        self._unplaced.update({page: True for page, was in put.items() if was})

    # --- notes; the lock is held -----------------------------------------------------

    def _note(self, page: PageId, size: int, resident: Resident | None = None) -> Resident:
        known = self._residents.get(page)
        if known is None:
            known = self._residents[page] = resident or Resident(size, self.mounts[""])
            if known.mount is None:
                self._unplaced[page] = False
        else:
            self.noted -= known.size
            self.used[known.mount] -= known.size
        known.size = size
        self.noted += size
        self.used[known.mount] += size
        self._policy.on_put(page, size)
        while self.noted > 2 * self._capacity:
            # Others deleted most of these; what is really there is met again.
            oldest = next(self._policy.victims(), None)
            if oldest is None or oldest == page:
                break
            self._forget(oldest)
        return known

    def _forget(self, page: PageId) -> None:
        resident = self._residents.pop(page, None)
        if resident is not None:
            self._unplaced.pop(page, None)
            self.noted -= resident.size
            self.used[resident.mount] -= resident.size
            self._policy.on_delete(page)


def _ignore(page: PageId) -> None:
    """Nobody waits for a page."""
