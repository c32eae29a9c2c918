"""Reading one version of an object as its bytes arrive."""

from __future__ import annotations

from collections.abc import Callable

from forebay.errors import NotFound, NotSupported, PreconditionFailed, SourceChanged, Unavailable
from forebay.types import ObjectInfo
from forebay_obstore.carrier import Stream


class ObstoreReader:
    """Gives bytes `start` to `stop` of an open object, in one request if nothing breaks.

    `stream` asks for the bytes from there to `stop`; the constructor calls it, so that its errors
    are the opener's, and takes `info` from it where that is not known yet. A connection that
    breaks after it brought something is opened again where it broke: a slow client outlives the
    patience of servers.
    """

    def __init__(
        self,
        stream: Callable[[int], Stream],
        start: int,
        stop: int,
        info: ObjectInfo | None = None,
    ) -> None:
        self._open = stream
        self._at = start
        self._stop = stop
        self._stream = stream(start) if start < stop else None
        self._fresh = True
        self._block = memoryview(b"")
        told = info if self._stream is None else info or self._stream.info
        assert told is not None, "what is not asked for must be told"
        self.info = told

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, as many as have arrived. Raises SourceChanged, Unavailable."""
        if not self._block:
            self._block = self._arrived()
        block = bytes(self._block[:size])
        self._block = self._block[size:]
        return block

    def read_into(self, room: memoryview, /) -> int:
        """Do as `read`, into `room`; it is filled where no library has the bytes already."""
        block = self._block or self._arrived(room)
        count = min(len(block), len(room))
        if block.obj is not room.obj:
            room[:count] = block[:count]
        self._block = block[count:]
        return count

    def fileno(self) -> int:
        """Raise NotSupported: there is no file."""
        raise NotSupported("an object in an object store has no file")

    def close(self) -> None:
        """Let go of the connection."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _arrived(self, room: memoryview | None = None) -> memoryview:
        """Give what comes next, of any length; it may be the begin of `room`."""
        while self._at < self._stop:
            try:
                block = self._next(room)
            except Unavailable:
                self.close()
                if self._fresh:
                    raise
                continue
            # A server without ranges sends more than it was asked for.
            block = block[: self._stop - self._at]
            self._at += len(block)
            self._fresh = False
            if block:
                return block
        self.close()
        return memoryview(b"")

    def _next(self, room: memoryview | None) -> memoryview:
        if self._stream is None:
            self._fresh = True
            try:
                self._stream = self._open(self._at)
            except (NotFound, PreconditionFailed) as error:
                raise SourceChanged(str(error)) from error
        if room is not None and self._stream.into is not None:
            if count := self._stream.into(room[: self._stop - self._at]):
                return room[:count]
        else:
            for block in self._stream.blocks:
                return memoryview(block)
        raise Unavailable(f"{self.info.key!r}: the answer is shorter than it was said to be")
