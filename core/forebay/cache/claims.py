"""Claims on pages: of all processes of a node, one at a time fetches a page."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forebay.errors import StorageError

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64-bit Linux
_PAGES = 22
"""Bits of a lock's place that tell the page; the others tell the segment."""
_WISHES = 1 << 62
"""Where the places of wishes begin; those of claims lie before."""


class Claims:
    """Byte-range locks on one file, a byte for each page of each segment.

    They belong to the open file, so they die with the process, and nothing is left to clean.
    The threads of one process are not told apart. Must be made after a fork, not before.
    Two segments may share their bytes by accident: then one waits for the other in vain, or
    a page is fetched twice.
    """

    def __init__(self, path: str | Path | None) -> None:
        """Open the file at `path`; with None every claim is granted. Raises StorageError."""
        self._file = -1
        if path is not None:
            try:
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StorageError(f"claims of {path}: {error}") from error

    def take(self, segment: str, first: int, stop: int) -> bool:
        """Claim pages `first` to `stop` of a segment; False when another process has one."""
        try:
            self._lock(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, segment, first, stop)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def drop(self, segment: str, first: int, stop: int) -> None:
        """Give pages back; harmless when they were not claimed."""
        self._lock(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, segment, first, stop)

    @contextmanager
    def wish(self, segment: str, first: int, stop: int) -> Iterator[None]:
        """Let the process that has pages `first` to `stop` know that this one waits for them."""
        self._lock(fcntl.F_OFD_SETLK, fcntl.F_RDLCK, segment, first, stop, _WISHES)
        try:
            yield
        finally:
            self._lock(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, segment, first, stop, _WISHES)

    def wished(self, segment: str, first: int, stop: int) -> bool:
        """Tell whether another process waits for one of these pages."""
        kind = self._lock(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, segment, first, stop, _WISHES)
        return kind != fcntl.F_UNLCK

    def close(self) -> None:
        """Close the file, and with it give up every claim; harmless when called twice."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _lock(
        self, command: int, kind: int, segment: str, first: int, stop: int, begin: int = 0
    ) -> int:
        """Do something with the locks of pages; give the kind that was answered."""
        if self._file < 0:
            return fcntl.F_UNLCK
        digest = hashlib.blake2b(segment.encode(), digest_size=5).digest()
        # 62 bits, and one for wishes: the kernel counts places as signed numbers.
        place = begin + (int.from_bytes(digest, "big") << _PAGES) % _WISHES
        wanted = _FLOCK.pack(kind, os.SEEK_SET, place + first, stop - first, 0)
        answered: int = _FLOCK.unpack(fcntl.fcntl(self._file, command, wanted))[0]
        return answered
