"""What the catalog remembers, as compact records; `FORMAT` counts their incompatible changes."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from forebay.types import PersistState

FORMAT = 1
"""Version of everything in this module and in `keys`; a newer one is refused at start."""


class Row(msgspec.Struct, array_like=True, frozen=True, omit_defaults=True, gc=False):
    """The shape of every record: fields in a fixed order, new ones only at the end."""


class Bucket(Row, frozen=True):
    """A bucket. `owner` is None when it came from a mount; `created` in ms since 1970."""

    id: int
    name: str
    created: int
    owner: str | None = None
    tags: dict[str, str] = {}


class SegmentRef(Row, frozen=True):
    """`length` bytes of a record that lie in segment `segment` from its start.

    For objects made of parts, `number`, `etag` (hex) and `checksums` are the part's own.
    `segment` is empty where no page of it can be anywhere but in the under store.
    """

    segment: str
    length: int
    number: int = 0
    etag: str = ""
    checksums: dict[str, str] = {}


class Record(Row, frozen=True):
    """An object as the namespace shows it.

    `etag` without quotes. `modified` in ms since 1970. `headers`, `metadata`, `tags` as in
    `forebay.types.Attributes`. `checksums` by S3 algorithm name; `checksum_type` is
    FULL_OBJECT or COMPOSITE. `fingerprint` is the under store's object that these bytes are,
    None while they are in no under store. `generation` is the mount's. `inline` says that the
    bytes are a row of their own; `parts` counts the parts of a completed multipart upload,
    whose segments lie under the object id. `synced` (ms) is when the under store was last asked.
    `local` says that the bytes are read from the under store's own file and never cached.
    `replaced` is, while the object is in no under store, the fingerprint that the store showed
    under its key, as far as that was known. `since` (ms) is when an object that came into the
    store without us was first seen, 0 for one that was written through us. `dated` (ms) is the
    time that the store gave the object at the last look, 0 before the first.
    """

    object_id: str
    seq: int
    size: int
    etag: str
    modified: int
    state: PersistState
    generation: int
    owner: str | None = None
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    checksums: dict[str, str] = {}
    checksum_type: str = ""
    fingerprint: str | None = None
    inline: bool = False
    segments: list[SegmentRef] = []
    parts: int = 0
    synced: int = 0
    write_type: str = ""
    local: bool = False
    replaced: str | None = None
    since: int = 0
    dated: int = 0


class Rule(Row, frozen=True):
    """What an operator wants of a path: to stay in the cache, and for how long to be there.

    `pinned` and `ttl` (ms, 0: none) with its `action` (``free`` or ``delete``) are independent;
    `since` (ms) is when it was pinned: earlier pins have the room.
    """

    pinned: bool = False
    ttl: int = 0
    action: str = "free"
    since: int = 0


class Intent(Row, frozen=True):
    """A write or delete that is about to change the under store of one key.

    `owner` is the process; when it is dead, whoever meets the intent asks the under store
    what happened. `record` is what a put is going to commit, None for a delete. `before` is
    the fingerprint the under store showed when the intent was taken. `failed` says that the
    owner has given up: whoever meets it may settle it, although the owner lives.
    """

    seq: int
    owner: int
    bucket: str
    record: Record | None = None
    before: str | None = None
    failed: bool = False


class Whiteout(Row, frozen=True):
    """An object hidden by ALLUXIO_ONLY: stays hidden while the under store shows `fingerprint`.

    `seq` orders it against writes that were under way.
    """

    seq: int
    fingerprint: str | None
    generation: int


class Job(Row, frozen=True):
    """An object that still has to reach its under store; times in ms since 1970."""

    object_id: str
    seq: int
    bucket: str
    queued: int
    due: int
    size: int = 0
    attempts: int = 0
    owner: int = 0
    parked: bool = False
    reason: str = ""


class AtStore(Row, frozen=True):
    """An upload that an under store has begun too: under which key, and what it calls it.

    `generation` is that of the mount.
    """

    key: str
    token: str
    generation: int


class Upload(Row, frozen=True):
    """A multipart upload under way.

    `touched` is the seq of the last change to its parts, `active` the time (ms) of it.
    `completing` is the process that publishes it now, after which nothing can stop it.
    `at_store` is there where the under store takes the parts as well.
    """

    upload_id: str
    bucket_id: int
    key: str
    initiated: int
    owner: str | None = None
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    checksum_algorithm: str = ""
    checksum_type: str = ""
    write_type: str = ""
    touched: int = 0
    active: int = 0
    completing: int = 0
    at_store: AtStore | None = None


class Part(Row, frozen=True):
    """One uploaded part; its bytes are segment `segment`. `modified` in ms since 1970.

    `tag` is what the under store calls the part, once it has it; only then may `segment` be
    empty. `sending` names whoever hands a part of this number on now, an earlier one perhaps.
    """

    number: int
    size: int
    etag: str
    segment: str
    modified: int
    checksums: dict[str, str] = {}
    tag: str = ""
    sending: str = ""


class Completed(Row, frozen=True):
    """A finished upload, remembered so that a repeated completion gets the same answer.

    `request` is a digest of what was asked; `finished` in ms since 1970.
    """

    bucket_id: int
    key: str
    request: str
    finished: int
    record: Record
    write_type: str = ""
    durability: str = ""


class Trash(Row, frozen=True):
    """What nothing refers to any more: an object's segments, an upload's parts, or a bucket.

    `segments` are (segment, length) pairs that `object_id` used. `pages` is the length of
    the object whose page fills lie under `object_id`. With `parts` the part rows of the upload
    `object_id` go, with `runs` its runs of segments, with `bucket_id` the rows of a bucket.
    """

    object_id: str
    segments: list[tuple[str, int]] = []
    pages: int = 0
    parts: bool = False
    runs: bool = False
    bucket_id: int = 0


class MountRow(Row, frozen=True):
    """What a mount path pointed at when its records were written.

    `swept` says that no records of an earlier generation are left.
    """

    uri: str
    generation: int
    swept: bool = False


class MountedRow(Row, frozen=True):
    """A mount that came at run time.

    `table` is what was asked for, as JSON, references to secrets unresolved; relative paths in
    it begin at `folder`. `since` in ms since 1970.
    """

    table: bytes
    folder: str
    generation: int
    since: int = 0


class Seen(Row, frozen=True):
    """A process that works with version `version` of the mount table, for people to find it."""

    version: int
    pid: int
    host: str = ""


class Load(Row, frozen=True):
    """A load job: everything below `path`, or the `listed` paths of its list; times in ms.

    `state` is FILLING (the list still comes), RUNNING, PAUSED, DONE or CANCELLED. `cursor` is
    the path (or number in the list) up to which all is settled; the counters tell of what is
    settled, `ahead` the bytes fetched beyond it, `lost` those of objects that then failed, and
    `unkept` those of settled ones that found no room or went again at once. `total` and
    `total_size` are known once `counted`. `failed` objects are rows of their own, tried again
    when all else is done (`retrying`). `owner` is the process at work; `reason` says why it
    waits or stopped.
    """

    id: int
    path: str
    created: int
    state: str
    owner: int = 0
    cursor: str = ""
    listed: int = 0
    counted: bool = False
    total: int = 0
    total_size: int = 0
    objects: int = 0
    fetched: int = 0
    present: int = 0
    present_size: int = 0
    failed: int = 0
    ahead: int = 0
    retrying: bool = False
    reason: str = ""
    updated: int = 0
    ended: int = 0
    lost: int = 0
    unkept: int = 0


class BreakerRow(Row, frozen=True):
    """An under store whose reads or writes a process leaves alone, `since` when (ms) and why."""

    under: str
    operations: str
    reason: str
    since: int


class LoadFailure(Row, frozen=True):
    """Why a load job could not bring an object, and how often it tried."""

    reason: str
    attempts: int = 1


R = TypeVar("R", bound=Row)
_encoder = msgspec.msgpack.Encoder()
# Before there are threads: msgspec crashes when two meet a type that it does not know yet.
_decoders = {kind: msgspec.msgpack.Decoder(kind) for kind in Row.__subclasses__()}


def encode(row: Row) -> bytes:
    """Give the bytes of a record."""
    return _encoder.encode(row)


def decode(kind: type[R], value: bytes) -> R:
    """Give the record of `kind` that `encode` made the bytes of."""
    return _decoders[kind].decode(value)  # type: ignore[return-value]  # it is made for `kind`
