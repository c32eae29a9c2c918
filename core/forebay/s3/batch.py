"""DeleteObjects: up to a thousand keys in one request, each with its own outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forebay.errors import ForebayError
from forebay.s3 import xml
from forebay.s3.address import check_key
from forebay.s3.call import Answer, Call, explain
from forebay.s3.errors import S3Error
from forebay.types import DeleteType

MOST = 1000


@dataclass(frozen=True, slots=True)
class Item:
    """One key to delete; `refused` says why it cannot even be tried."""

    key: str
    version_id: str | None
    etag: str | None
    refused: S3Error | None


def delete_objects(call: Call) -> Answer:
    """Delete the keys that the body lists, and tell the outcome of each."""
    if call.dialect.digest_required and not _has_digest(call):
        raise S3Error(
            "InvalidRequest",
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        )
    requested = call.delete_type()
    root = call.xml("Delete")
    items = [_item(element) for element in xml.children(root, "Object")]
    if not items or len(items) > MOST:
        raise S3Error("MalformedXML")
    quiet = (xml.text(root, "Quiet") or "").strip().lower() == "true"
    outcomes: list[tuple[str, Any]] = []
    for item in items:
        version = ("VersionId", item.version_id)
        try:
            _delete(call, item, requested)
        except ForebayError as exc:
            error = explain(exc, call.request_id)
            outcomes.append(
                (
                    "Error",
                    [
                        ("Key", item.key),
                        version,
                        ("Code", error.code),
                        ("Message", error.message),
                    ],
                )
            )
        else:
            if not quiet:
                outcomes.append(("Deleted", [("Key", item.key), version]))
    return call.document("DeleteResult", *outcomes)


def _delete(call: Call, item: Item, requested: DeleteType | None) -> None:
    if item.refused is not None:
        raise item.refused
    key = call.address.prefix + item.key
    check_key(key)
    call.authorize("DeleteObject", call.bucket, call.bucket.name, key)
    call.forebay.deletes.delete(call.bucket, key, if_match=item.etag, requested=requested)


def _item(element: Any) -> Item:
    key = xml.text(element, "Key")
    if not key:
        raise S3Error("MalformedXML")
    version = xml.text(element, "VersionId") or None
    etag = xml.text(element, "ETag")
    refused = None
    if version not in (None, "null"):
        refused = S3Error("NoSuchVersion")
    elif any(xml.text(element, name) for name in ("LastModifiedTime", "Size")):
        refused = S3Error("NotImplemented", "Only ETag conditions are implemented on deletes.")
    return Item(key, version, etag.strip().strip('"') if etag else None, refused)


def _has_digest(call: Call) -> bool:
    return any(
        name == "content-md5"
        or name == "x-amz-trailer"
        or (name.startswith("x-amz-checksum-") and name != "x-amz-checksum-algorithm")
        for name in call.headers
    )
