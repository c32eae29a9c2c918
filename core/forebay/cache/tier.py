"""One tier: a page store that is never filled over its capacity, and what goes to make room."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from forebay.cache.room import RoomCounter
from forebay.errors import Corrupt, NoSpace
from forebay.stores.eviction import EvictionPolicyFactory
from forebay.stores.pages import PageReader, PageStore
from forebay.types import PageId

_ATTEMPTS = 4
"""How often a write that must be kept looks for room; each gives up what it held in between."""
_PAUSE = 0.02
"""Longest wait between two attempts, in seconds."""
_LISTING_AGE = 5.0
"""Seconds before the shelves are listed again because the policy knows no more victims."""
_FULL_AGE = 1.0
"""Seconds in which fills look for no victims after there were none."""
_GRANT = 64 << 20
"""Most bytes reserved ahead of a write whose size is not known."""


@dataclass(frozen=True, slots=True)
class TierRoom:
    """How full a tier is: `capacity` and `used` in bytes, reservations included."""

    name: str
    capacity: int
    used: int
    pages: int


class Tier:
    """A page store with a capacity and an eviction policy; safe for threads.

    Several processes may have a tier on the same store: they share its room by `room`, while
    the policy knows what this process saw. It learns of the rest by `prime`.
    """

    def __init__(
        self,
        name: str,
        store: PageStore,
        policy_factory: EvictionPolicyFactory,
        *,
        capacity: int,
        room: RoomCounter,
        evictable: Callable[[PageId], bool],
    ) -> None:
        """Take over `store` and `room`; both are closed with the tier.

        `capacity` in bytes. `evictable` says whether a whole segment may be dropped; it is
        called without a lock held, and must say no of a segment that it does not know yet.
        """
        self.name = name
        self.capacity = capacity
        self.durable = store.durable
        self.store = store
        self._room = room
        self._may_go = evictable
        self._make_policy = policy_factory
        self._lock = threading.Lock()
        # Under the lock: what this process knows to be on the shelves, and what it weighs.
        self._policy = policy_factory({"capacity": capacity})
        self._sizes: dict[PageId, int] = {}
        self._noted = 0
        self._claimed: set[PageId] = set()
        # Under its own lock, which is taken before the other: what was listed, and when.
        self._listing = threading.Lock()
        self._listings = 0
        self._listed_at = -math.inf
        self._full_until = 0.0
        room.enter(store.pages)

    def open(self, page: PageId) -> PageReader | None:
        """Open a page and note its use, or say that it is not there. Raises Corrupt."""
        reader = self.store.open(page)
        if reader is None:
            if page in self._sizes:
                with self._lock:
                    self._forget(page)
            return None
        with self._lock:
            if page in self._sizes:
                self._policy.on_get(page)
            else:
                self._note(page, reader.size)
        return reader

    def knows(self, page: PageId) -> bool:
        """Tell, without I/O, whether this process saw the page on the shelf."""
        return page in self._sizes

    def evictable(self, page: PageId) -> bool:
        """Tell whether a page may go: every page of a fill, and what the layer above allows."""
        return page.page_size != 0 or self._may_go(page)

    def size_of(self, page: PageId) -> int | None:
        """Give the size of a page that is on the shelf; this is no use of it."""
        return self._on_shelf(page)

    def writer(self, page: PageId, size: int | None, *, required: bool) -> TierWriter:
        """Begin a page of `size` bytes (None: not known), its room reserved before the first.

        Who does not require it gives up sooner when there is nothing to evict. Raises NoSpace,
        and StorageError when the store fails.
        """
        return TierWriter(self, page, size, required)

    def delete(self, page: PageId, size: int | None = None) -> bool:
        """Remove a page and give its room back; tell whether it was there.

        Who knows its `size` in bytes saves opening it; a wrong one makes the count wrong.
        """
        size = self._sizes.get(page, size)
        if size is None:
            size = self._on_shelf(page)
        if size is None:
            return False
        deleted = self.store.delete(page)
        if deleted:
            self._room.give(size)
        with self._lock:
            self._forget(page)
        return deleted

    def room(self) -> TierRoom:
        """Tell how full the tier is, for all processes together."""
        counts = self._room.counts()
        return TierRoom(self.name, self.capacity, counts.used, counts.pages)

    def prime(self) -> None:
        """Tell the policy of every page on the shelves that this process has not met.

        They count as used before any that it has met, in the order in which the store gives
        them. Pages that others deleted are forgotten.
        """
        with self._listing:
            self._list_shelves()

    def close(self) -> None:
        """Close the store and let go of the room."""
        self.store.close()
        self._room.close()

    # --- room -----------------------------------------------------------------------

    def _reserve(self, need: int, wish: int, *, required: bool) -> int:
        """Take `need` to `wish` bytes of room, evicting for no more than the need.

        Raises NoSpace. What is freed is held at once: two who make room at the same time
        cannot free for each other, and who fails gives up everything before trying again.
        """
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, _PAUSE))
            crowded = self._crowded()
            held = self._room.take(max(need, wish), self.capacity)
            try:
                while held < need <= self.capacity:
                    chosen = self._choose(need - held, required)
                    if not chosen:
                        break
                    held += self._evict(chosen, need - held)
            except BaseException:
                self._room.release(held)
                raise
            if held >= need:
                return held
            self._room.release(held)
            if need > self.capacity or not required or not (crowded or self._crowded()):
                break
        raise NoSpace(f"tier {self.name}: no room for {need} bytes more")

    def _crowded(self) -> bool:
        """Tell whether others hold room or victims, and may give them up."""
        return bool(self._claimed) or self._room.counts().pending > 0

    def _choose(self, missing: int, required: bool) -> dict[PageId, int]:
        """Claim victims of `missing` bytes together, or none when there are not enough."""
        if not required and time.monotonic() < self._full_until:
            return {}
        listing = self._listings or self._list_again(0)
        claimed: dict[PageId, int] = {}
        chosen: dict[PageId, int] = {}
        found, enough = 0, False
        try:
            while found < missing:
                victim = self._claim()
                if victim is not None:
                    page, size = victim
                    claimed[page] = size
                    if self.evictable(page):
                        chosen[page] = size
                        found += size
                    continue
                last, listing = listing, self._list_again(listing)
                if listing == last:
                    if not chosen:
                        self._full_until = time.monotonic() + _FULL_AGE
                    return {}
            enough = True
            return chosen
        finally:
            with self._lock:
                # Those that may not go return as the newest, not to be asked for every time.
                for page, size in claimed.items():
                    if not (enough and page in chosen):
                        self._claimed.discard(page)
                        self._note(page, size)

    def _claim(self) -> tuple[PageId, int] | None:
        """Take the next victim out of the policy, so that no other thread takes it too."""
        with self._lock:
            page = next(self._policy.victims(), None)
            if page is None:
                return None
            size = self._sizes[page]
            self._forget(page)
            self._claimed.add(page)
            return page, size

    def _evict(self, chosen: dict[PageId, int], missing: int) -> int:
        """Delete claimed pages; return how many bytes of room were taken in their place."""
        held = 0
        try:
            for page, size in chosen.items():
                if self.store.delete(page):
                    held += self._room.take(missing - held, self.capacity, gone=size)
        except BaseException:
            self._room.release(held)
            raise
        finally:
            with self._lock:
                for page in chosen:
                    self._claimed.discard(page)
                    self._forget(page)
        return held

    def _list_again(self, last: int) -> int:
        """List the shelves, unless that was done after listing `last` or a moment ago.

        Return the number of the newest listing.
        """
        with self._listing:
            stale = time.monotonic() - self._listed_at > _LISTING_AGE
            if self._listings == last and stale:
                self._list_shelves()
            return self._listings

    def _list_shelves(self) -> None:
        with self._lock:
            before = set(self._sizes)
        found = dict(self.store.pages())
        with self._lock:
            for page in before - found.keys():
                self._forget(page)
            known = [(page, self._sizes[page]) for page in self._policy.victims()]
            unmet = [
                (page, size)
                for page, size in found.items()
                if page not in self._sizes and page not in self._claimed
            ]
            self._policy = self._make_policy({"capacity": self.capacity})
            for page, size in unmet + known:
                self._note(page, size)
        self._listings += 1
        self._listed_at = time.monotonic()

    # --- notes ----------------------------------------------------------------------

    def _note(self, page: PageId, size: int) -> None:
        """Note a page that is on the shelf; the lock is held."""
        self._noted += size - self._sizes.get(page, 0)
        self._sizes[page] = size
        self._policy.on_put(page, size)
        while self._noted > 2 * self.capacity:
            # Other processes deleted most of these; what is really there is met again.
            oldest = next(self._policy.victims(), None)
            if oldest is None:
                return
            self._forget(oldest)

    def _forget(self, page: PageId) -> None:
        """Forget a page; the lock is held."""
        size = self._sizes.pop(page, None)
        if size is not None:
            self._noted -= size
            self._policy.on_delete(page)

    def _on_shelf(self, page: PageId) -> int | None:
        """Ask the store for the size of a page; None when it is not there."""
        try:
            reader = self.store.open(page)
        except Corrupt:
            return next((size for there, size in self.store.pages() if there == page), None)
        if reader is None:
            return None
        size = reader.size
        reader.close()
        return size

    def _alone(self, page: PageId) -> AbstractContextManager[None]:
        # A segment id has one writer ever; only fills of the same page can meet.
        return self._room.alone() if page.page_size else nullcontext()


class TierWriter:
    """One page on its way into a tier; every byte of it was reserved before it is written."""

    def __init__(self, tier: Tier, page: PageId, size: int | None, required: bool) -> None:
        self._tier = tier
        self._page = page
        self._required = required
        self._written = 0
        self._open = True
        self._held = tier._reserve(size, size, required=required) if size else 0
        try:
            self._writer = tier.store.writer(page, size)
        except BaseException:
            tier._room.release(self._held)
            raise

    def write(self, block: bytes, /) -> None:
        """Append bytes. Raises NoSpace; the writer must then be aborted."""
        more = self._written + len(block) - self._held
        if more > 0:
            wish = min(max(more, self._held), _GRANT)
            self._held += self._tier._reserve(more, wish, required=self._required)
        self._writer.write(block)
        self._written += len(block)

    def commit(self, *, sync: bool) -> None:
        """Make the page visible and count what it really takes.

        A page of a fill that somebody else put meanwhile is left as it is. On failure the page
        is not there, and StorageError passes on.
        """
        tier, page = self._tier, self._page
        with tier._alone(page):
            there = tier._on_shelf(page)
            if page.page_size and there is not None:
                self.abort()
                return
            try:
                self._writer.commit(sync=sync)
            except BaseException:
                self._open = False
                self._writer.abort()
                # It may be visible but not safe. If it cannot be removed it stays counted.
                if tier.store.delete(page) and there is not None:
                    tier._room.give(there)
                tier._room.release(self._held)
                raise
            self._open = False
            tier._room.settle(self._held, self._written, replaced=there)
        with tier._lock:
            tier._note(page, self._written)

    def abort(self) -> None:
        """Forget what was written and give its room back; harmless after `commit` or twice."""
        if self._open:
            self._open = False
            self._writer.abort()
            self._tier._room.release(self._held)
