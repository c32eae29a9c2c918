"""What an operator is told of objects: where their bytes are, and what a read would cost."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from forebay import __version__
from forebay.cache.tier import TierRoom
from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Job, Record, SegmentRef
from forebay.errors import NoSuchKey
from forebay.objects.breakers import OpenBreaker, open_breakers
from forebay.objects.buckets import Buckets
from forebay.objects.listing import ListedObject, Listings
from forebay.objects.mounts import Mount
from forebay.objects.pieces import Found, Piece, Shelves, fetches, page_pieces, segment_pieces
from forebay.objects.pins import Pins
from forebay.objects.scope import find_bucket, parse_object, parse_scope, path_of
from forebay.objects.shared import Shared
from forebay.objects.sync import fresh, known, look
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
    breakers: list[OpenBreaker]


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
class Cost:
    """What reading an object whole would ask of its under store now: requests, and bytes.

    `looks` is 1 when it would first ask whether the object changed. `left_alone` is why the
    under store is not asked just now, "" when it is; with `stale` the read is answered all the
    same, by what was known.
    """

    looks: int
    requests: int
    size: int
    left_alone: str = ""
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Explained:
    """An object, its pieces, and what a read of it would cost; `next_after` is "" at the end.

    Only the first run of pieces comes with `stat` and `cost`, for which all of the object is
    looked at. Without `complete` the process that knows hits and evictions could not be asked.
    """

    stat: Stat | None
    cost: Cost | None
    pieces: list[Piece]
    complete: bool
    next_after: str


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
            breakers=open_breakers(shared),
        )

    def stat(self, path: str) -> Stat:
        """Tell what is known of an object.

        Raises InvalidArgument, NoSuchBucket, NoSuchKey, ServiceUnavailable.
        """
        bucket_name, key = parse_object(path)
        return self._stat(key, *self._look(bucket_name, key))

    def _stat(self, key: str, bucket: Bucket, mount: Mount, record: Record) -> Stat:
        shared = self._shared

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
            held=self._held(record, refs, Shelves(shared.cache, {record.object_id})),
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

    def explain(self, path: str, *, after: str = "", limit: int = 1000) -> Explained:
        """Tell of every piece of an object where it is, and what reading it would cost.

        Gives up to `limit` pieces behind the one called `after` (``segment 3``, ``page 70``).
        An object that is known is explained as it is known: a look would bring it up to date, and
        hide what a read costs. Raises as `stat`.
        """
        shared = self._shared
        bucket_name, key = parse_object(path)
        bucket, mount, record = self._known(bucket_name, key) or self._look(bucket_name, key)
        refs = shared.catalog.read(lambda snapshot: catalog.segments(snapshot, record))
        near = record.local or record.inline or not record.size
        pages = 0 if near else -(-record.size // shared.cache.page_size)
        segments, first = _behind(after, len(refs), pages)
        if after and (segments or first):
            stat = cost = None
            there = self._there(record, first, min(pages, first + limit))
        else:
            there = self._there(record, 0, pages)
            stat = self._stat(key, bucket, mount, record)
            cost = self._cost(mount, record, refs, there, near=bool(near))
        run: list[Piece] = []
        if not near:
            found = segment_pieces(shared.cache, refs, segments)
            run += itertools.islice(found, limit)
        if len(run) < limit:
            stop = min(pages, first + limit - len(run))
            run += page_pieces(shared.cache, record.object_id, record.size, there, first, stop)
        last = run[-1] if run else None
        more = last is not None and (last.kind, last.index) != ("page", pages - 1)
        name = f"{last.kind} {last.index}" if last and more else ""
        return Explained(stat, cost, run, shared.cache.report().complete, name)

    def _there(self, record: Record, first: int, stop: int) -> Mapping[int, Found]:
        shelves = Shelves(self._shared.cache, {record.object_id})
        return shelves.pages(record.object_id, first, stop)

    def _cost(
        self,
        mount: Mount,
        record: Record,
        refs: list[SegmentRef],
        there: Mapping[int, Found],
        *,
        near: bool,
    ) -> Cost:
        find, page_size = self._shared.cache.find, self._shared.cache.page_size
        looks = int(not fresh(mount, record) and not record.local)
        alone = "" if record.local else self._left_alone(mount)
        stale = bool(looks and alone and mount.config.metadata_sync)
        whole = [PageId(ref.segment) for ref in refs if ref.segment and ref.length]
        if near or (whole and all(find(page) for page in whole)):
            return Cost(looks, 0, 0, alone, stale)
        requests, size = fetches(there.keys(), page_size, record.size)
        return Cost(looks, requests, size, alone, stale and not requests)

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
        shelves = Shelves(
            self._shared.cache, {record.object_id for record, _ in known.values() if record}
        )
        entries = []
        for one in found:
            if isinstance(one, CommonPrefix):
                entries.append(Entry(path_of(bucket.name, one.prefix), folder=True))
                continue
            record, refs = known.get(one.key, (None, []))
            held, state = Held("nowhere", 0, {}), "PERSISTED"
            # What the listing saw may be newer than the record: nothing of that is held.
            if record is not None and record.etag == one.etag:
                held, state = self._held(record, refs, shelves), record.state.value
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

    def _known(self, bucket_name: str, key: str) -> tuple[Bucket, Mount, Record] | None:
        bucket = find_bucket(self._buckets, bucket_name)
        mount = self._shared.mounts.find(bucket_name, key)
        seen = self._shared.catalog.read(partial(known, bucket=bucket, key=key, mount=mount))
        if seen.record is None or seen.intent is not None:
            return None
        return bucket, mount, seen.record

    def _left_alone(self, mount: Mount) -> str:
        """Say why an under store is not asked for reads just now; "" when it is."""
        for one in open_breakers(self._shared):
            if one.operations == "reads" and one.guards(mount.config.under):
                return one.reason
        return ""

    def _held(self, record: Record, refs: list[SegmentRef], shelves: Shelves) -> Held:
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
        pages = -(-record.size // self._shared.cache.page_size)
        for (tier, size), *_ in shelves.pages(record.object_id, 0, pages).values():
            tiers[tier] = tiers.get(tier, 0) + size
        held = sum(tiers.values())
        return Held("pages" if held else "nowhere", held, tiers)


def _behind(after: str, segments: int, pages: int) -> tuple[int, int]:
    """Give the numbers of the segment and the page that come behind a piece; 0 if there is none."""
    kind, _, index = after.partition(" ")
    if kind == "segment" and index.isdecimal() and int(index) < segments:
        return int(index) + 1, 0
    if kind == "page" and index.isdecimal() and int(index) < pages:
        return segments, int(index) + 1
    return 0, 0
