"""Times of files on kernels that stamp them by a clock of ticks (Linux before 6.13: 1 to 10 ms).

Two writes within a tick leave the same time there; newer kernels give every time that somebody
has seen a finer successor, and nothing here ever waits for them.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final

_COARSE: Final = 5  # CLOCK_REALTIME_COARSE, which Python does not name
_LOOKS: Final = 20
"""How often a file that is written to all the time is looked at."""


def tick() -> int:
    """Give the time (ns) that a write just now would leave on such a kernel; 0 elsewhere."""
    return time.clock_gettime_ns(_COARSE) if sys.platform == "linux" else 0


def rested(fd: int) -> os.stat_result:
    """Give the status of a file, as soon as its next write will leave another time."""
    found = os.fstat(fd)
    for _ in range(_LOOKS):
        if found.st_mtime_ns != tick():
            break
        time.sleep(0.001)
        found = os.fstat(fd)
    return found


def set_apart(fd: int) -> None:
    """Give a file that was written within this tick a time which no write of it will leave."""
    found = os.fstat(fd)
    if found.st_mtime_ns == tick():
        os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns - 1))
