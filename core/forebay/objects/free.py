"""Freeing: cached bytes that an under store has, too, are let go at an operator's word."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from functools import partial

from forebay.catalog import catalog, keys
from forebay.catalog.records import Record, SegmentRef, decode
from forebay.objects.buckets import Buckets
from forebay.objects.scope import Scope, check_scope, parse_scope, path_of, walk
from forebay.objects.shared import Shared
from forebay.stores.metadata import Snapshot
from forebay.types import PersistState

CHUNK = 100
"""Records that are read at once."""
RUN = 0.5
"""Seconds after which one call ends, to go on with the next."""


@dataclass(frozen=True, slots=True)
class Freed:
    """What one call let go: objects and bytes; what it had to keep; where to go on.

    `kept` objects are in no under store, the cache has the only copy; `first_kept` is one.
    """

    objects: int
    size: int
    kept: int
    kept_size: int
    first_kept: str
    next_after: str


class Free:
    """Frees what operators name."""

    def __init__(self, shared: Shared, buckets: Buckets) -> None:
        self._shared = shared
        self._buckets = buckets

    def free(self, path: str, after: str = "") -> Freed:
        """Let go of the cached bytes of a run of objects below a path, behind the path `after`.

        Only copies go: a reader finds the bytes in the under store. `next_after` is "" at the
        end. Raises InvalidArgument, NoSuchBucket.
        """
        scope = parse_scope(path)
        check_scope(self._buckets, scope)
        objects = size = kept = kept_size = 0
        first_kept, end = "", time.monotonic() + RUN
        while True:
            found = self._shared.catalog.read(partial(_records, scope, after))
            for where, record, refs in found:
                after = where
                if record.state is not PersistState.PERSISTED:
                    kept, kept_size = kept + 1, kept_size + record.size
                    first_kept = first_kept or where
                    continue
                freed = self.free_object(record, refs)
                objects, size = objects + (freed > 0), size + freed
            ended = len(found) < CHUNK
            if ended or time.monotonic() > end:
                return Freed(objects, size, kept, kept_size, first_kept, "" if ended else after)

    def free_object(self, record: Record, refs: list[SegmentRef]) -> int:
        """Let go of the copies of one object; give how many bytes that were."""
        if record.local or record.inline or not record.size:
            return 0
        # Pages that were fetched lie under the object's own name.
        held = {record.object_id: record.size}
        held |= {ref.segment: ref.length for ref in refs if ref.segment}
        return sum(self._shared.cache.free(segment, length) for segment, length in held.items())


def _records(
    scope: Scope, after: str, snapshot: Snapshot
) -> list[tuple[str, Record, list[SegmentRef]]]:
    found = []
    for bucket, key, value in itertools.islice(
        walk(snapshot, scope, keys.object_row, after), CHUNK
    ):
        record = decode(Record, value)
        refs = catalog.segments(snapshot, record) if not record.local else []
        found.append((path_of(bucket.name, key), record, refs))
    return found
