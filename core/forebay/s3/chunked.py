"""The aws-chunked framings of a body: sizes, chunk signatures and trailers taken off.

    size[;chunk-signature=hex] CRLF bytes CRLF ... 0[;chunk-signature=hex] CRLF
    [name:value CRLF ...] [x-amz-trailer-signature:hex CRLF] CRLF

Source: AWS, "Signature calculations for the Authorization header: transferring payload in
multiple chunks", and the same with trailing headers.
"""

from __future__ import annotations

import re
from typing import Protocol

from forebay.errors import BodyError
from forebay.streams import Reader

_BLOCK = 256 << 10
_MAX_LINE = 8 << 10
_MAX_TRAILERS = 16 << 10
_MAX_TRAILER_LINES = 100

_UNSIGNED = re.compile(rb"([0-9a-fA-F]{1,16})")
_SIGNED = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([0-9a-fA-F]{64})")
# minio-go ends a trailer's value with a line feed before the CRLF, as AWS's first samples did.
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x21-\x7e]?[\x20-\x7e]*?)[ \t]*\n?")
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


class ChunkVerifier(Protocol):
    """Holds the chunks to their signatures; raises BodyError SignatureDoesNotMatch."""

    def block(self, block: bytes, /) -> None:
        """Take the next bytes of the chunk under way."""
        ...

    def chunk(self, signature: str, /) -> None:
        """Verify the chunk whose bytes were just taken; the last one is empty."""
        ...

    def trailer(self, signature: str, block: bytes, /) -> None:
        """Verify the trailers, given as ``name:value`` lines that end with a line feed."""
        ...


class ChunkedReader:
    """Gives the bytes inside the framing of `raw`, which must end where the body ends.

    Whatever is not exactly as announced is a BodyError: IncompleteBody, InvalidChunkSizeError,
    MalformedTrailerError. After the end, `trailers` has what came behind the last chunk, by
    lower-case name.
    """

    def __init__(
        self,
        raw: Reader,
        *,
        decoded_length: int | None,
        signed: bool,
        trailer: bool,
        verify: ChunkVerifier | None = None,
    ) -> None:
        self.trailers: dict[str, str] = {}
        self._raw = raw
        self._buffer = memoryview(b"")
        self._length = decoded_length
        self._count = 0
        self._signed = signed
        self._trailer = trailer
        self._verify = verify
        self._chunk_left = 0
        self._signature = ""
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Give `size` bytes, fewer only at the end."""
        pieces = []
        while size and not self._ended:
            if not self._chunk_left:
                self._begin_chunk()
                continue
            piece = self._take(min(size, self._chunk_left))
            pieces.append(piece)
            size -= len(piece)
            self._chunk_left -= len(piece)
            if self._verify is not None:
                self._verify.block(bytes(piece))
            if not self._chunk_left:
                self._end_chunk()
        return b"".join(pieces)

    def _begin_chunk(self) -> None:
        line = self._line(_MAX_LINE)
        match = (_SIGNED if self._signed else _UNSIGNED).fullmatch(line)
        if match is None:
            raise BodyError("InvalidChunkSizeError")
        self._chunk_left = int(match[1], 16)
        self._signature = match[2].decode("ascii") if self._signed else ""
        self._count += self._chunk_left
        if not self._chunk_left:
            self._finish()
        elif self._length is not None and self._count > self._length:
            raise BodyError("IncompleteBody", "The chunks hold more than was announced.")

    def _end_chunk(self) -> None:
        if self._line(0):
            raise BodyError("IncompleteBody", "A chunk is longer than its size.")
        if self._verify is not None:
            self._verify.chunk(self._signature)

    def _finish(self) -> None:
        """Read what is behind the last chunk; nothing may follow it."""
        if self._verify is not None:
            self._verify.chunk(self._signature)
        if self._trailer:
            self._read_trailers()
        elif self._line(0):
            raise BodyError("IncompleteBody", "Something follows the last chunk.")
        if self._length is not None and self._count != self._length:
            raise BodyError("IncompleteBody", "The chunks hold less than was announced.")
        if self._buffer or self._raw.read(1):
            raise BodyError("IncompleteBody", "Something follows the last chunk.")
        self._ended = True

    def _read_trailers(self) -> None:
        left = _MAX_TRAILERS
        signable = []
        while line := self._line(left, "MalformedTrailerError"):
            left -= len(line) + 2
            match = _TRAILER.fullmatch(line)
            name = match[1].decode("ascii").lower() if match else ""
            full = len(self.trailers) == _MAX_TRAILER_LINES
            after_signature = _TRAILER_SIGNATURE in self.trailers
            if match is None or name in self.trailers or full or after_signature:
                raise BodyError("MalformedTrailerError")
            self.trailers[name] = match[2].decode("ascii")
            if name != _TRAILER_SIGNATURE:
                signable.append(f"{name}:{self.trailers[name]}\n")
        signature = self.trailers.pop(_TRAILER_SIGNATURE, None)
        if self._signed and signature is None:
            raise BodyError("MalformedTrailerError", "The trailers are not signed.")
        if self._verify is not None and signature is not None:
            self._verify.trailer(signature, "".join(signable).encode("ascii"))

    def _take(self, size: int) -> memoryview:
        if not self._buffer:
            self._buffer = memoryview(self._more())
        piece = self._buffer[:size]
        self._buffer = self._buffer[size:]
        return piece

    def _line(self, limit: int, fault: str = "IncompleteBody") -> bytes:
        """Give the bytes before the next CRLF, at most `limit`; BodyError `fault` if longer."""
        while True:
            window = bytes(self._buffer[: max(limit, 0) + 2])
            end = window.find(b"\r\n")
            if end >= 0:
                self._buffer = self._buffer[end + 2 :]
                return window[:end]
            if len(window) >= limit + 2:
                raise BodyError(fault)
            self._buffer = memoryview(window + self._more())

    def _more(self) -> bytes:
        block = self._raw.read(_BLOCK)
        if not block:
            raise BodyError("IncompleteBody")
        return block
