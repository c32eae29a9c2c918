"""The words every room shares: small frozen values, without behaviour of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class WriteType(StrEnum):
    """Where a write goes before it is acknowledged (Alluxio's four write types)."""

    MUST_CACHE = "MUST_CACHE"
    CACHE_THROUGH = "CACHE_THROUGH"
    ASYNC_THROUGH = "ASYNC_THROUGH"
    THROUGH = "THROUGH"


class DeleteType(StrEnum):
    """Whether a delete reaches the under store (Alluxio's two delete types)."""

    ALLUXIO_AND_UFS = "ALLUXIO_AND_UFS"
    ALLUXIO_ONLY = "ALLUXIO_ONLY"


class PersistState(StrEnum):
    """How an object stands to the under store (Alluxio's persistence states)."""

    NOT_PERSISTED = "NOT_PERSISTED"
    TO_BE_PERSISTED = "TO_BE_PERSISTED"
    PERSISTED = "PERSISTED"


class Durability(StrEnum):
    """What an acknowledged write survives: a dead process, a power cut, the whole machine."""

    MEMORY = "memory"
    PROCESS = "process"
    DISK = "disk"
    UNDER_STORE = "under-store"


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `stop`, half-open; 0 <= start <= stop."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes the range covers."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is kept with the bytes of an object: content headers and user metadata.

    `headers` has lower-case S3 names as keys: content-type, content-encoding,
    content-disposition, content-language, cache-control, expires.
    `metadata` has the lower-case names behind ``x-amz-meta-``. `tags` are the object's tags.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What an under store tells of one object.

    `size` in bytes; `last_modified` aware, UTC. `fingerprint` changes whenever the bytes do
    (a version id, a strong ETag, or device, inode, size and times of a file). `etag` is set
    only where the store's own ETag is an S3 one (quotes left out). `attributes` is None where
    the store was not asked or keeps none.
    """

    key: str
    size: int
    last_modified: datetime
    fingerprint: str
    etag: str | None = None
    attributes: Attributes | None = None


@dataclass(frozen=True, slots=True)
class CommonPrefix:
    """Keys rolled up by a delimiter; `prefix` ends with the delimiter."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an under store can do; the conformance kit holds it to each claim and each denial."""

    any_key: bool = False
    """Holds every UTF-8 key of 1 to 1,024 bytes without NUL, `a` beside `a/b` included."""
    atomic_put: bool = False
    """Readers see the old object or the new one, never a part, whatever dies meanwhile."""
    conditional_put: bool = False
    """Honours if_match and if_none_match of put atomically."""
    attributes: bool = False
    """Gives back the attributes it was handed."""
    strong_etag: bool = False
    """Fills ObjectInfo.etag with the MD5 of the bytes or an S3 multipart ETag."""
    local_files: bool = False
    """`open` gives readers with a file descriptor (see ObjectReader.fileno)."""
    shared_between_processes: bool = False
    """Every process that opens the same URI sees the same objects."""
    persistent: bool = True
    """What is put outlives the process that put it."""


class StoredPart(NamedTuple):
    """A part that an under store holds: its number, its bytes, and what the store calls them."""

    number: int
    size: int
    tag: str


class PageId(NamedTuple):
    """One file on a shelf of the cache: page `index` of `page_size` bytes of a segment.

    `page_size` 0 means the whole segment in one. `segment` is never reused.
    """

    # A tuple, because every page of every read is looked for under its id more than once.
    segment: str
    page_size: int = 0
    index: int = 0  # type: ignore[assignment]  # tuple has a method of that name


@dataclass(frozen=True, slots=True)
class Credential:
    """What a credential store knows of one access key; `user` is whom requests act as."""

    access_key: str
    secret: str = field(repr=False)
    user: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking: the name that owns buckets and objects, and the access key it used."""

    user: str
    access_key: str | None = None


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """Conditions of a write, decided inside its commit; ETags without quotes, `*` for any.

    `if_none_match` is only ever ``*`` (S3 knows no other on writes).
    """

    if_match: str | None = None
    if_none_match: str | None = None

    def __bool__(self) -> bool:
        return self.if_match is not None or self.if_none_match is not None
