"""Multipart uploads under way: their rows in the catalog, found, listed and ended."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Part, Trash, Upload
from forebay.errors import NoSuchUpload
from forebay.stores.metadata import Snapshot, Transaction
from forebay.types import CommonPrefix


@dataclass(frozen=True, slots=True)
class UploadListing:
    """A page of uploads under way."""

    entries: list[Upload | CommonPrefix]
    truncated: bool
    next_key: str
    next_upload_id: str


def row_of(upload: Upload) -> bytes:
    """Name the row of an upload."""
    return keys.upload_row(upload.bucket_id, upload.key, upload.upload_id)


def find(snapshot: Snapshot, bucket: Bucket, key: str, upload_id: str) -> Upload:
    """Give an upload under way. Raises NoSuchUpload, NoSuchBucket."""
    catalog.check_bucket(snapshot, bucket)
    safe = upload_id.isalnum() and upload_id.isascii() and len(upload_id) <= 64
    row = keys.upload_row(bucket.id, key, upload_id)
    upload = catalog.get(snapshot, row, Upload) if safe else None
    if upload is None:
        raise NoSuchUpload(UploadId=upload_id[:128])
    return upload


def listed(
    snapshot: Snapshot,
    bucket: Bucket,
    prefix: str,
    delimiter: str,
    key_marker: str,
    upload_id_marker: str,
    limit: int,
) -> UploadListing:
    """Give the uploads that `Uploads.list` tells of."""
    if limit <= 0:
        return UploadListing([], False, "", "")
    catalog.check_bucket(snapshot, bucket)
    begin = keys.upload_row(bucket.id, prefix, "")[:-1]
    start = begin
    if key_marker:
        behind = keys.upload_row(bucket.id, key_marker, upload_id_marker)
        start = max(start, behind + (b"\x00" if upload_id_marker else b"\xff"))
    entries = _rolled(snapshot, start, keys.end(begin), prefix, delimiter, key_marker)
    found = list(itertools.islice(entries, limit + 1))
    page, truncated = found[:limit], len(found) > limit
    final = page[-1] if page else None
    if isinstance(final, CommonPrefix):
        return UploadListing(page, truncated, final.prefix, "")
    if final is None:
        return UploadListing(page, truncated, "", "")
    return UploadListing(page, truncated, final.key, final.upload_id)


def _rolled(
    snapshot: Snapshot, start: bytes, stop: bytes, prefix: str, delimiter: str, key_marker: str
) -> Iterator[Upload | CommonPrefix]:
    last = None
    for _, upload in catalog.rows_between(snapshot, start, stop, Upload):
        at = upload.key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            yield upload
            continue
        rolled = upload.key[: at + len(delimiter)]
        if rolled != last and not key_marker.startswith(rolled):
            yield CommonPrefix(rolled)
        last = rolled


def end(tx: Transaction, upload: Upload, seq: int, *, keep: frozenset[str]) -> None:
    """End an upload: its row goes, its parts' rows and all segments but `keep` go to the trash."""
    tx.delete(row_of(upload))
    loose = [
        (part.segment, part.size)
        for _, part in catalog.rows(tx, keys.parts_prefix(upload.upload_id), Part)
        if part.segment and part.segment not in keep
    ]
    catalog.discard(tx, seq, Trash(upload.upload_id, loose, parts=True))
