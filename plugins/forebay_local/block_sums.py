"""CRC32C of every block of a page: kept beside its bytes, and held against them later."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Final

from awscrt.checksums import crc32c

from forebay.errors import Corrupt

BLOCK: Final = 1 << 20
"""Bytes under one sum."""
ATTRIBUTE: Final = "user.forebay.crc32c"
ATTRIBUTE_LIMIT: Final = 2048
"""Bytes of sums that every file system with attributes takes; more go into a file beside."""
ABSENT: Final = frozenset([errno.ENODATA, errno.ENOTSUP])


class BlockSums:
    """Sums up bytes that come in portions of any length."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._sum = 0
        self._room = BLOCK

    def update(self, portion: bytes | memoryview) -> None:
        """Take the next bytes."""
        rest = memoryview(portion)
        while rest:
            piece = rest[: self._room]
            self._sum = crc32c(piece, self._sum)
            self._room -= len(piece)
            if not self._room:
                self._done += self._sum.to_bytes(4, "big")
                self._sum, self._room = 0, BLOCK
            rest = rest[len(piece) :]

    def packed(self) -> bytes:
        """Give the sum of each block, the last one's short or not, 4 bytes big-endian."""
        last = b"" if self._room == BLOCK else self._sum.to_bytes(4, "big")
        return bytes(self._done) + last


def attach(fd: int, sums: bytes) -> None:
    """Keep sums as an attribute of the file; a file system without attributes keeps none."""
    try:
        os.setxattr(fd, ATTRIBUTE, sums)
    except OSError as error:
        if error.errno not in ABSENT:
            raise


def beside(fd: int, sums: bytes) -> bytes:
    """Give what the file beside a page holds; it names the page's inode, so it fits no other."""
    return os.fstat(fd).st_ino.to_bytes(8, "big") + sums


def find(fd: int, beside_path: str) -> bytes | None:
    """Give the sums kept for the open page, or None where there are none."""
    try:
        return os.getxattr(fd, ATTRIBUTE)
    except OSError as error:
        if error.errno not in ABSENT:
            raise
    with suppress(FileNotFoundError), open(beside_path, "rb") as file:
        if int.from_bytes(file.read(8), "big") == os.fstat(fd).st_ino:
            return file.read()
    return None


def read_at(fd: int, length: int, offset: int) -> bytes:
    """Read `length` bytes at `offset`; fewer only at the end of the file."""
    first = os.pread(fd, length, offset)
    if len(first) == length or not first:
        return first
    pieces = [first]  # the kernel may stop short, after 2 GiB at the latest
    got = len(first)
    while got < length and (piece := os.pread(fd, length - got, offset + got)):
        pieces.append(piece)
        got += len(piece)
    return b"".join(pieces)


def check_count(size: int, sums: bytes, path: str) -> None:
    """Raise Corrupt where a page of `size` bytes cannot have these sums."""
    if len(sums) != 4 * -(-size // BLOCK):
        raise Corrupt(f"{path}: the page has {size} bytes, which is not what was put there")


def read_checked(fd: int, number: int, sums: bytes, path: str) -> bytes:
    """Read block `number` of a page. Raises Corrupt where it does not fit its sum."""
    block = read_at(fd, BLOCK, number * BLOCK)
    if crc32c(block).to_bytes(4, "big") != sums[4 * number : 4 * number + 4]:
        raise Corrupt(f"{path}: block {number} is not what was put there")
    return block
