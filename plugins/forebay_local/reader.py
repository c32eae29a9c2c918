"""An open object of the local file system."""

from __future__ import annotations

import os

from forebay.errors import SourceChanged
from forebay.types import ByteRange, ObjectInfo
from forebay_local.faults import Translated


class LocalReader:
    """Gives `byte_range` of the open file `fd`, which the opener closes.

    Reads at positions, so the descriptor's own offset stays at 0 for sendfile.
    """

    def __init__(
        self, fd: int, info: ObjectInfo, byte_range: ByteRange | None, at: os.stat_result
    ) -> None:
        """Read what `info` was told of by the status `at`."""
        self._fd = fd
        self._opened = at
        self._at = min(byte_range.start, info.size) if byte_range else 0
        self._stop = min(byte_range.stop, info.size) if byte_range else info.size
        self.info = info

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes. Raises SourceChanged before the last of a changed file."""
        wanted = min(size, self._stop - self._at)
        if wanted <= 0:
            return b""
        with Translated(self.info.key):
            block = os.pread(self._fd, wanted, self._at)
            self._at += len(block)
            if not block or self._at == self._stop:
                self._check(short=not block)
        return block

    def fileno(self) -> int:
        """Give the descriptor of the file, from byte 0 of the object.

        Raises SourceChanged when it was written to since it was opened.
        """
        self._check(short=False)
        return self._fd

    def _check(self, *, short: bool) -> None:
        # Size and time only: a file that was replaced or removed keeps its bytes for us.
        now, then = os.fstat(self._fd), self._opened
        if short or (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns):
            raise SourceChanged(f"{self.info.key!r} was written to while it was read")
