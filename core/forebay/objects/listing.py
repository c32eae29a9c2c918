"""Listing: what the under stores hold, and what only the catalog holds, in one order of keys.

A page asks the under store first (or believes what it listed within the mount's age, see
`scans`) and takes its snapshot of the catalog afterwards. What was in
flight before the store was asked (unpersisted objects, live intents) is noted, because the
store's answer about those keys may be older than the snapshot; of every other key the store's
answer and the record have to agree, or the store is right.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Intent, Record, Whiteout, decode, encode
from forebay.errors import NotFound, StorageError, Unavailable
from forebay.objects.intents import live
from forebay.objects.mounts import Mount, Mounts
from forebay.objects.scans import Scans
from forebay.objects.shared import Shared, derived_etag, log, store_is_down
from forebay.objects.sync import look, marker_digest
from forebay.stores.metadata import Snapshot, Transaction
from forebay.types import CommonPrefix, ObjectInfo, PersistState

SCAN_FROM = 16
"""From so many keys on, records are read by one scan instead of one by one."""
PASSED = 100
"""So many keys hidden by a mount point are passed one by one before the rest is leapt over."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a listing; `modified` in ms since 1970, `etag` without quotes."""

    key: str
    size: int
    etag: str
    modified: int
    owner: str | None = None
    checksum_algorithms: tuple[str, ...] = ()
    checksum_type: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a listing; `next_after` is the last key or common prefix given."""

    entries: list[ListedObject | CommonPrefix]
    truncated: bool
    next_after: str


Entries = Generator[ListedObject | CommonPrefix, None, None]


@dataclass(slots=True)
class _Query:
    bucket: Bucket
    prefix: str
    delimiter: str
    after: str
    mounts: Mounts
    certain: bool = False
    """Whether the under stores are asked, whatever they listed before."""
    began: int = 0
    """The seq before the under stores were asked."""
    changed: int = 0
    """The seq of the last change in the bucket, as of `began`."""
    oldest: int | None = None
    """The seq before the oldest scan that was believed instead."""

    def rolled(self, key: str) -> str | None:
        """Give the common prefix that a key belongs to, if any."""
        if not self.delimiter:
            return None
        at = key.find(self.delimiter, len(self.prefix))
        return None if at < 0 else key[: at + len(self.delimiter)]


@dataclass(slots=True)
class _Page:
    """One snapshot's view of a run of names."""

    records: dict[str, Record]
    whiteouts: dict[str, Whiteout]
    intents: dict[str, Intent]
    dirty: set[str]
    any_whiteout: bool
    deleted: int


