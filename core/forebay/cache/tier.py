"""One tier: a page store that is never filled over its capacity, and what goes to make room."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from forebay.cache.room import RoomCounter
from forebay.cache.stock import Resident, Stock
from forebay.errors import Corrupt, InvalidKey, NoSpace, StorageError
from forebay.stores.eviction import EvictionPolicyFactory
from forebay.stores.pages import PageReader, PageStore, SupportsMending
from forebay.streams import Chunk
from forebay.types import PageId

_log = logging.getLogger(__name__)

_ATTEMPTS = 4
"""How often a write that must be kept looks for room; each gives up what it held in between."""
_PAUSE = 0.02
"""Longest wait between two attempts, in seconds."""
_GRANT = 64 << 20
"""Most bytes reserved ahead of a write whose size is not known."""
PATIENCE = 2.0
"""Seconds that a write which must be kept waits for the process that makes room."""
PROBE = 5.0
"""Seconds for which nothing is written to a tier that failed, before it is tried again."""


@dataclass(frozen=True, slots=True)
class TierRoom:
    """How full a tier is: `capacity` and `used` in bytes, reservations included."""

    name: str
    capacity: int
    used: int
    pages: int


class Notes(Protocol):
    """Whom a tier tells what happens on it: its own stock, or that of another process."""

    def put(self, page: PageId, size: int) -> None:
        """Take note of a page that was put on the shelf; its size in bytes."""

    def hit(self, page: PageId, size: int) -> None:
        """Take note of a use."""

    def gone(self, page: PageId) -> None:
        """Take note that a page is not on the shelf."""

    def refused(self) -> None:
        """Take note that a page found no room."""

    def size_of(self, page: PageId) -> int | None:
        """Give the size in bytes of a page, where that is known."""


class Asks(Notes, Protocol):
    """Notes to the process that makes room for this one."""

    def need(self, size: int) -> None:
        """Ask for `size` bytes of room; there is no answer but the room."""


class Tier:
    """A page store with a capacity and an eviction policy; safe for threads.

    Several processes may have a tier on the same store: they share its room by `room`. One of
    them evicts; it has the `stock`. The others tell it what they do.
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
        pinned: Callable[[str], bool] = lambda segment: False,
        watermarks: tuple[float, float] = (0.95, 0.9),
        tell: Asks | None = None,
    ) -> None:
        """Take over `store` and `room`; both are closed with the tier.

        `capacity` in bytes. `evictable` says whether a whole segment may be dropped because
        there is another copy; it is called without a lock held, and must say no of a segment
        that it does not know yet. `pinned` says which segments an operator wants to stay.
        `tell` the process that evicts; without it this one does. `watermarks` are the high and the
        low one, as shares of what the tier may hold.
        """
        self.name = name
        self.capacity = capacity
        self.durable = store.durable
        self.store = store
        self.high, self.low = watermarks
        self.stock = Stock(policy_factory, store.pages, capacity=capacity)
        self.notes: Notes = self.stock if tell is None else tell
        self.before_eviction: Callable[[Tier, PageId, Resident, str], None] = _nothing
        self.on_health: Callable[[Tier, str], None] = log_health
        self.failure = ""
        self._asks = tell
        self._probe_at = 0.0
        self._room = room
        self._may_go = evictable
        self._pinned = pinned
        room.enter(store.pages)

    def open(self, page: PageId) -> PageReader | None:
        """Open a page and note its use, or say that it is not there. Raises Corrupt."""
        reader = self.store.open(page)
        if reader is None:
            self.notes.gone(page)
        else:
            self.notes.hit(page, reader.size)
        return reader

    def knows(self, page: PageId) -> bool:
        """Tell, without I/O, whether the page is known to be on the shelf; for the one who evicts.

        Who does not evict knows of none: what it saw there may be gone since.
        """
        return self._asks is None and self.stock.knows(page)

    def holds(self, page: PageId) -> bool:
        """Tell whether a page is there; that is no use of it."""
        try:
            return self.knows(page) or self._on_shelf(page) is not None
        except StorageError:
            return False

    def expendable(self, page: PageId) -> bool:
        """Tell whether nothing is lost with a page: every page of a fill, and other copies."""
        return page.page_size != 0 or self._may_go(page)

    def evictable(self, page: PageId) -> bool:
        """Tell whether a page may go to make room."""
        return self.expendable(page) and not self._pinned(page.segment)

    def size_of(self, page: PageId) -> int | None:
        """Give the size of a page that is on the shelf; this is no use of it."""
        return self._on_shelf(page)

    def writer(self, page: PageId, size: int | None, *, required: bool) -> TierWriter:
        """Begin a page of `size` bytes (None: not known), its room reserved before the first.

        Who does not require it gives up sooner when there is nothing to evict. Raises NoSpace,
        and StorageError when the store fails.
        """
        if self.failure and not required and time.monotonic() < self._probe_at:
            raise NoSpace(f"tier {self.name} is failing: {self.failure}")
        try:
            if self.failure and isinstance(self.store, SupportsMending):
                self.store.mend()
            writer = TierWriter(self, page, size, required)
        except NoSpace:
            raise  # of the tier's own room; a full disk is told of where it shows
        except StorageError as error:
            self.failed(error)
            raise
        return writer

    def delete(self, page: PageId, size: int | None = None) -> bool:
        """Remove a page and give its room back; tell whether it was there.

        Who knows its `size` in bytes saves opening it; a wrong one makes the count wrong.
        """
        size = self.notes.size_of(page) or size
        if size is None:
            size = self._on_shelf(page)
        if size is None:
            return False
        deleted = False
        self._room.leave(size)
        try:
            deleted = self.store.delete(page)
        finally:
            (self._room.give if deleted else self._room.stay)(size)
        self.notes.gone(page)
        return deleted

    def room(self) -> TierRoom:
        """Tell how full the tier is, for all processes together."""
        counts = self._room.counts()
        return TierRoom(self.name, self.capacity, counts.used, counts.pages)

    def prime(self) -> None:
        """Meet every page on the shelves, and count the room anew.

        For the one who evicts, beside whatever else goes on.
        """
        found: list[tuple[PageId, int]] = []

        def shelves() -> list[tuple[PageId, int]]:
            found[:] = self.store.pages()
            return found

        def list_shelves() -> list[tuple[PageId, int]]:
            self._room.recount(shelves)
            return found

        self._room.reclaim()
        self.stock.list_shelves(list_shelves)

    @property
    def doubtful(self) -> bool:
        """Whether the count of the room may be too high since a process was killed."""
        self._room.reclaim()
        return self._room.doubtful

    def make_room(self, need: int = 0) -> int:
        """Evict down to the low watermark if the tier is over the high one; for the one who evicts.

        At least `need` bytes are free after it, where so much may go. Returns the bytes freed.
        """
        limit = self._room.limit(self.capacity)
        used = self._room.counts().used
        most = min(limit * self.high, limit - need)
        if used <= most:
            return 0
        goal = used - int(min(limit * self.low, limit - need))
        return self.evict(goal, "room")

    def evict(self, size: int, why: str, *, of_mount: str | None = None) -> int:
        """Evict `size` bytes, or what may go of them, of a mount or of all; give their number."""
        chosen = self.stock.choose(
            size, self.evictable, required=True, partly=True, of_mount=of_mount
        )
        self._evict(chosen, 0, why)
        return sum(resident.size for resident in chosen.values())

    def failed(self, error: StorageError) -> None:
        """Take note that the store failed, or its disk is full: fills go elsewhere for a while."""
        if isinstance(error, Corrupt | InvalidKey):
            return
        self._probe_at = time.monotonic() + PROBE
        if not self.failure:
            self.failure = str(error) or type(error).__name__
            self.on_health(self, self.failure)

    def close(self) -> None:
        """Close the store and let go of the room."""
        self.store.close()
        self._room.close()

    # --- room -----------------------------------------------------------------------

    def _reserve(self, need: int, wish: int, *, required: bool) -> int:
        """Take `need` to `wish` bytes of room, evicting for no more than the need.

        Raises NoSpace.
        """
        if self._asks is not None:
            return self._ask(self._asks, need, wish, required=required)
        # What is freed is held at once: two who make room at the same time cannot free for each
        # other, and who fails gives up everything before trying again.
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, _PAUSE))
            crowded = self._crowded()
            held = self._room.take(max(need, wish), self.capacity)
            try:
                while held < need <= self.capacity:
                    chosen = self.stock.choose(need - held, self.evictable, required=required)
                    if not chosen:
                        break
                    held += self._evict(chosen, need - held, "room")
            except BaseException:
                self._room.release(held)
                raise
            if held >= need:
                return held
            self._room.release(held)
            if need > self.capacity or not required or not (crowded or self._crowded()):
                break
        raise NoSpace(f"tier {self.name}: no room for {need} bytes more")

    def _ask(self, asks: Asks, need: int, wish: int, *, required: bool) -> int:
        """Take room, or ask the process that makes it; only what is required waits for that."""
        end, pause = time.monotonic() + PATIENCE, 0.002
        while True:
            held = self._room.take(max(need, wish), self.capacity)
            if held >= need:
                return held
            self._room.release(held)
            asks.need(need)
            if not required or need > self.capacity or time.monotonic() > end:
                raise NoSpace(f"tier {self.name}: no room for {need} bytes more")
            time.sleep(pause)
            pause = min(pause * 2, 0.1)

    def _crowded(self) -> bool:
        """Tell whether others hold room or victims, and may give them up."""
        return self.stock.claiming or self._room.counts().pending > 0

    def _evict(self, chosen: dict[PageId, Resident], missing: int, why: str) -> int:
        """Delete claimed pages; return how many bytes of room were taken in their place."""
        held = 0
        evicted: list[PageId] = []
        left = sum(resident.size for resident in chosen.values())
        self._room.leave(left)
        try:
            for page, resident in chosen.items():
                self.before_eviction(self, page, resident, why)
                if self.store.delete(page):
                    left -= resident.size
                    evicted.append(page)
                    held += self._room.take(missing - held, self.capacity, gone=resident.size)
        except BaseException:
            self._room.release(held)
            raise
        finally:
            if left:
                self._room.stay(left)
            self.stock.done(chosen, evicted)
        return held

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

    def _healed(self) -> None:
        if self.failure:
            self.failure = ""
            self.on_health(self, "")


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
        except BaseException as error:
            tier._room.release(self._held)
            if isinstance(error, StorageError):
                tier.failed(error)
            raise

    def write(self, block: Chunk, /) -> None:
        """Append bytes. Raises NoSpace; the writer must then be aborted."""
        more = self._written + len(block) - self._held
        if more > 0:
            wish = min(max(more, self._held), _GRANT)
            self._held += self._tier._reserve(more, wish, required=self._required)
        try:
            self._writer.write(block)
        except StorageError as error:
            self._tier.failed(error)
            raise
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
            if there is not None:
                tier._room.leave(there)
            try:
                self._writer.commit(sync=sync)
            except BaseException as error:
                self._open = False
                self._writer.abort()
                # It may be visible but not safe. If it cannot be removed it stays counted.
                deleted = tier.store.delete(page)
                if there is not None:
                    (tier._room.give if deleted else tier._room.stay)(there)
                tier._room.release(self._held)
                if isinstance(error, StorageError):
                    tier.failed(error)
                raise
            self._open = False
            tier._room.settle(self._held, self._written, replaced=there)
        tier._healed()
        tier.notes.put(page, self._written)

    def abort(self) -> None:
        """Forget what was written and give its room back; harmless after `commit` or twice."""
        if self._open:
            self._open = False
            self._writer.abort()
            self._tier._room.release(self._held)


def _nothing(tier: Tier, page: PageId, resident: Resident, why: str) -> None:
    """Let a victim go as it is."""


def log_health(tier: Tier, failure: str) -> None:
    """Say in the log that a tier failed, or is well again."""
    if failure:
        _log.error("tier %s fails, the cache goes on without it: %s", tier.name, failure)
    else:
        _log.warning("tier %s takes pages again", tier.name)
