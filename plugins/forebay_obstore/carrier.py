"""What carries requests to a bucket: the library, or signed requests of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from forebay.types import Attributes, CommonPrefix, ObjectInfo

PART = 8 << 20
"""Bytes of a part, and those up to which an object is put in one request."""
MOST_PARTS = 10_000
PARTS_IN_FLIGHT = 4
"""Requests with parts that one upload has under way at most."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of the object that is replaced: nothing, its ETag, or that there is none."""

    etag: str | None = None
    absent: bool = False

    def __bool__(self) -> bool:
        return self.absent or self.etag is not None


@dataclass(frozen=True, slots=True)
class Stream:
    """The answer to a request for bytes: what came along about the object, then the bytes.

    `blocks` gives them as they arrive, of any length, and raises storage errors; where `into` is
    there, it may be used instead: it fills memory, and gives less only at the end. `close` lets
    go of the connection.
    """

    info: ObjectInfo
    blocks: Iterator[bytes]
    close: Callable[[], object]
    into: Callable[[memoryview], int] | None = None


class Carrier(Protocol):
    """Requests for whole keys, the mount's prefix included; they raise storage errors."""

    def head(self, key: str, /, *, tags: bool = True) -> ObjectInfo:
        """Tell of one object; without `tags` they need not be asked for. Raises NotFound."""
        ...

    def stream(self, key: str, start: int, stop: int, etag: str, /) -> Stream:
        """Get bytes, half-open and at least one, of the version with `etag`, in one request.

        Raises NotFound, PreconditionFailed.
        """
        ...

    def put(self, key: str, content: bytes, attributes: Attributes, condition: Condition, /) -> str:
        """Put an object in one request; give its ETag."""
        ...

    def upload(
        self,
        key: str,
        blocks: Iterator[bytes],
        size: int | None,
        attributes: Attributes,
        condition: Condition,
        /,
    ) -> str:
        """Put an object in parts; give its ETag.

        What `blocks` raises passes through and leaves nothing behind.
        """
        ...

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success."""
        ...

    def listing(
        self, prefix: str, delimiter: str, start_after: str, /
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List in order; the bound may be taken loosely, what lies before it is left out later."""
        ...


def bare(etag: str | None) -> str:
    """Take the quotes off an ETag."""
    return (etag or "").strip('"')


def quoted(etag: str) -> str:
    """Put the quotes back; a weak ETag kept its own."""
    return etag if etag.startswith("W/") else f'"{etag}"'


def fingerprint(size: int, etag: str) -> str:
    """Name a version: listings tell the same of it as requests for it do."""
    return f"{size}-{etag}"


def version(named: str) -> tuple[int, str] | None:
    """Give size and ETag of a fingerprint; None when it is not one of ours."""
    size, found, etag = named.partition("-")
    return (int(size), etag) if found and etag and size.isascii() and size.isdigit() else None


def told(
    key: str,
    size: int,
    modified: datetime,
    etag: str,
    *,
    strong: bool,
    attributes: Attributes | None = None,
) -> ObjectInfo:
    """Make the info of an object; times in whole seconds, all that a header can tell."""
    return ObjectInfo(
        key,
        size,
        modified.astimezone(UTC).replace(microsecond=0),
        fingerprint(size, etag),
        etag if strong else None,
        attributes,
    )


def part_size(size: int | None, least: int = PART) -> int:
    """Give the size of parts with which an object of `size` bytes does not have too many."""
    return 2 * least if size is None else max(least, -(-size // MOST_PARTS))
