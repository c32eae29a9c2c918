"""How many bytes of a tier are taken: one count for every process that uses the tier."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from forebay.errors import StorageError
from forebay.types import PageId

_LAYOUT = struct.Struct("<qqq")


@dataclass(slots=True)
class Counts:
    """Bytes `used`, of them `pending` in writers that have not committed; `pages` on shelves."""

    used: int = 0
    pending: int = 0
    pages: int = 0


class RoomCounter:
    """Counts the room of a tier that lives within one process.

    Bytes are counted before they are written and until after they are deleted, so what lies
    on the shelves is never more than what is counted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counts()
        self._one = threading.Lock()

    def enter(self, shelves: Callable[[], Iterable[tuple[PageId, int]]], /) -> None:
        """Begin to use the room; whoever is alone counts anew what is on the `shelves`."""
        self._recount(shelves())

    def counts(self) -> Counts:
        """Give the counts of this moment."""
        with self._turn() as counts:
            return replace(counts)

    def take(self, want: int, limit: int, /, *, gone: int | None = None) -> int:
        """Count up to `want` bytes as pending and return how many; `limit` is the capacity.

        `gone` is the size of a page that was just deleted: its room comes back in the same
        turn, so that nobody else can snatch it.
        """
        with self._turn() as counts:
            if gone is not None:
                counts.used -= gone
                counts.pages -= 1
            taken = max(0, min(want, limit - counts.used, self._spare() - counts.pending))
            counts.used += taken
            counts.pending += taken
            return taken

    def settle(self, held: int, kept: int, /, *, replaced: int | None = None) -> None:
        """Turn `held` pending bytes into a page of `kept`, instead of one of `replaced` bytes."""
        with self._turn() as counts:
            counts.used += kept - held
            counts.pending -= held
            counts.pages += 1
            if replaced is not None:
                counts.used -= replaced
                counts.pages -= 1

    def release(self, held: int, /) -> None:
        """Give pending bytes back."""
        with self._turn() as counts:
            counts.used -= held
            counts.pending -= held

    def give(self, size: int, /) -> None:
        """Give back the room of a page that was deleted."""
        with self._turn() as counts:
            counts.used -= size
            counts.pages -= 1

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock that one thread of all processes can have: to look, then to shelve."""
        with self._one:
            yield

    def close(self) -> None:
        """Let go of everything; harmless when called twice."""

    def _recount(self, shelves: Iterable[tuple[PageId, int]]) -> None:
        sizes = [size for _, size in shelves]
        with self._turn() as counts:
            counts.used, counts.pending, counts.pages = sum(sizes), 0, len(sizes)

    def _spare(self) -> int:
        """Bytes that the ground under the tier can still give, pending ones included."""
        return sys.maxsize

    @contextmanager
    def _turn(self) -> Iterator[Counts]:
        with self._lock:
            yield self._counts


class FileRoom(RoomCounter):
    """Counts the room of a tier in files of its directory, for all processes at once.

    ``room`` holds the counts and is locked for each change. ``room.users`` is locked shared
    by every user: who can lock it alone is the first since all others are gone, and counts
    anew, because a process that was killed leaves its reservations behind. ``room.one`` is
    the lock of `alone`. Must be made after a fork, not before: flock belongs to the open file.
    """

    def __init__(self, directory: str | Path, *, min_free: int = 0) -> None:
        """Open the count in `directory`; `min_free` bytes of its file system stay free.

        Raises StorageError when the files cannot be made.
        """
        super().__init__()
        self._directory = Path(directory)
        self._min_free = min_free
        self._open: list[int] = []
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for name in ("room", "room.users", "room.one"):
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._open.append(os.open(self._directory / name, flags, 0o600))
        except OSError as error:
            self.close()
            raise StorageError(f"room of {directory}: {error}") from error
        self._file, self._users, self._shelving = self._open

    def enter(self, shelves: Callable[[], Iterable[tuple[PageId, int]]], /) -> None:
        """Begin to use the room; the first user counts what is on the `shelves`, others wait."""
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # somebody is here or counting; the shared lock below waits for the latter
        else:
            self._recount(shelves())
        fcntl.flock(self._users, fcntl.LOCK_SH)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock that one thread of all processes can have: to look, then to shelve."""
        with self._one:
            fcntl.flock(self._shelving, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._shelving, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files, and with them give up the locks; harmless when called twice."""
        while self._open:
            os.close(self._open.pop())

    def _spare(self) -> int:
        if not self._min_free:
            return sys.maxsize
        system = os.statvfs(self._directory)
        return system.f_bavail * system.f_frsize - self._min_free

    @contextmanager
    def _turn(self) -> Iterator[Counts]:
        with self._lock:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                try:
                    written = os.pread(self._file, _LAYOUT.size, 0)
                    counts = Counts(*_LAYOUT.unpack(written)) if written else Counts()
                    yield counts
                    new = _LAYOUT.pack(counts.used, counts.pending, counts.pages)
                    if new != written:
                        os.pwrite(self._file, new, 0)
                finally:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
            except OSError as error:
                raise StorageError(f"room of {self._directory}: {error}") from error
