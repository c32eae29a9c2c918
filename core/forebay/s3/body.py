"""The body of a request: framing taken off, length and digests verified at its end."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from forebay.checksums import ALGORITHMS, parse_base64, parse_digest
from forebay.errors import BodyError
from forebay.s3.chunked import ChunkedReader, ChunkVerifier
from forebay.s3.errors import S3Error
from forebay.streams import Reader

MAX_SIZE = 5 << 30
"""Bytes of the largest object or part that one request can bring."""

_HASH = re.compile(r"[0-9a-fA-F]{64}")
_LENGTH = re.compile(r"[0-9]{1,19}", re.ASCII)
_CHECKSUM = "x-amz-checksum-"
_NOT_DIGESTS = frozenset({"algorithm", "mode", "type"})


class _Framing(NamedTuple):
    """Which of the aws-chunked forms a body has."""

    signed: bool
    trailer: bool


_FRAMINGS: Mapping[str, _Framing] = MappingProxyType(
    {
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": _Framing(signed=True, trailer=False),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": _Framing(signed=True, trailer=True),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER": _Framing(signed=False, trailer=True),
    }
)


class Digests:
    """Everything that is computed over the bytes of a body, in one place."""

    def __init__(self, names: frozenset[str]) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._checksums = {name: ALGORITHMS[name].new() for name in names}

    def update(self, block: bytes) -> None:
        """Take the next bytes."""
        self._md5.update(block)
        for checksum in self._checksums.values():
            checksum.update(block)

    def md5(self) -> bytes:
        """Give the MD5 of the bytes so far."""
        return self._md5.digest()

    def digest(self, name: str) -> bytes:
        """Give the checksum `name`, one of those asked for at the start, of the bytes so far."""
        return self._checksums[name].digest()


class Declared(NamedTuple):
    """What the headers of a request say of the bytes of its body."""

    payload_hash: bytes | None = None
    """SHA-256 of x-amz-content-sha256."""
    md5: bytes | None = None
    """Digest of Content-MD5."""
    algorithm: str = ""
    """Name of the additional checksum; its value is `checksum`, or comes in a trailer."""
    checksum: bytes | None = None


class RequestBody:
    """A `streams.Body`: raises BodyError instead of giving its end when anything does not fit.

    A body whose length is announced is verified before its last bytes are given, so a reader
    that counts instead of asking for the end is as safe. `algorithm` is the name of the
    declared additional checksum, or empty.
    """

    def __init__(
        self, source: Reader, declared: Declared, *, length: int | None, max_size: int
    ) -> None:
        self.length = length
        self.algorithm = declared.algorithm
        self._source = source
        self._declared = declared
        self._max_size = max_size
        hashed = {"sha256"} if declared.payload_hash is not None else set()
        named = {declared.algorithm} if declared.algorithm else set()
        self._digests = Digests(frozenset(hashed | named))
        self._count = 0
        self._ended = False
        self._fault: BodyError | None = None

    def read(self, size: int, /) -> bytes:
        """Give up to `size` (> 0) bytes, none only at the end; BodyError if the body is bad."""
        if self._fault is not None:
            raise self._fault
        if self._ended:
            return b""
        try:
            block = self._source.read(size)
            self._digests.update(block)
            self._count += len(block)
            if self._count > self._max_size:
                raise BodyError("EntityTooLarge", MaxSizeAllowed=str(self._max_size))
            if not block or self._count == self.length:
                self._finish(bool(block))
        except BodyError as fault:
            self._fault = fault
            raise
        return block

    @property
    def md5(self) -> str:
        """Hex MD5 of the bytes given; right after the end."""
        return self._digests.md5().hex()

    @property
    def checksums(self) -> Mapping[str, str]:
        """The declared additional checksum by its name, in base64; right after the end."""
        if not self.algorithm:
            return {}
        digest = self._digests.digest(self.algorithm)
        return {self.algorithm: base64.b64encode(digest).decode("ascii")}

    def _finish(self, end_unread: bool) -> None:
        if end_unread:
            self._source.read(1)
        declared, digests = self._declared, self._digests
        if declared.payload_hash is not None:
            computed = digests.digest("sha256")
            if computed != declared.payload_hash:
                raise BodyError(
                    "XAmzContentSHA256Mismatch",
                    ClientComputedContentSHA256=declared.payload_hash.hex(),
                    S3ComputedContentSHA256=computed.hex(),
                )
        if declared.md5 is not None and declared.md5 != digests.md5():
            raise BodyError(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=declared.md5.hex(),
                CalculatedDigest=digests.md5().hex(),
            )
        if self.algorithm:
            expected = declared.checksum if declared.checksum is not None else self._in_trailer()
            if expected != digests.digest(self.algorithm):
                raise BodyError(
                    "BadDigest",
                    f"The {self.algorithm.upper()} you specified did not match the calculated "
                    "checksum.",
                )
        self._ended = True

    def _in_trailer(self) -> bytes:
        name = _CHECKSUM + self.algorithm
        trailers = self._source.trailers if isinstance(self._source, ChunkedReader) else {}
        if name not in trailers:
            raise BodyError("MalformedTrailerError", f"The trailer {name} is missing.")
        try:
            return parse_base64(self.algorithm, trailers[name])
        except ValueError as error:
            raise BodyError(
                "InvalidRequest", f"Value for {name} trailing header is invalid."
            ) from error


def read_body(
    headers: Mapping[str, str],
    raw: Reader,
    *,
    content_length: int | None,
    transfer_chunked: bool,
    max_size: int = MAX_SIZE,
    object_checksums: bool = False,
    verify: ChunkVerifier | None = None,
) -> RequestBody:
    """Give the body of a request whose `headers` have lower-case names.

    `raw` are the bytes after the HTTP framing; `content_length` of them, or with
    `transfer_chunked` until it ends. `max_size` in bytes of the decoded body.
    `object_checksums` says that x-amz-checksum headers speak of an object, not of this body
    (CompleteMultipartUpload). `verify` is handed the chunk signatures.

    Raises S3Error for what the headers show: MissingContentLength, InvalidArgument,
    EntityTooLarge, InvalidDigest, InvalidRequest, NotImplemented.
    """
    if transfer_chunked:
        content_length = None
    elif content_length is None:
        raise S3Error("MissingContentLength")
    elif content_length < 0:
        raise _invalid("Content-Length", str(content_length))
    form = headers.get("x-amz-content-sha256")
    framing, payload_hash = _form(form, headers)
    algorithm, checksum = "", None
    if not object_checksums:
        algorithm, checksum = _declared_checksum(
            headers, trailers=bool(framing and framing.trailer)
        )
    declared = Declared(payload_hash, _content_md5(headers), algorithm, checksum)
    source = raw if content_length is None else _Exactly(raw, content_length)
    length = content_length
    if framing is not None:
        length = _decoded_length(headers)
        source = ChunkedReader(
            source,
            decoded_length=length,
            signed=framing.signed,
            trailer=framing.trailer,
            verify=verify,
        )
    if length is not None and length > max_size:
        raise S3Error("EntityTooLarge", ProposedSize=str(length), MaxSizeAllowed=str(max_size))
    return RequestBody(source, declared, length=length, max_size=max_size)


def content_encoding_without_aws_chunked(value: str | None) -> str | None:
    """Give the Content-Encoding to keep: what else stood beside ``aws-chunked``, or None.

    >>> content_encoding_without_aws_chunked("aws-chunked, gzip")
    'gzip'
    """
    if value is None or not value.strip():
        return None
    codings = [coding.strip() for coding in value.split(",")]
    kept = [coding for coding in codings if coding.lower() != "aws-chunked"]
    return value if len(kept) == len(codings) else ", ".join(kept) or None


class _Exactly:
    """Gives `left` bytes of a reader and never asks it for more; BodyError if it has fewer."""

    def __init__(self, raw: Reader, left: int) -> None:
        self._raw = raw
        self._left = left

    def read(self, size: int, /) -> bytes:
        if not self._left:
            return b""
        block = self._raw.read(min(size, self._left))
        if not block:
            raise BodyError("IncompleteBody")
        self._left -= len(block)
        return block


def _form(form: str | None, headers: Mapping[str, str]) -> tuple[_Framing | None, bytes | None]:
    """Give framing and payload hash that x-amz-content-sha256 and Content-Encoding announce."""
    encoding = headers.get("content-encoding", "")
    # Unsigned requests frame their body too, and have no x-amz-content-sha256 to say so. With
    # no decoded length beside it, "aws-chunked" is a word that someone wrote by hand.
    framed = "x-amz-decoded-content-length" in headers and encoding != (
        content_encoding_without_aws_chunked(encoding) or ""
    )
    if form is None or form == "UNSIGNED-PAYLOAD":
        return (_Framing(signed=False, trailer=True) if framed else None), None
    if form in _FRAMINGS:
        return _FRAMINGS[form], None
    if form.startswith("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"):
        raise S3Error("NotImplemented", "Chunks signed by SigV4A are not supported.")
    if not _HASH.fullmatch(form):
        raise S3Error(
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
            + ", ".join(_FRAMINGS)
            + " or a valid sha256 value.",
            ArgumentName="x-amz-content-sha256",
            ArgumentValue=form[:100],
        )
    if framed:
        raise S3Error("InvalidRequest", "An aws-chunked body cannot have a hash as a whole.")
    return None, bytes.fromhex(form)


def _decoded_length(headers: Mapping[str, str]) -> int:
    value = headers.get("x-amz-decoded-content-length")
    if value is None:
        raise S3Error("MissingContentLength")
    if not _LENGTH.fullmatch(value):
        raise _invalid("x-amz-decoded-content-length", value)
    return int(value)


def _content_md5(headers: Mapping[str, str]) -> bytes | None:
    value = headers.get("content-md5")
    if value is None:
        return None
    try:
        return parse_digest(value, 16)
    except ValueError as error:
        raise S3Error("InvalidDigest") from error


def _declared_checksum(headers: Mapping[str, str], *, trailers: bool) -> tuple[str, bytes | None]:
    """Give the one additional checksum that is announced, and its value unless a trailer has it."""
    values = {
        name.removeprefix(_CHECKSUM): value
        for name, value in headers.items()
        if name.startswith(_CHECKSUM) and name.removeprefix(_CHECKSUM) not in _NOT_DIGESTS
    }
    announced = headers.get("x-amz-trailer", "")
    trailing = [name.strip().lower() for name in announced.split(",") if name.strip()]
    in_trailers = [name.removeprefix(_CHECKSUM) for name in trailing]
    if any(_CHECKSUM + name not in trailing or name not in ALGORITHMS for name in in_trailers):
        raise _request("The value specified in the x-amz-trailer header is not supported")
    if in_trailers and not trailers:
        raise _request("The body has no trailers to hold what x-amz-trailer names.")
    names = [*values, *in_trailers]
    if len(names) > 1:
        raise _request(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    name = names[0] if names else ""
    if name and name not in ALGORITHMS:
        raise _request("The algorithm type you specified in x-amz-checksum- header is invalid.")
    _check_sdk_algorithm(headers.get("x-amz-sdk-checksum-algorithm"), name)
    if name not in values:
        return name, None
    try:
        return name, parse_base64(name, values[name])
    except ValueError as error:
        raise _request(f"Value for {_CHECKSUM}{name} header is invalid.") from error


def _check_sdk_algorithm(announced: str | None, name: str) -> None:
    if announced is None:
        return
    if announced.lower() not in ALGORITHMS:
        raise _request("Value for x-amz-sdk-checksum-algorithm header is invalid.")
    if not name:
        raise _request(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
            "x-amz-trailer headers were found."
        )
    if announced.lower() != name:
        raise _request("Value for x-amz-sdk-checksum-algorithm header is invalid.")


def _request(message: str) -> S3Error:
    return S3Error("InvalidRequest", message)


def _invalid(name: str, value: str) -> S3Error:
    return S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=value[:100])
