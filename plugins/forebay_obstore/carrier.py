"""What carries requests to a bucket: the library, or signed requests of our own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from forebay.types import Attributes, CommonPrefix, ObjectInfo

SMALL = 16 << 20
"""Bytes up to which an object is put in one request."""
PART = 8 << 20
MOST_PARTS = 10_000
PARTS_IN_FLIGHT = 4


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of the object that is replaced: nothing, its ETag, or that there is none."""

    etag: str | None = None
    absent: bool = False

    def __bool__(self) -> bool:
        return self.absent or self.etag is not None


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bytes of an object, and what came along about it."""

    info: ObjectInfo
    content: memoryview


class Carrier(Protocol):
    """Requests for whole keys, the mount's prefix included; they raise storage errors."""

    def head(self, key: str, /, *, tags: bool = True) -> ObjectInfo:
        """Tell of one object; without `tags` they need not be asked for. Raises NotFound."""
        ...

    def fetch(self, key: str, start: int, stop: int, etag: str | None, /) -> Fetched:
        """Get bytes, half-open and at least one, of the version with `etag`."""
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
        """Put an object in parts; give its ETag. What `blocks` raises leaves nothing behind."""
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
