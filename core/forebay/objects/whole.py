"""An object made of parts: its record, its ETag and its checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from forebay.catalog.records import Record, SegmentRef, Upload
from forebay.checksums import composite, full_object
from forebay.errors import BodyError, InvalidRequest
from forebay.objects.shared import now_ms
from forebay.objects.write import FULL_OBJECT, PLANS
from forebay.types import WriteType


def record_of_parts(
    upload: Upload,
    refs: Sequence[SegmentRef],
    generation: int,
    checksums: Mapping[str, str],
    checksum_type: str,
    size: int | None,
) -> Record:
    """Make the record of an upload's object; the rest is what the client says of the whole.

    Raises InvalidRequest, BodyError.
    """
    total = sum(ref.length for ref in refs)
    if size is not None and size != total:
        raise InvalidRequest("x-amz-mp-object-size is not the sum of the parts' sizes")
    kind = checksum_type or upload.checksum_type
    joined = _join_checksums(upload, refs, kind, checksums)
    hashes = b"".join(bytes.fromhex(ref.etag) for ref in refs)
    etag = hashlib.md5(hashes, usedforsecurity=False).hexdigest()
    write_type = WriteType(upload.write_type)
    return Record(
        object_id=upload.upload_id,
        seq=0,
        size=total,
        etag=f"{etag}-{len(refs)}",
        modified=now_ms(),
        state=PLANS[write_type].state,
        generation=generation,
        owner=upload.owner,
        headers=upload.headers,
        metadata=upload.metadata,
        tags=upload.tags,
        checksums=joined,
        checksum_type=(kind or "COMPOSITE") if joined else "",
        parts=len(refs),
        write_type=write_type.value,
    )


def _join_checksums(
    upload: Upload, refs: Sequence[SegmentRef], kind: str, claimed: Mapping[str, str]
) -> dict[str, str]:
    """Make the checksum of the whole from those of the parts, and compare it with the claim."""
    joined: dict[str, str] = {}
    names = {upload.checksum_algorithm} if upload.checksum_algorithm else set(claimed)
    for name in names:
        values = [ref.checksums.get(name, "") for ref in refs]
        if not values or not all(values):
            if upload.checksum_algorithm and kind != FULL_OBJECT and any(values):
                raise InvalidRequest(f"not every part has a {name} checksum")
            continue
        joined[name] = (
            full_object(name, [(v, r.length) for v, r in zip(values, refs, strict=True)])
            if kind == FULL_OBJECT
            else composite(name, values)
        )
    for name, value in claimed.items():
        if name in joined and joined[name] != value:
            raise BodyError("BadDigest", f"the {name} checksum is not that of the parts together")
    return joined