class Listings:
    """Listings of objects."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._scans = Scans()

    def exists(self, bucket: Bucket, prefix: str, *, certain: bool = False) -> bool:
        """Tell whether any key begins with `prefix`; `certain` as in `objects`."""
        return bool(self.objects(bucket, prefix=prefix, limit=1, certain=certain).entries)

    def objects(
        self,
        bucket: Bucket,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
        folders: bool = False,
        certain: bool = False,
    ) -> Listing:
        """Give up to `limit` keys and common prefixes greater than `after`, in byte order.

        With `folders` every implied folder appears as a 0-byte key, just before its first
        key (Alluxio's endpoint). With `certain` the under store is asked whatever the age of
        what it listed before. Raises NoSuchBucket, ServiceUnavailable.
        """
        if limit <= 0:
            return Listing([], False, "")
        query = _Query(bucket, prefix, delimiter, after, self._shared.mounts, certain)
        entries = self._entries(query, limit)
        if folders:
            entries = _with_folders(entries, query)
        with closing(entries):
            found = list(itertools.islice(entries, limit + 1))
        page = found[:limit]
        last = page[-1] if page else None
        return Listing(page, len(found) > limit, _name(last) if last else "")

    def _entries(self, query: _Query, limit: int) -> Entries:
        with ExitStack() as stack:
            under = self._under(query, stack)
            cursor, size = query.after, limit + 1
            pending: list[tuple[str, ObjectInfo | None]] = []
            while True:
                query.began, query.changed, flying, more_flying = self._shared.catalog.read(
                    partial(self._in_flight, query, cursor, size)
                )
                try:
                    pending += itertools.islice(under, size - len(pending))
                except Unavailable as failure:
                    raise store_is_down(f"/{query.bucket.name}", failure) from failure
                more_under = len(pending) >= size
                horizons = [pending[-1][0]] if more_under else []
                if more_flying:
                    horizons.append(flying[-1])
                horizon = min(horizons) if horizons else None
                infos = {n: i for n, i in pending if horizon is None or n <= horizon}
                pending = [] if horizon is None else [p for p in pending if p[0] > horizon]
                near = {n for n in flying if horizon is None or n <= horizon}
                began = query.began if query.oldest is None else query.oldest
                yield from self._decide(query, cursor, horizon, infos, near, began)
                if horizon is None:
                    return
                cursor = horizon

    # --- the sources -----------------------------------------------------------------

    def _under(self, query: _Query, stack: ExitStack) -> Iterator[tuple[str, ObjectInfo | None]]:
        """Give names of objects and common prefixes (info None) of all mounts, merged."""
        sources = []
        for mount in query.mounts.of_bucket(query.bucket.name):
            source = self._mount(query, mount)
            stack.callback(source.close)
            sources.append(source)
        last = None
        for name, info in heapq.merge(*sources, key=lambda pair: pair[0]):
            if name != last:
                yield name, info
                last = name

    def _mount(
        self, query: _Query, mount: Mount
    ) -> Generator[tuple[str, ObjectInfo | None], None, None]:
        """Give the names that one mount adds to a listing, without what mounts inside it hide."""
        name = query.bucket.name
        hidden = query.mounts.inside(mount, name)
        around = mount.prefix.startswith(query.prefix)
        if not around and not query.prefix.startswith(mount.prefix):
            return
        if any(query.prefix != inner and query.prefix.startswith(inner) for inner in hidden):
            return
        if query.prefix in hidden:
            yield from _marker(query, mount)
            return
        start = max(query.prefix, mount.prefix, key=len)
        if query.after >= keys_end(start):
            return
        rolled = query.rolled(mount.prefix) if around and mount.prefix else None
        if rolled is not None:
            # The whole mount lies below one common prefix: its mount point shows in any case.
            if rolled > query.after and not query.after.startswith(rolled):
                yield rolled, None
            return
        after = query.after if query.after.startswith(mount.prefix) else ""
        for shown, info in self._visible(query, mount, start, after, hidden):
            if shown and shown > query.after:
                yield shown, info

    def _visible(
        self, query: _Query, mount: Mount, start: str, after: str, hidden: Sequence[str]
    ) -> Iterator[tuple[str, ObjectInfo | None]]:
        """Give what a store lists behind `after`, leaping over what lies below mount points."""
        name, passed = query.bucket.name, 0
        while True:
            behind = mount.under_key(name, after) if after else ""
            leap = ""
            with closing(self._listed(query, mount, mount.under_key(name, start), behind)) as found:
                for entry in found:
                    shown = mount.key(name, _name(entry))
                    inner = next((p for p in hidden if shown != p and shown.startswith(p)), None)
                    if inner is None:
                        yield shown, None if isinstance(entry, CommonPrefix) else entry
                        continue
                    passed += 1
                    if passed % PASSED == 0 and keys_end(inner) > after:
                        leap = keys_end(inner)
                        break
            if not leap:
                return
            after = leap

    def _listed(
        self, query: _Query, mount: Mount, start: str, behind: str
    ) -> Generator[ObjectInfo | CommonPrefix, None, None]:
        """Have a store listed, as far as a scan of before does not answer."""
        scan = None
        if not query.certain:
            scan = self._scans.find(mount, start, query.delimiter, behind, query.changed)
        if scan is not None:
            query.oldest = min(scan.began, query.oldest or scan.began)
        return self._scans.listed(
            mount, start, query.delimiter, behind, began=query.began, scan=scan
        )

    def _in_flight(
        self, query: _Query, cursor: str, size: int, snapshot: Snapshot
    ) -> tuple[int, int, list[str], bool]:
        """Give the seq now and at the last change, and the names that are not settled below."""
        catalog.check_bucket(snapshot, query.bucket)
        began = catalog.get_number(snapshot, keys.SEQ)
        found: set[str] = set()
        more = False
        for row in (keys.dirty_row, keys.intent_row):
            names = list(itertools.islice(_rolled_scan(snapshot, query, cursor, row), size))
            more = more or len(names) == size
            found.update(names)
        flying = sorted(found)
        changed = catalog.get_number(snapshot, keys.changed_row(query.bucket.id))
        return began, changed, flying[:size] if more else flying, more

    # --- the decision ----------------------------------------------------------------

    def _decide(
        self,
        query: _Query,
        cursor: str,
        horizon: str | None,
        infos: dict[str, ObjectInfo | None],
        flying: set[str],
        began: int,
    ) -> Entries:
        names = infos.keys() | flying
        page = self._shared.catalog.read(lambda s: self._page(s, query, cursor, horizon, names))
        for name in sorted(names | page.dirty):
            if query.rolled(name) is not None:
                if self._prefix_lives(query, name, page, name in infos):
                    yield CommonPrefix(name)
                continue
            entry = self._entry(query, name, infos.get(name), page, flying, began)
            if entry is not None:
                yield entry
        self._notice(query, infos, page, flying, began)

    def _notice(
        self,
        query: _Query,
        infos: dict[str, ObjectInfo | None],
        page: _Page,
        flying: set[str],
        began: int,
    ) -> None:
        """Have the objects that the store shows otherwise than we do looked at when asked for."""
        outdated = {
            name: record.seq
            for name, record in page.records.items()
            if record.state is PersistState.PERSISTED
            and record.synced
            and record.seq <= began
            and query.mounts.find(query.bucket.name, name).config.metadata_sync
            and not (name in flying or name in page.intents or name in page.dirty)
            and ((info := infos.get(name)) is None or info.fingerprint != record.fingerprint)
        }
        if outdated:
            try:
                self._shared.catalog.write(
                    partial(_make_due, query.bucket, outdated), durable=False
                )
            except StorageError as failure:
                log.warning("what a listing noticed is dropped: %s", failure)

    def _page(
        self,
        snapshot: Snapshot,
        query: _Query,
        cursor: str,
        horizon: str | None,
        names: set[str],
    ) -> _Page:
        bucket = query.bucket
        catalog.check_bucket(snapshot, bucket)
        dirty = set()
        for name in _rolled_scan(snapshot, query, cursor, keys.dirty_row):
            if horizon is not None and name > horizon:
                break
            dirty.add(name)
        wanted = sorted(n for n in names | dirty if query.rolled(n) is None)
        hidden = keys.whiteout_row(bucket.name, "")
        any_whiteout = next(iter(snapshot.scan(hidden, keys.end(hidden))), None) is not None
        mounted = query.mounts.find
        records = {
            n: record
            for n, found in _records(snapshot, bucket, wanted, dense=not query.delimiter)
            if (record := live(found, mounted(bucket.name, n))) is not None
        }
        whiteouts = {}
        if any_whiteout:
            for name in wanted:
                whiteout = catalog.get_whiteout(snapshot, bucket.name, name)
                of_now = mounted(bucket.name, name).generation
                if whiteout is not None and whiteout.generation == of_now:
                    whiteouts[name] = whiteout
        prefix = keys.intent_row(bucket.id, "")
        intents = {
            keys.location(row).key: intent for row, intent in catalog.rows(snapshot, prefix, Intent)
        }
        deleted = catalog.get_number(snapshot, keys.deleted_row(bucket.id))
        return _Page(records, whiteouts, intents, dirty, any_whiteout, deleted)

    def _entry(
        self,
        query: _Query,
        name: str,
        info: ObjectInfo | None,
        page: _Page,
        flying: set[str],
        began: int,
    ) -> ListedObject | None:
        record = page.records.get(name)
        if record is not None and record.state is not PersistState.PERSISTED:
            return _listed(name, record)
        if info is None:
            # It was in flight when the store was asked; if it is settled now, it is there.
            return _listed(name, record) if record is not None and name in flying else None
        whiteout = page.whiteouts.get(name)
        if whiteout is not None and whiteout.fingerprint == info.fingerprint:
            return None
        if record is not None and (
            record.fingerprint == info.fingerprint or record.seq > began or name in flying
        ):
            return _listed(name, record)
        doubtful = name in flying or name in page.intents or whiteout is not None
        if doubtful or (record is None and page.deleted > began):
            looked = look(self._shared, query.bucket, name)
            return None if looked is None else _listed(name, looked)
        return ListedObject(
            name,
            info.size,
            info.etag or derived_etag(info.fingerprint),
            int(info.last_modified.timestamp() * 1000),
        )

    def _prefix_lives(self, query: _Query, prefix: str, page: _Page, in_store: bool) -> bool:
        """Tell whether a common prefix has anything visible below it."""
        if prefix in page.dirty or (in_store and not page.any_whiteout):
            return True
        return self.exists(query.bucket, prefix)


def _marker(query: _Query, mount: Mount) -> Iterator[tuple[str, ObjectInfo | None]]:
    """Give the folder marker that a store has at the very mount point which is listed.

    It is all that this store could add; if it is down, the mount inside is listed all the same.
    """
    if query.prefix > query.after:
        with suppress(NotFound, Unavailable):
            yield query.prefix, mount.store.head(mount.under_key(query.bucket.name, query.prefix))


def keys_end(prefix: str) -> str:
    """Give a string greater than every key that begins with `prefix`."""
    return prefix + "\U0010ffff" * 2


def _name(entry: ListedObject | ObjectInfo | CommonPrefix) -> str:
    return entry.prefix if isinstance(entry, CommonPrefix) else entry.key


def _rolled_scan(
    snapshot: Snapshot, query: _Query, cursor: str, row: Callable[[int, str], bytes]
) -> Iterator[str]:
    """Give the names of a bucket's rows behind `cursor`, seeking past each common prefix."""
    prefix = row(query.bucket.id, query.prefix)
    start, stop = max(prefix, row(query.bucket.id, cursor)), keys.end(prefix)
    while True:
        for found, _ in snapshot.scan(start, stop):
            key = keys.location(found).key
            rolled = query.rolled(key)
            if rolled is None:
                if key > cursor:
                    yield key
                continue
            if rolled > cursor and not cursor.startswith(rolled):
                yield rolled
            start = keys.end(row(query.bucket.id, rolled))
            break
        else:
            return


def _make_due(bucket: Bucket, seen: dict[str, int], tx: Transaction) -> None:
    """Forget when the under store was asked for objects, if they are the ones that were seen."""
    for key, seq in seen.items():
        record = catalog.get_record(tx, bucket.id, key)
        if record is not None and record.seq == seq and record.synced:
            due = msgspec.structs.replace(record, synced=0)
            tx.put(keys.object_row(bucket.id, key), encode(due))


def _records(
    snapshot: Snapshot, bucket: Bucket, wanted: list[str], *, dense: bool
) -> Iterator[tuple[str, Record]]:
    if not dense or len(wanted) < SCAN_FROM:
        for name in wanted:
            record = catalog.get_record(snapshot, bucket.id, name)
            if record is not None:
                yield name, record
        return
    first = keys.object_row(bucket.id, wanted[0])
    last = keys.object_row(bucket.id, wanted[-1]) + b"\x00"
    for row, value in snapshot.scan(first, last):
        yield keys.location(row).key, decode(Record, value)


def _listed(key: str, record: Record) -> ListedObject:
    return ListedObject(
        key,
        record.size,
        record.etag,
        record.modified,
        record.owner,
        tuple(record.checksums),
        record.checksum_type,
    )


def _with_folders(entries: Entries, query: _Query) -> Entries:
    """Put every implied folder before its first key; a folder that is an object stays one."""
    parents: list[str] = []
    with closing(entries):
        for entry in entries:
            name = _name(entry)
            parents = [p for p in parents if name.startswith(p)]
            at = name.find("/", max(len(query.prefix), len(parents[-1]) if parents else 0))
            while 0 <= at < len(name) - 1:
                parent = name[: at + 1]
                parents.append(parent)
                implied = parent > query.after and parent != query.prefix
                if implied and isinstance(entry, ListedObject):
                    yield ListedObject(parent, 0, marker_digest(), entry.modified)
                at = name.find("/", at + 1)
            if name.endswith("/"):
                parents.append(name)
            yield entry
