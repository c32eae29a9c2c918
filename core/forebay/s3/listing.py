"""Listings of objects: ListObjects, ListObjectsV2, and versions that are all the null version."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from typing import Any

from forebay.objects.listing import ListedObject, Listing
from forebay.s3 import xml
from forebay.s3.call import Answer, Call
from forebay.s3.errors import S3Error
from forebay.types import CommonPrefix

MAX_KEYS = 1000

Element = tuple[str, Any]


# --- continuation tokens ----------------------------------------------------------------


def token(name: str) -> str:
    """Make a continuation token that goes on behind `name`."""
    read = name.encode()
    return base64.urlsafe_b64encode(b"1" + _check(read) + read).decode("ascii")


def parse_token(given: str) -> str:
    """Give the name a token goes on behind. Raises InvalidArgument for what `token` never made."""
    try:
        read = base64.b64decode(given.encode("ascii"), b"-_", validate=True)
        if read[:1] == b"1" and read[1:5] == _check(read[5:]):
            return read[5:].decode()
    except (binascii.Error, UnicodeError):
        pass
    raise S3Error(
        "InvalidArgument",
        "The continuation token provided is incorrect",
        ArgumentName="continuation-token",
    )


def _check(name: bytes) -> bytes:
    return binascii.crc32(name).to_bytes(4, "big")


# --- what all listings share --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """What was asked of a listing, and the names as its answer writes them."""

    prefix: str
    delimiter: str
    max_keys: int
    encode: bool

    def name(self, text: str) -> str:
        """Give a key or prefix as the answer has to write it."""
        return xml.url_encode(text) if self.encode else text


def page(call: Call, limit: str = "max-keys") -> Page:
    """Read the parameters that all listings have. Raises InvalidArgument."""
    encoding = call.query.get("encoding-type")
    if encoding not in (None, "", "url"):
        raise S3Error(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            ArgumentName="encoding-type",
            ArgumentValue=encoding[:100],
        )
    return Page(
        prefix=call.query.get("prefix", ""),
        delimiter=call.query.get("delimiter", ""),
        max_keys=call.number(limit, MAX_KEYS, most=MAX_KEYS),
        encode=encoding == "url",
    )


def _list(call: Call, asked: Page, after: str) -> Listing:
    """List what the addressed bucket shows; keys are relative to its sub-directory."""
    inside = call.address.prefix
    # The marker of the sub-directory itself is no key of the bucket that it is.
    listing = call.forebay.listings.objects(
        call.bucket,
        prefix=inside + asked.prefix,
        delimiter=asked.delimiter,
        after=inside + after,
        limit=asked.max_keys,
        folders=call.dialect.folders_in_listing,
    )
    if not inside:
        return listing
    cut = len(inside)
    entries: list[ListedObject | CommonPrefix] = [
        CommonPrefix(entry.prefix[cut:])
        if isinstance(entry, CommonPrefix)
        else replace(entry, key=entry.key[cut:])
        for entry in listing.entries
    ]
    return Listing(entries, listing.truncated, listing.next_after[cut:])


def _answer(
    call: Call, asked: Page, listing: Listing, head: list[Element], *, owners: bool
) -> Answer:
    body = xml.list_objects(
        call.dialect.xml_namespace,
        head,
        _owned(call, listing.entries) if owners else listing.entries,
        encode=asked.encode,
        owners=owners,
    )
    return Answer({"content-type": "application/xml"}, body)


def _owned(
    call: Call, entries: list[ListedObject | CommonPrefix]
) -> list[ListedObject | CommonPrefix]:
    """Give every object an owner: what came from a mount is the bucket's owner's."""
    owner = call.shown_owner
    return [
        replace(entry, owner=owner)
        if isinstance(entry, ListedObject) and entry.owner is None
        else entry
        for entry in entries
    ]


# --- the operations -----------------------------------------------------------------------


def list_objects(call: Call) -> Answer:
    """List objects, the first way: by marker."""
    asked = page(call)
    marker = call.query.get("marker", "")
    listing = _list(call, asked, marker)
    following = asked.name(listing.next_after) if listing.truncated and asked.delimiter else None
    head: list[Element] = [
        ("Name", call.shown_bucket),
        ("Prefix", asked.name(asked.prefix)),
        ("Marker", asked.name(marker)),
        ("NextMarker", following),
        ("MaxKeys", asked.max_keys),
        ("Delimiter", asked.name(asked.delimiter) or None),
        ("EncodingType", "url" if asked.encode else None),
        ("IsTruncated", listing.truncated),
    ]
    return _answer(call, asked, listing, head, owners=True)


def list_objects_v2(call: Call) -> Answer:
    """List objects, the second way: by continuation token."""
    asked = page(call)
    start_after = call.query.get("start-after")
    given = call.query.get("continuation-token")
    after = parse_token(given) if given is not None else start_after or ""
    listing = _list(call, asked, after)
    head: list[Element] = [
        ("Name", call.shown_bucket),
        ("Prefix", asked.name(asked.prefix)),
        ("StartAfter", None if not start_after else asked.name(start_after)),
        ("ContinuationToken", given),
        ("NextContinuationToken", token(listing.next_after) if listing.truncated else None),
        ("KeyCount", len(listing.entries)),
        ("MaxKeys", asked.max_keys),
        ("Delimiter", asked.name(asked.delimiter) or None),
        ("EncodingType", "url" if asked.encode else None),
        ("IsTruncated", listing.truncated),
    ]
    owners = call.query.get("fetch-owner", "").lower() == "true"
    return _answer(call, asked, listing, head, owners=owners)


def list_object_versions(call: Call) -> Answer:
    """List each object as its null version: the bucket was never versioned."""
    asked = page(call)
    marker = call.query.get("key-marker", "")
    version_marker = call.query.get("version-id-marker")
    if version_marker is not None and not marker:
        raise S3Error(
            "InvalidArgument",
            "A version-id marker cannot be specified without a key marker.",
            ArgumentName="version-id-marker",
            ArgumentValue=version_marker[:100],
        )
    listing = _list(call, asked, marker)
    more = listing.truncated
    content: list[Element] = [
        ("Name", call.shown_bucket),
        ("Prefix", asked.name(asked.prefix)),
        ("KeyMarker", asked.name(marker)),
        ("VersionIdMarker", version_marker or ""),
        ("NextKeyMarker", asked.name(listing.next_after) if more else None),
        ("NextVersionIdMarker", "null" if more else None),
        ("MaxKeys", asked.max_keys),
        ("Delimiter", asked.name(asked.delimiter) or None),
        ("EncodingType", "url" if asked.encode else None),
        ("IsTruncated", more),
    ]
    for entry in _owned(call, listing.entries):
        if isinstance(entry, ListedObject):
            content.append(("Version", _version(asked, entry)))
    for entry in listing.entries:
        if isinstance(entry, CommonPrefix):
            content.append(("CommonPrefixes", [("Prefix", asked.name(entry.prefix))]))
    return call.document("ListVersionsResult", *content)


def _version(asked: Page, entry: ListedObject) -> list[Element]:
    return [
        ("Key", asked.name(entry.key)),
        ("VersionId", "null"),
        ("IsLatest", True),
        ("LastModified", xml.iso_date(entry.modified)),
        ("ETag", f'"{entry.etag}"'),
        *(("ChecksumAlgorithm", name.upper()) for name in entry.checksum_algorithms),
        ("ChecksumType", entry.checksum_type or None),
        ("Size", entry.size),
        ("Owner", [("ID", entry.owner), ("DisplayName", entry.owner)]),
        ("StorageClass", "STANDARD"),
    ]
