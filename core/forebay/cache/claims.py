"""Claims on pages: of all processes of a node, one at a time fetches a page."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from pathlib import Path

from forebay.errors import StorageError

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64-bit Linux
_PAGES = 22
"""Bits of a lock's place that tell the page; the others tell the segment."""


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
            self._lock(fcntl.F_WRLCK, segment, first, stop)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def drop(self, segment: str, first: int, stop: int) -> None:
        """Give pages back; harmless when they were not claimed."""
        self._lock(fcntl.F_UNLCK, segment, first, stop)

    def close(self) -> None:
        """Close the file, and with it give up every claim; harmless when called twice."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _lock(self, kind: int, segment: str, first: int, stop: int) -> None:
        if self._file < 0:
            return
        digest = hashlib.blake2b(segment.encode(), digest_size=5).digest()
        # 62 bits: the kernel counts places as signed numbers.
        place = (int.from_bytes(digest, "big") << _PAGES) % (1 << 62)
        wanted = _FLOCK.pack(kind, os.SEEK_SET, place + first, stop - first, 0)
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, wanted)
