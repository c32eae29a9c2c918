"""Object bytes on their way out: a file the server sends by itself, or blocks."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from forebay.errors import SourceChanged
from forebay.objects.read import OpenObject
from forebay.s3.call import Answer
from forebay.streams import Chunk, Segment, ViewReader, own

SMALL = 64 << 10
"""Bodies up to this size are read at once: cheaper than a file that is handed on."""

BLOCK = 1 << 20


class SegmentFile:
    """One segment as a binary file at its own position, for ``wsgi.file_wrapper``.

    `fileno` and `tell` tell a server that knows sendfile where the bytes lie. The position is
    kept here and not by the kernel, because descriptors are shared between requests.
    """

    def __init__(
        self,
        segment: Segment,
        close: Callable[[], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a segment that `check` finds unchanged, or raises, ahead of its last bytes."""
        self._segment = segment
        self._check = check
        self._position = segment.offset
        self._stop = segment.offset + segment.length
        self._close = close
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK):
            yield block

    def fileno(self) -> int:
        """Give the descriptor of the file that holds the segment."""
        return self._segment.fd

    def seekable(self) -> bool:
        """Say yes: `seek` and `tell` work."""
        return True

    def tell(self) -> int:
        """Give the position in the file, which begins at the segment's offset."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position in the file; the end is the segment's end."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._stop}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Give up to `size` bytes. Raises SourceChanged when the file is not what it was."""
        left = self._stop - self._position
        size = left if size < 0 else min(size, left)
        block = os.pread(self._segment.fd, size, self._position)
        if size and not block:
            raise SourceChanged("a file became shorter while it was being sent")
        self._position += len(block)
        if self._position == self._stop:
            self._check()
        return block

    def close(self) -> None:
        """Let go of the object, once."""
        if not self.closed:
            self.closed = True
            self._close()


class SegmentsFile:
    """Several segments, one after another, as a binary file whose position begins at 0.

    It has no `fileno`: its bytes lie in several files.
    """

    def __init__(self, segments: Sequence[Segment], close: Callable[[], None]) -> None:
        self._segments = segments
        self._stops = list(accumulate(segment.length for segment in segments))
        self._position = 0
        self._close = close
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK):
            yield block

    def seekable(self) -> bool:
        """Say yes: `seek` and `tell` work."""
        return True

    def tell(self) -> int:
        """Give the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        total = self._stops[-1]
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: total}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Give up to `size` bytes, of one segment. Raises SourceChanged when a file ends early."""
        number = bisect_right(self._stops, self._position)
        if number == len(self._stops) or not size:
            return b""
        segment, left = self._segments[number], self._stops[number] - self._position
        place = segment.offset + segment.length - left
        block = os.pread(segment.fd, left if size < 0 else min(size, left), place)
        if not block:
            raise SourceChanged("a file became shorter while it was being sent")
        self._position += len(block)
        return block

    def close(self) -> None:
        """Let go of the object, once."""
        if not self.closed:
            self.closed = True
            self._close()


class Blocks:
    """`length` bytes of a reader, block by block; a short reader raises instead of ending."""

    views = False
    """Whether the server takes views of memory, too; PEP 3333 knows bytes only."""

    def __init__(
        self, first: Chunk, reader: ViewReader, length: int, close: Callable[[], None]
    ) -> None:
        self._first = first
        self._reader = reader
        self._left = length
        self._close: Callable[[], None] | None = close

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        block, self._first = self._first, b""
        if not self._left:
            self.close()
            raise StopIteration
        block = block or self._reader.view(min(BLOCK, self._left))
        if not block:
            raise SourceChanged("the object ended before its length was sent")
        self._left -= len(block)
        return block if self.views else own(block)

    def close(self) -> None:
        """Let go of the object, once."""
        if self._close is not None:
            close, self._close = self._close, None
            close()


def send(answer: Answer, opened: OpenObject, length: int) -> Answer:
    """Put `length` bytes of an open object into the answer and see that it gets closed.

    The first bytes are read before anything is sent, so that a store that fails at once is a
    status and not a cut connection.
    """
    answer.headers["content-length"] = str(length)
    try:
        segments = opened.segments
        if segments and length > SMALL:
            answer.stream = (
                SegmentFile(segments[0], opened.close, opened.check)
                if len(segments) == 1
                else SegmentsFile(segments, opened.close)
            )
            return answer
        first = _whole(opened, segments, length) if length <= SMALL else opened.view(BLOCK)
        if len(first) == length:
            answer.body = own(first)
            opened.close()
        else:
            answer.stream = Blocks(first, opened, length, opened.close)
    except BaseException:
        opened.close()
        raise
    return answer


def _whole(opened: OpenObject, segments: list[Segment] | None, wanted: int) -> bytes:
    """Read all `wanted` bytes, in one call where they lie in one file."""
    if segments is not None and len(segments) == 1:
        block = os.pread(segments[0].fd, wanted, segments[0].offset)
        if len(block) == wanted:
            opened.check()
            return block
        raise SourceChanged("a file is shorter than its record")
    block = b""
    while len(block) < wanted:
        more = opened.read(wanted - len(block))
        if not more:
            raise SourceChanged("the object is shorter than its record")
        block += more
    return block
