"""Load jobs as operators see them: begun, followed, paused, resumed, cancelled.

A job is a row of the catalog, so it outlives every process; `forebay.objects.loading` does the
work, wherever housekeeping runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from forebay.catalog import catalog, keys
from forebay.catalog.records import Load, LoadFailure, decode, encode
from forebay.errors import InvalidArgument, InvalidRequest
from forebay.objects.buckets import Buckets
from forebay.objects.scope import check_scope, parse_object, parse_scope
from forebay.objects.shared import Shared, now_ms
from forebay.settings import nearest
from forebay.stores.metadata import Snapshot, Transaction

FILLING, RUNNING, PAUSED, DONE, CANCELLED = "FILLING", "RUNNING", "PAUSED", "DONE", "CANCELLED"

REMEMBERED = 50
"""Jobs that are done and remembered; the oldest are forgotten first."""
ABANDONED = 86_400_000
"""Time (ms) after which a list that nobody completes is forgotten."""
LISTED_AT_ONCE = 1000
"""Paths that one call may add to the list of a job."""


@dataclass(frozen=True, slots=True)
class LoadState:
    """A load job; sizes in bytes, times in ms since 1970, see `forebay.catalog.records.Load`.

    `size` is what was settled or is being fetched so far. `fetched` is all that was, also of
    objects that failed; `unkept` of that found no room, or went again before its object was
    settled. `capacity` is that of the largest tier: more than that cannot stay.
    """

    id: int
    path: str
    state: str
    created: int
    updated: int
    ended: int
    counted: bool
    total: int
    total_size: int
    objects: int
    size: int
    fetched: int
    unkept: int
    present: int
    failed: int
    retrying: bool
    reason: str
    capacity: int


@dataclass(frozen=True, slots=True)
class FailedLoad:
    """An object that a job could not bring."""

    path: str
    reason: str
    attempts: int


class Loads:
    """What operators do with load jobs."""

    def __init__(self, shared: Shared, buckets: Buckets) -> None:
        self._shared = shared
        self._buckets = buckets

    def begin(self, path: str) -> LoadState:
        """Begin to bring everything below a path. Raises InvalidArgument, NoSuchBucket."""
        scope = parse_scope(path)
        check_scope(self._buckets, scope)
        return self._create(Load(0, str(scope), now_ms(), RUNNING))

    def begin_list(self) -> LoadState:
        """Begin a job that goes by a list, which `add` makes."""
        return self._create(Load(0, "", now_ms(), FILLING))

    def add(self, load_id: int, paths: Sequence[str], *, last: bool) -> LoadState:
        """Add paths of objects to the list of a job; with the `last` ones it starts.

        Raises InvalidArgument (a path that names no object; nothing is added then),
        InvalidRequest when its list is complete.
        """
        if len(paths) > LISTED_AT_ONCE:
            raise InvalidArgument(f"at most {LISTED_AT_ONCE} paths at once")
        for path in paths:
            parse_object(path)

        def change(tx: Transaction) -> Load:
            load = _get(tx, load_id)
            if load.state != FILLING:
                raise InvalidRequest(f"the list of load {load_id} is complete")
            for place, path in enumerate(paths, load.listed):
                tx.put(keys.load_list_row(load_id, place), path.encode())
            listed = load.listed + len(paths)
            return _put(
                tx, load, listed=listed, state=RUNNING if last else FILLING,
                total=listed, counted=last, updated=now_ms(),
            )  # fmt: skip

        return self._changed(change)

    def get(self, load_id: int) -> LoadState:
        """Give one job. Raises InvalidArgument when there is none of that number."""
        return self._told(self._shared.catalog.read(lambda s: _get(s, load_id)))

    def failures(self, load_id: int, limit: int = 100) -> list[FailedLoad]:
        """Give up to `limit` objects that a job could not bring, by path."""

        def read(snapshot: Snapshot) -> list[FailedLoad]:
            found = catalog.rows(snapshot, keys.load_failure_row(load_id, ""), LoadFailure)
            return [
                FailedLoad(row[9:].decode(), failure.reason, failure.attempts)
                for row, failure in itertools.islice(found, limit)
            ]

        return self._shared.catalog.read(read)

    def pause(self, load_id: int) -> LoadState:
        """Stop a job where it is; `resume` goes on from there."""
        return self._turn(load_id, {RUNNING: PAUSED})

    def resume(self, load_id: int) -> LoadState:
        """Let a paused job go on, and one that is done try its failures again."""
        return self._turn(load_id, {PAUSED: RUNNING, DONE: RUNNING})

    def cancel(self, load_id: int) -> LoadState:
        """End a job and forget it; what it brought stays."""
        states = dict.fromkeys((FILLING, RUNNING, PAUSED, DONE), CANCELLED)
        return self._turn(load_id, states)

    def list(self) -> list[LoadState]:
        """Give all jobs, the newest first."""

        def read(snapshot: Snapshot) -> list[Load]:
            stop = keys.end(keys.LOADS)
            return [
                decode(Load, value) for _, value in snapshot.scan(keys.LOADS, stop, reverse=True)
            ]

        return [self._told(load) for load in self._shared.catalog.read(read)]

    def _turn(self, load_id: int, states: dict[str, str]) -> LoadState:
        def change(tx: Transaction) -> Load:
            load = _get(tx, load_id)
            state = states.get(load.state, load.state)
            if state == load.state:
                return load
            retry = load.state == DONE and state == RUNNING
            if retry:
                _try_again(tx, load_id)
            return _put(
                tx, load, state=state, reason="", updated=now_ms(),
                retrying=load.retrying and not retry, ended=0,
            )  # fmt: skip

        return self._changed(change)

    def _create(self, load: Load) -> LoadState:
        def create(tx: Transaction) -> Load:
            _forget_old(tx)
            return _put(tx, load, id=catalog.next_seq(tx), updated=load.created)

        return self._changed(create)

    def _changed(self, change: Callable[[Transaction], Load]) -> LoadState:
        load = self._shared.catalog.write(change)
        self._shared.loads_wait.set()
        return self._told(load)

    def _told(self, load: Load) -> LoadState:
        capacity = max((room.capacity for room in self._shared.cache.room()), default=0)
        return LoadState(
            id=load.id,
            path=load.path,
            state=load.state,
            created=load.created,
            updated=load.updated,
            ended=load.ended,
            counted=load.counted,
            total=load.total,
            total_size=load.total_size,
            objects=load.objects,
            size=load.fetched + load.present_size + load.ahead,
            fetched=load.fetched + load.lost + load.ahead,
            unkept=load.unkept,
            present=load.present,
            failed=load.failed,
            retrying=load.retrying,
            reason=load.reason,
            capacity=capacity,
        )


def _get(snapshot: Snapshot, load_id: int) -> Load:
    load = catalog.get(snapshot, keys.load_row(load_id), Load)
    if load is None:
        known = [str(one.id) for _, one in catalog.rows(snapshot, keys.LOADS, Load)]
        raise InvalidArgument(f"there is no load {load_id}{nearest(str(load_id), known)}")
    return load


def _put(tx: Transaction, load: Load, **changes: object) -> Load:
    load = msgspec.structs.replace(load, **changes)
    tx.put(keys.load_row(load.id), encode(load))
    return load


def _try_again(tx: Transaction, load_id: int) -> None:
    """Let every failure of a job count as failed once, so that it is tried again."""
    for row, failure in list(catalog.rows(tx, keys.load_failure_row(load_id, ""), LoadFailure)):
        tx.put(row, encode(LoadFailure(failure.reason)))


def _forget_old(tx: Transaction) -> None:
    loads = [load for _, load in catalog.rows(tx, keys.LOADS, Load)]
    for load in loads:
        if load.state == FILLING and load.updated < now_ms() - ABANDONED:
            _put(tx, load, state=CANCELLED)
    ended = [load for load in loads if load.state == DONE]
    for load in ended[: max(0, len(ended) - REMEMBERED + 1)]:
        _put(tx, load, state=CANCELLED)


def purge(shared: Shared, load_id: int, chunk: int = 1000) -> None:
    """Remove all rows of a job; it may be done again after a death in the middle."""

    def some(prefix: bytes, tx: Transaction) -> bool:
        rows = [row for row, _ in itertools.islice(tx.scan(prefix, keys.end(prefix)), chunk)]
        for row in rows:
            tx.delete(row)
        return len(rows) == chunk

    for prefix in (keys.load_list_row(load_id, 0)[:-8], keys.load_failure_row(load_id, "")):
        while shared.catalog.write(partial(some, prefix), durable=False):
            pass
    shared.catalog.write(lambda tx: tx.delete(keys.load_row(load_id)), durable=False)
