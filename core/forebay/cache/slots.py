"""Memory for what is being fetched: used again, since fresh memory costs as much as a copy."""

from __future__ import annotations

import ctypes
import mmap
import time
import weakref
from collections.abc import Iterator

from forebay.streams import BLOCK, Chunk, Reader, SupportsReadInto

_LEAST = 64 << 10
"""Bytes up to which memory is not worth keeping, and of the first block of a fetch."""
_SLOW = 0.1
"""Seconds after which a block is given on though it could be larger."""


class Slots:
    """Stretches of memory that come back by themselves when nobody refers to them any more.

    Up to `most` bytes are `kept` for the next fetches; the kernel may have them back at any time.
    """

    def __init__(self, most: int) -> None:
        """Take nothing yet: memory is shared with no other process."""
        self._most = most
        self._free: dict[int, list[mmap.mmap]] = {}

    @property
    def kept(self) -> int:
        """Bytes that wait for the next fetch."""
        return sum(size * len(free) for size, free in list(self._free.items()))

    def take(self, size: int) -> memoryview:
        """Give `size` (> 0) bytes of whatever content, for as long as they are referred to."""
        if size <= _LEAST:
            return memoryview(bytearray(size))
        full = 1 << (size - 1).bit_length()
        free = self._free.setdefault(full, [])
        try:
            memory = free.pop()
        except IndexError:
            memory = mmap.mmap(-1, full, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # Every view holds the array, and nothing else does.
        array = (ctypes.c_char * full).from_buffer(memory)
        weakref.finalize(array, self._give_back, full, memory).atexit = False
        return memoryview(array).cast("B")[:size]

    def _give_back(self, full: int, memory: mmap.mmap) -> None:
        # Called in any thread at any place: no lock, and what races here is kept once too often.
        if self.kept + full <= self._most:
            memory.madvise(mmap.MADV_FREE)
            self._free[full].append(memory)


def blocks(reader: Reader, length: int, slots: Slots) -> Iterator[Chunk]:
    """Give what a reader of `length` bytes gives, and one byte more if it has more.

    Blocks grow from 64 KiB to 1 MiB, so that the first byte leaves early and pages begin blocks,
    and stay small where they come slowly. Raises what the reader raises.
    """
    given, slow = 0, False
    into = reader.read_into if isinstance(reader, SupportsReadInto) else None
    room = memoryview(b"")
    while True:
        size = _LEAST if slow else min(max(_LEAST, given), BLOCK)
        began = time.monotonic()
        if into is None or given >= length:
            block: Chunk = reader.read(size if into is None else 1)
        else:
            # A slow client that still refers to a block keeps no more than a slot.
            room = room or slots.take(min(BLOCK, length - given))
            count = into(room[:size])
            block, room = room[:count], room[count:]
        slow = time.monotonic() - began > _SLOW
        if not block:
            return
        yield block
        given += len(block)
