"""How many bytes of a tier are taken: one count for every process that uses the tier."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from forebay.errors import StorageError
from forebay.types import PageId

_HEAD = struct.Struct("<qqqqqqq16s")
_SLOT = struct.Struct("<q")
_SLOTS = 320
"""Processes that can use a tier at once."""
_SIZE = _HEAD.size + _SLOTS * _SLOT.size
_KNOWN, _CLEAN = 1, 2
_FLOCK = struct.Struct("hhqqi4x")
"""``struct flock`` of Linux on 64 bits."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMES = ("room", "room.users", "room.one")


@dataclass(slots=True)
class Counts:
    """Bytes `used`, of them `pending` in what comes or goes just now; `pages` on shelves.

    Until `known`, nobody gets room: the shelves have to be counted first.
    """

    used: int = 0
    pending: int = 0
    pages: int = 0
    known: bool = True


class RoomCounter:
    """Counts the room of a tier that lives within one process.

    Bytes are counted before they are written and until after they are deleted, so what lies
    on the shelves is never more than what is counted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts(known=False)
        self._added = 0  # bytes of all pages that ever came
        self._orphaned = 0  # bytes that were ever pending in processes when they were killed
        self._cleared = 0  # of these, what counts of the shelves have made up for
        self._one = threading.Lock()

    def enter(self, shelves: Callable[[], Iterable[tuple[PageId, int]]], /) -> None:
        """Begin to use the room; `shelves` are counted where no count is left from before.

        What is left from before a crash of the machine is not believed: see `recount`.
        """
        self.recount(shelves)

    def counts(self) -> Counts:
        """Give the counts of this moment."""
        with self._turn() as counts:
            return replace(counts)

    def take(self, want: int, limit: int, /, *, gone: int | None = None) -> int:
        """Count up to `want` bytes as pending and return how many; `limit` is the capacity.

        `gone` is the size of a page that was just deleted, after `leave`: its room comes back in
        the same turn, so that nobody else can snatch it.
        """
        with self._turn() as counts:
            if gone is not None:
                counts.used -= gone
                counts.pending -= gone
                counts.pages -= 1
            if not counts.known:
                return 0
            taken = max(0, min(want, limit - counts.used, self._spare() - counts.pending))
            counts.used += taken
            counts.pending += taken
            return taken

    def settle(self, held: int, kept: int, /, *, replaced: int | None = None) -> None:
        """Turn `held` pending bytes into a page of `kept`.

        `replaced` is the size of the page that was there before, after `leave`.
        """
        with self._turn() as counts:
            counts.used += kept - held
            counts.pending -= held
            counts.pages += 1
            self._added += kept
            if replaced is not None:
                counts.used -= replaced
                counts.pending -= replaced
                counts.pages -= 1

    def release(self, held: int, /) -> None:
        """Give pending bytes back."""
        with self._turn() as counts:
            counts.used -= held
            counts.pending -= held

    def leave(self, size: int, /) -> None:
        """Say that pages of `size` bytes together are about to be deleted.

        Then `take` or `give` says of each that it is gone, and `stay` that it is not: so who
        counts the shelves in between leaves nothing out.
        """
        with self._turn() as counts:
            counts.pending += size

    def stay(self, size: int, /) -> None:
        """Take `leave` back for pages of `size` bytes together, which were not deleted."""
        with self._turn() as counts:
            counts.pending -= size

    def give(self, size: int, /) -> None:
        """Give back the room of a page that was deleted, after `leave`."""
        with self._turn() as counts:
            counts.used -= size
            counts.pending -= size
            counts.pages -= 1

    def limit(self, capacity: int, /) -> int:
        """Give the bytes that the tier may hold now: its capacity, or what its ground bears."""
        with self._turn() as counts:
            return min(capacity, max(0, counts.used - counts.pending + self._spare()))

    def recount(self, shelves: Callable[[], Iterable[tuple[PageId, int]]], /) -> None:
        """Count what is on the `shelves`, and forget what killed processes had pending.

        Meanwhile all goes on: what comes while the shelves are listed may be counted twice, and
        what goes may be counted still; nothing is ever left out. As long as that may hide some of
        what is too much the room stays `doubtful`, to be counted again.
        """
        with self._turn() as counts:
            before, added, orphaned = replace(counts), self._added, self._orphaned
        sizes = [size for _, size in shelves()]
        with self._turn() as counts:
            since = self._added - added + self._orphaned - orphaned
            found = sum(sizes) + counts.pending + since
            still = counts == before and not counts.pending and not since
            doubt, was = self._orphaned - self._cleared, counts.used
            if not counts.known:
                doubt = was = found
            counts.used = min(found, was)
            counts.pages = len(sizes)
            counts.known = True
            # Nothing came or went: it is exact. Else all that was given back is not in doubt.
            doubt = 0 if still else max(0, doubt - (was - counts.used))
            self._cleared = self._orphaned - doubt

    @property
    def doubtful(self) -> bool:
        """Whether more may be counted than there is, or nothing is known."""
        with self._turn() as counts:
            return self._orphaned != self._cleared or not counts.known

    def reclaim(self) -> None:
        """Take back what killed processes had reserved; within one process there are none."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock that one thread of all processes can have: to look, then to shelve."""
        with self._one:
            yield

    def close(self) -> None:
        """Let go of everything; harmless when called twice."""

    def _spare(self) -> int:
        """Bytes that the ground under the tier can still give, pending ones included."""
        return sys.maxsize

    @contextmanager
    def _turn(self) -> Iterator[Counts]:
        with self._lock:
            yield self._counts


