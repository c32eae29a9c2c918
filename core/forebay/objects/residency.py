"""Whose bytes lie in the cache: from a page back to the object that it is a part of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Record
from forebay.objects.mounts import Mount
from forebay.objects.shared import Shared
from forebay.stores.metadata import Snapshot


@dataclass(frozen=True, slots=True)
class Place:
    """The object that a segment belongs to, and the mount that holds it."""

    bucket: Bucket
    key: str
    record: Record
    mount: Mount


def place_of(shared: Shared, segment: str) -> Place | None:
    """Give the current object whose bytes a segment holds; the first, where several share it.

    None for what no current object uses: an upload's parts, what was overwritten or deleted,
    what a write has not committed yet.
    """
    return shared.catalog.read(lambda snapshot: _find(shared, snapshot, segment))


def _find(shared: Shared, snapshot: Snapshot, segment: str) -> Place | None:
    for object_id, row in _holders(snapshot, segment):
        record = catalog.get(snapshot, row, Record)
        if record is None or record.object_id != object_id:
            continue
        bucket_id, key = keys.location(row)
        buckets = catalog.rows(snapshot, keys.BUCKETS, Bucket)
        bucket = next((bucket for _, bucket in buckets if bucket.id == bucket_id), None)
        if bucket is not None:
            return Place(bucket, key, record, shared.mounts.find(bucket.name, key))
    return None


def _holders(snapshot: Snapshot, segment: str) -> Iterator[tuple[str, bytes]]:
    """Give id and row of each object that uses a segment, or whose pages lie under its name."""
    own = snapshot.get(keys.place_row(segment))
    if own:
        yield segment, own
    prefix = keys.use_row(segment, "")
    for use, value in snapshot.scan(prefix, keys.end(prefix)):
        holder = use[len(prefix) :].decode()
        row = value or snapshot.get(keys.place_row(holder))
        if row:
            yield holder, row
