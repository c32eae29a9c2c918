"""GetObjectAttributes: what is known of an object, without its bytes."""

from __future__ import annotations

from typing import Any

from forebay.s3 import attributes, xml
from forebay.s3.call import Answer, Call
from forebay.s3.conditions import check_read
from forebay.s3.errors import S3Error

ASKED = "x-amz-object-attributes"
_KNOWN = frozenset(("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"))
_MAX_PARTS = 1000


def get_object_attributes(call: Call) -> Answer:
    """Give those of the object's attributes that the request names."""
    asked = {one.strip() for one in call.headers.get(ASKED, "").split(",") if one.strip()}
    if not asked or not asked <= _KNOWN:
        raise S3Error("InvalidArgument", "Invalid attribute name specified.", ArgumentName=ASKED)
    limit = _number(call, "x-amz-max-parts", _MAX_PARTS)
    marker = _number(call, "x-amz-part-number-marker", 0)
    record = call.forebay.reads.head(call.bucket, call.key)
    check_read(call.headers, record.etag, record.modified)
    checksums = attributes.checksum_elements(record.checksums, record.checksum_type)
    content: list[tuple[str, Any]] = []
    if "ETag" in asked:
        content.append(("ETag", record.etag))
    if "Checksum" in asked and checksums:
        content.append(("Checksum", checksums))
    if "ObjectParts" in asked and record.parts:
        parts = call.forebay.reads.parts(record)
        behind = [part for part in parts if part.number > marker]
        shown = behind[: min(limit, _MAX_PARTS)]
        content.append(
            (
                "ObjectParts",
                [
                    ("PartsCount", len(parts)),
                    ("PartNumberMarker", marker),
                    ("NextPartNumberMarker", shown[-1].number if shown else marker),
                    ("MaxParts", min(limit, _MAX_PARTS)),
                    ("IsTruncated", len(shown) < len(behind)),
                    *(
                        (
                            "Part",
                            [
                                ("PartNumber", part.number),
                                ("Size", part.length),
                                *attributes.checksum_elements(part.checksums, ""),
                            ],
                        )
                        for part in shown
                    ),
                ],
            )
        )
    if "StorageClass" in asked:
        content.append(("StorageClass", "STANDARD"))
    if "ObjectSize" in asked:
        content.append(("ObjectSize", record.size))
    answer = call.document("GetObjectAttributesResponse", *content)
    answer.headers["last-modified"] = xml.http_date(record.modified)
    return answer


def _number(call: Call, name: str, default: int) -> int:
    given = call.headers.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= 10):
        raise S3Error(
            "InvalidArgument",
            f"{name} must be a whole number.",
            ArgumentName=name,
            ArgumentValue=given[:100],
        )
    return int(given)