class FileRoom(RoomCounter):
    """Counts the room of a tier in files of its directory, for all processes at once.

    ``room`` holds the counts, and a slot for each user with what it has pending; it is locked
    for each change. ``room.users`` is locked shared by every user, and its byte of the user's
    slot exclusively: so what a killed process had reserved can be told (`reclaim`), and taken
    back when the shelves were counted (`recount`). ``room.one`` is the lock of `alone`. Must be
    made after a fork, not before: the locks belong to the open file.

    The count outlives its users, so that a start need not look at the shelves. It is right, or
    too much, after any kill; only a machine that went down without a last `close` may have lost
    some of it, and then nobody gets room until `recount`.
    """

    def __init__(self, directory: str | Path, *, min_free: int = 0) -> None:
        """Open the count in `directory`; `min_free` bytes of its file system stay free.

        Raises StorageError when the files cannot be made.
        """
        super().__init__()
        self._directory = Path(directory)
        self._min_free = min_free
        self._boot = _boot()
        self._clean = False
        self._slot = 0
        self._mine = 0  # pending of this process, as it was last written
        self._pending = 0  # of all processes, as this turn found it
        self._written = bytearray(_SIZE)
        self._open: list[int] = []
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._open_files()
        except OSError as error:
            self.close()
            raise StorageError(f"room of {directory}: {error}") from error

    def enter(self, shelves: Callable[[], Iterable[tuple[PageId, int]]], /) -> None:
        """Begin to use the room; the first user sees to the count, others wait for that."""
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Somebody is here or counting; this waits for the latter.
            fcntl.flock(self._users, fcntl.LOCK_SH)
            self.reclaim()
            return
        if os.fstat(self._file).st_size != _SIZE:
            self.recount(shelves)
        else:
            written = os.pread(self._file, _SIZE, 0)
            flags, boot = _HEAD.unpack_from(written)[-2:]
            believed = bool(flags & _CLEAN) or (any(self._boot) and boot == self._boot)
            self.reclaim()
            with self._turn() as counts:
                counts.known = counts.known and believed
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def reclaim(self) -> None:
        """Find out what killed processes had reserved; it goes with the next `recount`.

        Not at once: they may have died when their page lay on the shelf, but was not settled.
        """
        with self._turn() as counts:
            for slot in range(_SLOTS):
                held = self._held(slot)
                if held and slot != self._slot and _lock_slot(self._users, slot):
                    self._orphan(counts, slot, held)
                    _lock_slot(self._users, slot, fcntl.F_UNLCK)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock that one thread of all processes can have: to look, then to shelve."""
        with self._one:
            shelving = self._shelving
            fcntl.flock(shelving, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(shelving, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files, and with them give up the locks; harmless when called twice."""
        if len(self._open) == len(_NAMES):
            with suppress(OSError, StorageError):
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The last one: what is counted now is all there is.
                self._clean = True
                with self._turn():
                    pass
                os.fsync(self._file)
        while self._open:
            os.close(self._open.pop())

    def _open_files(self) -> None:
        """Open the files, in place of those that were open before, and take a slot."""
        with ExitStack() as stack:
            opened = []
            for name in _NAMES:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                opened.append(os.open(self._directory / name, flags, 0o600))
                stack.callback(os.close, opened[-1])
            users = opened[1]
            slot = next((slot for slot in range(_SLOTS) if _lock_slot(users, slot)), None)
            if slot is None:
                raise StorageError(f"{self._directory}: more than {_SLOTS} processes")
            stack.pop_all()
        before, self._open = self._open, opened
        self._file, self._users, self._shelving = opened
        self._slot = slot
        for descriptor in before:
            os.close(descriptor)

    def _spare(self) -> int:
        if not self._min_free:
            return sys.maxsize
        system = os.statvfs(self._directory)
        return system.f_bavail * system.f_frsize - self._min_free

    @contextmanager
    def _turn(self) -> Iterator[Counts]:
        with self._lock:
            try:
                self._find_again()
                fcntl.flock(self._file, fcntl.LOCK_EX)
                try:
                    written = os.pread(self._file, _SIZE, 0)
                    counts = self._load(written)
                    yield counts
                    mine = self._mine + counts.pending - self._pending
                    if self._stored(mine) != written:
                        os.pwrite(self._file, self._written, 0)
                    self._mine = mine
                finally:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
            except OSError as error:
                raise StorageError(f"room of {self._directory}: {error}") from error

    def _load(self, written: bytes) -> Counts:
        counts = self._counts
        if len(written) != _SIZE:
            written = bytes(_SIZE)
        self._written = bytearray(written)
        head = _HEAD.unpack_from(written)
        counts.used, counts.pending, counts.pages = head[:3]
        self._added, self._orphaned, self._cleared, flags = head[3:7]
        counts.known = bool(flags & _KNOWN)
        if (held := self._held(self._slot)) != self._mine:
            # An earlier owner of this slot died, or this one's files were removed.
            self._orphan(counts, self._slot, held)
            counts.used += self._mine
            counts.pending += self._mine
        self._pending = counts.pending
        return counts

    def _held(self, slot: int) -> int:
        held: int = _SLOT.unpack_from(self._written, _HEAD.size + slot * _SLOT.size)[0]
        return held

    def _orphan(self, counts: Counts, slot: int, held: int) -> None:
        counts.pending -= held
        self._pending -= held
        self._orphaned += held
        _SLOT.pack_into(self._written, _HEAD.size + slot * _SLOT.size, 0)

    def _stored(self, mine: int) -> bytearray:
        """Write the counts of this turn, and what this process has pending, in one piece."""
        counts, written = self._counts, self._written
        flags = (_KNOWN if counts.known else 0) | (_CLEAN if self._clean else 0)
        head = (counts.used, counts.pending, counts.pages)
        ever = (self._added, self._orphaned, self._cleared)
        _HEAD.pack_into(written, 0, *head, *ever, flags, self._boot)
        _SLOT.pack_into(written, _HEAD.size + self._slot * _SLOT.size, mine)
        return written

    def _find_again(self) -> None:
        """Use the files that are there now, if somebody removed those that were open."""
        if os.fstat(self._file).st_nlink:
            return
        self._open_files()
        fcntl.flock(self._users, fcntl.LOCK_SH)


def _lock_slot(users: int, slot: int, kind: int = fcntl.F_WRLCK) -> bool:
    """Lock the byte of a slot; the lock belongs to the open file and goes with its process."""
    wanted = _FLOCK.pack(kind, os.SEEK_SET, slot, 1, 0)
    try:
        fcntl.fcntl(users, fcntl.F_OFD_SETLK, wanted)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _boot() -> bytes:
    """Name this life of the machine; zeros where the system does not tell."""
    try:
        return bytes.fromhex(_BOOT.read_text("ascii").strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)
