"""Bytes on the move: what a body, a reader and a segment of a file are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

BLOCK = 1 << 20
"""Bytes moved at a time where nothing else decides."""


Chunk = bytes | memoryview
"""Bytes on their way; a view may be of memory that is used again once nobody refers to it."""


def own(chunk: Chunk) -> bytes:
    """Give the bytes of a chunk to keep: itself if it is bytes, else a copy."""
    return chunk if isinstance(chunk, bytes) else bytes(chunk)


class Reader(Protocol):
    """Anything that gives its bytes in order."""

    def read(self, size: int, /) -> bytes:
        """Give up to `size` (> 0) bytes; none only at the end. Raises what makes it unusable."""
        ...


class ViewReader(Reader, Protocol):
    """A reader that can show its bytes where they are."""

    def view(self, size: int, /) -> Chunk:
        """Do as `read`, without a copy where it can be had."""
        ...


@runtime_checkable
class SupportsReadInto(Protocol):
    """A reader that can put its bytes where they are wanted.

    The name is not that of Python's files: whoever builds on one of those has its `readinto`
    without having thought of it.
    """

    def read_into(self, room: memoryview, /) -> int:
        """Do as `read` of as many bytes as `room` has, into its beginning; tell how many came."""
        ...


class Body(Reader, Protocol):
    """The body of a write: verified by the time `read` has said that it ended.

    `read` raises `BodyError` instead of giving the end when digest, length, chunk signature
    or trailer do not fit, so a store that reads to the end cannot publish a bad body. The
    other attributes are right only after the end was read.
    """

    length: int | None
    """Bytes announced, or None when the length shows only at the end."""

    @property
    def md5(self) -> str:
        """Hex MD5 of the bytes given."""
        ...

    @property
    def checksums(self) -> Mapping[str, str]:
        """Additional checksums to keep, by S3 algorithm name (``crc32c``), in base64."""
        ...


class ReaderBody:
    """A body made from a reader that needs no verification (a copy, a marker)."""

    def __init__(self, reader: Reader, length: int | None) -> None:
        self._reader = reader
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.length = length

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes and count them into the MD5."""
        block = self._reader.read(size)
        self._md5.update(block)
        return block

    @property
    def md5(self) -> str:
        """Hex MD5 of the bytes given so far."""
        return self._md5.hexdigest()

    @property
    def checksums(self) -> Mapping[str, str]:
        """A plain reader brings none."""
        return {}


class BytesReader:
    """A reader over bytes that are in memory already."""

    def __init__(self, content: bytes) -> None:
        self._rest = memoryview(content)

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes."""
        block = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        return block


class ChunksReader:
    """A reader over an iterator of blocks of any length."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, as the iterator brings them."""
        return own(self.view(size))

    def view(self, size: int, /) -> Chunk:
        """Give up to `size` bytes, as the iterator brings them and where they are."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            if 0 < len(chunk) <= size:
                return chunk  # most often
            self._rest = memoryview(chunk)
        block = self._rest[:size]
        self._rest = self._rest[size:]
        return block


@dataclass(frozen=True, slots=True)
class Segment:
    """`length` bytes at `offset` of the open file `fd`: what sendfile wants."""

    fd: int
    offset: int
    length: int


def copy_all(reader: Reader, write: WriteInto, block: int = BLOCK) -> int:
    """Move everything from `reader` into `write`; return the number of bytes."""
    total = 0
    while chunk := reader.read(block):
        write(chunk)
        total += len(chunk)
    return total


class WriteInto(Protocol):
    """The `write` of a file or page writer."""

    def __call__(self, block: bytes, /) -> object:
        """Take one block."""
        ...
