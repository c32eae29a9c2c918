"""Times to live: what is over is freed or deleted, in passes that leave most time to others."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from functools import partial

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Record, SegmentRef, decode
from forebay.errors import AccessDenied, ForebayError
from forebay.objects.delete import Deletes
from forebay.objects.free import Free
from forebay.objects.pins import Pins, Rules
from forebay.objects.scope import Scope, path_of, walk
from forebay.objects.shared import Shared, log, now_ms
from forebay.stores.metadata import Snapshot
from forebay.types import PersistState

EVERY = 60.0
"""Seconds between two passes at least."""
CHUNK = 200
"""Records that are looked at at once."""
DUTY = 0.1
"""Share of the time that passes may take."""


@dataclass(frozen=True, slots=True)
class Expired:
    """What a pass did, in objects; `waiting` are over, but still being persisted."""

    freed: int = 0
    deleted: int = 0
    waiting: int = 0
    failed: int = 0


class Expiry:
    """The passes over what has a time to live; they also see to it that pins find room."""

    def __init__(self, shared: Shared, pins: Pins, free: Free, deletes: Deletes) -> None:
        self._shared = shared
        self._pins = pins
        self._free = free
        self._deletes = deletes
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="expiry", daemon=True)

    def start(self) -> None:
        """Start the passes on a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the object it is at."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = 1.0
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                if self._pins.rules().any_pin:
                    self._pins.make_fit()
                self.sweep()
            except ForebayError as failure:
                log.warning("times to live are seen to later: %s", failure)
            except Exception:
                log.exception("a pass over times to live failed")
            pause = max(EVERY, (time.monotonic() - began) / DUTY)

    def sweep(self) -> Expired:
        """Free or delete every known object whose time is over; tell how many."""
        rules = self._pins.rules()
        total = Expired()
        for name, scope, rule in rules:
            if rule.ttl:
                total = _sum(total, self._sweep_scope(name, scope, rules))
        return total

    def _sweep_scope(self, name: str, scope: Scope, rules: Rules) -> Expired:
        total, after = Expired(), ""
        while not self._stopping.is_set():
            began = time.monotonic()
            found = self._shared.catalog.read(partial(_records, scope, after))
            for bucket, key, record, refs in found:
                wanted = rules.for_object(bucket.name, key)
                # Nearer rules have a pass of their own.
                over = wanted.ttl_by == name and 0 < wanted.expires(record) <= now_ms()
                if over and not self._stopping.is_set():
                    done = self._end(bucket, key, record, refs, wanted.action, wanted.pinned)
                    total = _sum(total, done)
            if len(found) < CHUNK:
                break
            after = path_of(found[-1][0].name, found[-1][1])
            self._stopping.wait((time.monotonic() - began) / DUTY * (1 - DUTY))
        return total

    def _end(
        self,
        bucket: Bucket,
        key: str,
        record: Record,
        refs: list[SegmentRef],
        action: str,
        pinned: bool,
    ) -> Expired:
        """Free or delete one object whose time is over."""
        if record.state is PersistState.TO_BE_PERSISTED:
            return Expired(waiting=1)
        if action == "free":
            if pinned or record.state is not PersistState.PERSISTED:
                return Expired()
            return Expired(freed=self._free.free_object(record, refs) > 0)
        try:
            return Expired(deleted=self._deletes.expire(bucket, key, record.object_id))
        except AccessDenied:
            return Expired(failed=1)
        except ForebayError as failure:
            log.warning("%r is over, but stays: %s", path_of(bucket.name, key), failure)
            return Expired(failed=1)


def _records(
    scope: Scope, after: str, snapshot: Snapshot
) -> list[tuple[Bucket, str, Record, list[SegmentRef]]]:
    found = []
    some = itertools.islice(walk(snapshot, scope, keys.object_row, after), CHUNK)
    for bucket, key, value in some:
        record = decode(Record, value)
        refs = catalog.segments(snapshot, record) if not record.local else []
        found.append((bucket, key, record, refs))
    return found


def _sum(one: Expired, other: Expired) -> Expired:
    return Expired(
        one.freed + other.freed,
        one.deleted + other.deleted,
        one.waiting + other.waiting,
        one.failed + other.failed,
    )
