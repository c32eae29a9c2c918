"""What an operator is told of objects: where their bytes are, and what a read would cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from forebay import __version__
from forebay.cache.tier import TierRoom
from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Job, Record, SegmentRef
from forebay.errors import NoSuchKey
from forebay.objects.buckets import Buckets
from forebay.objects.listing import ListedObject, Listings
from forebay.objects.mounts import Mount
from forebay.objects.pins import Pins
from forebay.objects.scope import find_bucket, parse_object, parse_scope, path_of
from forebay.objects.shared import Shared
from forebay.objects.sync import look
from forebay.objects.unpersisted import Unpersisted, Waiting, WaitingJob
from forebay.settings import hide_password
from forebay.stores.metadata import Snapshot
from forebay.types import CommonPrefix, PageId

FAILING = 20
"""Failing persist jobs that the status names at most."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the whole is."""

    version: str
    state: str
    durability: str
    max_dirty: int
    waiting: Waiting
    failing: list[WaitingJob]
    tiers: list[TierRoom]


@dataclass(frozen=True, slots=True)
class Held:
    """Where the bytes of one object are close at hand, in bytes.

    `place` says how they are kept: ``file`` (read from the under store's own file, never
    cached), ``catalog`` (small, beside its record), ``segments`` (as it was written, one or
    several whole), ``pages`` (fetched page by page), ``nowhere``. `tiers` is bytes by tier.
    """

    place: str
    size: int
    tiers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Stat:
    """Everything known of one object; times in ms since 1970."""

    path: str
    size: int
    etag: str
    modified: int
    owner: str | None
    state: str
    write_type: str
    mount: str
    under: str
    under_key: str
    object_id: str
    synced: int
    parts: int
    held: Held
    headers: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    persist_attempts: int = 0
    persist_parked: bool = False
    persist_reason: str = ""
    pinned_by: str = ""
    expires: int = 0
    expires_by: str = ""
    expires_action: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing: a folder (only `path`), or an object and what is held of it."""

    path: str
    folder: bool
    size: int = 0
    modified: int = 0
    state: str = ""
    held: int = 0
    place: str = ""


@dataclass(frozen=True, slots=True)
class Entries:
    """A run of a listing; `next_after` is where to go on, "" at the end."""

    entries: list[Entry]
    next_after: str


class Explain:
    """Answers questions of operators; changes nothing, and counts as no use of any page."""

    def __init__(
        self,
        shared: Shared,
        buckets: Buckets,
        listings: Listings,
        unpersisted: Unpersisted,
        pins: Pins,
    ) -> None:
        self._shared = shared
        self._buckets = buckets
        self._listings = listings
        self._unpersisted = unpersisted
        self._pins = pins

    def status(self) -> Status:
        """Tell how the whole is; takes time in proportion to what waits."""
        shared = self._shared
        return Status(
            version=__version__,
            state=shared.config.state,
            durability=shared.config.durability,
            max_dirty=shared.config.persist.max_dirty,
            waiting=self._unpersisted.waiting(),
            failing=self._unpersisted.failing(limit=FAILING),
            tiers=shared.cache.room(),
        )

    def stat(self, path: str) -> Stat:
        """Tell what is known of an object.

        Raises InvalidArgument, NoSuchBucket, NoSuchKey, ServiceUnavailable.
        """
        shared = self._shared
        bucket_name, key = parse_object(path)
        bucket, mount, record = self._look(bucket_name, key)

        def read(snapshot: Snapshot) -> tuple[list[SegmentRef], Job | None]:
            job = catalog.get(snapshot, keys.job_row(bucket.id, key), Job)
            return catalog.segments(snapshot, record), job

        refs, job = shared.catalog.read(read)
        wanted = self._pins.for_object(bucket.name, key)
        return Stat(
            path=path_of(bucket.name, key),
            size=record.size,
            etag=record.etag,
            modified=record.modified,
            owner=record.owner,
            state=record.state.value,
            write_type=record.write_type,
            mount=mount.config.path,
            under=hide_password(mount.config.under),
            under_key=mount.under_key(bucket.name, key),
            object_id=record.object_id,
            synced=record.synced,
            parts=record.parts,
            held=self._held(record, refs),
            headers=record.headers,
            metadata=record.metadata,
            tags=record.tags,
            checksums=record.checksums,
            persist_attempts=job.attempts if job else 0,
            persist_parked=job.parked if job else False,
            persist_reason=job.reason if job else "",
            pinned_by=wanted.pinned_by,
            expires=wanted.expires(record),
            expires_by=wanted.ttl_by,
            expires_action=wanted.action if wanted.ttl else "",
        )

    def listing(
        self, path: str = "/", *, after: str = "", limit: int = 200, recursive: bool = False
    ) -> Entries:
        """List what is at a path and right below it, or all below it, with what is held of it.

        Of ``/`` the buckets are listed. `next_after` of one run is `after` of the next. Raises
        InvalidArgument, NoSuchBucket, ServiceUnavailable.
        """
        scope = parse_scope(path)
        if not scope.bucket:
            names = [name for name in self._buckets.names() if path_of(name, "") > after]
            listed = [Entry(path_of(name, ""), folder=True) for name in names[:limit]]
            return Entries(listed, listed[-1].path if len(names) > limit else "")
        bucket = find_bucket(self._buckets, scope.bucket)
        prefix = path_of(bucket.name, "") + "/"
        cursor = after.removeprefix(prefix) if after.startswith(prefix) else ""
        found: list[ListedObject | CommonPrefix] = []
        if scope.path != scope.folder and cursor < scope.path:
            one = self._listings.objects(bucket, prefix=scope.path, limit=1).entries
            found += [e for e in one if isinstance(e, ListedObject) and e.key == scope.path]
        page = self._listings.objects(
            bucket, prefix=scope.folder, delimiter="" if recursive else "/", after=cursor,
            limit=limit,
        )  # fmt: skip
        found += page.entries
        next_after = path_of(bucket.name, page.next_after) if page.truncated else ""
        return Entries(self._entries(bucket, found), next_after)

    def _entries(self, bucket: Bucket, found: list[ListedObject | CommonPrefix]) -> list[Entry]:
        names = [one.key for one in found if isinstance(one, ListedObject)]

        def read(snapshot: Snapshot) -> dict[str, tuple[Record, list[SegmentRef]]]:
            records = {name: catalog.get_record(snapshot, bucket.id, name) for name in names}
            return {
                name: (record, catalog.segments(snapshot, record))
                for name, record in records.items()
                if record is not None
            }

        known = self._shared.catalog.read(read)
        entries = []
        for one in found:
            if isinstance(one, CommonPrefix):
                entries.append(Entry(path_of(bucket.name, one.prefix), folder=True))
                continue
            record, refs = known.get(one.key, (None, []))
            held, state = Held("nowhere", 0, {}), "PERSISTED"
            # What the listing saw may be newer than the record: nothing of that is held.
            if record is not None and record.etag == one.etag:
                held, state = self._held(record, refs), record.state.value
            where = path_of(bucket.name, one.key)
            entries.append(
                Entry(where, False, one.size, one.modified, state, held.size, held.place)
            )
        return entries

    def _look(self, bucket_name: str, key: str) -> tuple[Bucket, Mount, Record]:
        bucket = find_bucket(self._buckets, bucket_name)
        record = look(self._shared, bucket, key)
        if record is None:
            raise NoSuchKey(f"there is no object {path_of(bucket_name, key)}", Key=key)
        return bucket, self._shared.mounts.find(bucket_name, key), record

    def _held(self, record: Record, refs: list[SegmentRef]) -> Held:
        """Look for the bytes of an object where a read would."""
        if record.local:
            return Held("file", record.size, {})
        if record.inline or not record.size:
            return Held("catalog", record.size, {})
        find = self._shared.cache.find
        tiers: dict[str, int] = {}
        whole = 0
        for ref in refs:
            on = find(PageId(ref.segment)) if ref.segment else []
            if on:
                whole += ref.length
                tiers[on[0][0]] = tiers.get(on[0][0], 0) + ref.length
        if refs and whole == record.size:
            return Held("segments", whole, tiers)
        # A read takes segments only when all are there; pages lie beside them.
        tiers = {}
        page_size = self._shared.cache.page_size
        for index in range(-(-record.size // page_size)):
            for tier, size in find(PageId(record.object_id, page_size, index))[:1]:
                tiers[tier] = tiers.get(tier, 0) + size
        held = sum(tiers.values())
        return Held("pages" if held else "nowhere", held, tiers)
