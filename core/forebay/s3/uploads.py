"""Multipart uploads."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, wait
from typing import Any

from forebay.checksums import ALGORITHMS
from forebay.objects.uploads import CompletedPart
from forebay.objects.write import Written
from forebay.s3 import attributes, xml
from forebay.s3.call import Answer, Call, error_document, explain
from forebay.s3.conditions import write_conditions
from forebay.s3.copy import checksum_algorithm
from forebay.s3.errors import S3Error
from forebay.s3.listing import MAX_KEYS, page
from forebay.s3.object import MAX_PART, parse_part_number, written_headers
from forebay.types import CommonPrefix

_TYPES = {
    "crc32": ("COMPOSITE", "FULL_OBJECT"),
    "crc32c": ("COMPOSITE", "FULL_OBJECT"),
    "crc64nvme": ("FULL_OBJECT",),
    "sha1": ("COMPOSITE",),
    "sha256": ("COMPOSITE",),
}
"""Checksum types of each algorithm, the default first."""


def create_multipart_upload(call: Call) -> Answer:
    """Begin an upload."""
    algorithm = checksum_algorithm(call)
    kind = _checksum_type(call, algorithm)
    upload = call.forebay.uploads.create(
        call.bucket,
        call.key,
        attributes=attributes.from_headers(call),
        owner=call.identity.user,
        checksum_algorithm=algorithm,
        checksum_type=kind,
        requested=call.write_type(),
    )
    answer = call.document(
        "InitiateMultipartUploadResult",
        ("Bucket", call.shown_bucket),
        ("Key", call.address.key),
        ("UploadId", upload.upload_id),
    )
    answer.headers["x-forebay-write-type"] = upload.write_type
    if algorithm:
        answer.headers["x-amz-checksum-algorithm"] = algorithm.upper()
        answer.headers["x-amz-checksum-type"] = kind
    return answer


def _checksum_type(call: Call, algorithm: str) -> str:
    given = call.headers.get("x-amz-checksum-type", "").upper()
    if not algorithm:
        if given:
            raise S3Error(
                "InvalidRequest",
                "The x-amz-checksum-type header can only be used with the "
                "x-amz-checksum-algorithm header.",
            )
        return ""
    if given and given not in _TYPES[algorithm]:
        raise S3Error(
            "InvalidRequest",
            f"The {given[:20]} checksum type cannot be used with the {algorithm} checksum "
            "algorithm.",
        )
    return given or _TYPES[algorithm][0]


def upload_part(call: Call) -> Answer:
    """Upload a part, in place of an earlier one of its number."""
    number = parse_part_number(call.query.get("partNumber", ""))
    upload_id = call.query["uploadId"]
    upload = call.forebay.uploads.get(call.bucket, call.key, upload_id)
    body = call.body()
    expected = upload.checksum_algorithm
    if body.algorithm and expected and body.algorithm != expected:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {expected}, "
            f"actual checksum Type: {body.algorithm}",
        )
    part = call.forebay.uploads.put_part(call.bucket, call.key, upload_id, number, body)
    return Answer({**attributes.checksum_headers(part.checksums, ""), "etag": f'"{part.etag}"'})


def abort_multipart_upload(call: Call) -> Answer:
    """Forget an upload and its parts."""
    call.forebay.uploads.abort(call.bucket, call.key, call.query["uploadId"])
    return Answer()


# --- completion -----------------------------------------------------------------------


def complete_multipart_upload(call: Call) -> Answer:
    """Make the listed parts the object; white space keeps the connection of a slow one alive."""
    upload_id = call.query["uploadId"]
    parts = _listed_parts(call)
    conditions = write_conditions(call.headers)
    checksums = {
        name: call.headers[header]
        for name in ALGORITHMS
        if (header := f"x-amz-checksum-{name}") in call.headers
    }
    size = call.headers.get("x-amz-mp-object-size")
    if size is not None and not (size.isascii() and size.isdigit() and len(size) < 16):
        raise S3Error("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
    bucket, key = call.bucket, call.key

    def complete() -> Written:
        return call.forebay.uploads.complete(
            bucket,
            key,
            upload_id,
            parts,
            conditions=conditions,
            checksums=checksums,
            checksum_type=call.headers.get("x-amz-checksum-type", "").upper(),
            size=None if size is None else int(size),
        )

    interval = call.forebay.config.properties.complete_keepalive_interval
    if interval <= 0:
        return _completed(call, complete())
    future = call.pool().submit(complete)
    if wait([future], timeout=interval).done:
        return _completed(call, future.result())
    return Answer({"content-type": "application/xml"}, stream=_keep_alive(call, future, interval))


def _keep_alive(
    call: Call, future: Future[Written], interval: float
) -> Generator[bytes, None, None]:
    """Give blanks until the completion is done, then its document, or that of its error."""
    yield xml.DECLARATION
    while not wait([future], timeout=interval).done:
        yield b" "
    try:
        yield _result(call, future.result(), declaration=False)
    except Exception as exc:
        error = explain(exc, call.request_id)
        yield error_document(error, call.resource, call.request_id, declaration=False)


def _completed(call: Call, written: Written) -> Answer:
    headers = {"content-type": "application/xml", **written_headers(written)}
    return Answer(headers, _result(call, written, declaration=True))


def _result(call: Call, written: Written, *, declaration: bool) -> bytes:
    record = written.record
    path = f"/{call.shown_bucket}/{call.address.key}"
    return xml.document(
        "CompleteMultipartUploadResult",
        call.dialect.xml_namespace,
        ("Location", path if call.dialect.location_is_path else call.url),
        ("Bucket", call.shown_bucket),
        ("Key", call.address.key),
        ("ETag", f'"{record.etag}"'),
        *attributes.checksum_elements(record.checksums, record.checksum_type),
        declaration=declaration,
    )


def _listed_parts(call: Call) -> list[CompletedPart]:
    """Give the parts that the body of a completion lists. Raises MalformedXML."""
    if not call.has_body:
        raise S3Error("InvalidRequest", "You must specify at least one part")
    root = call.xml("CompleteMultipartUpload", object_checksums=True)
    parts = [_listed_part(call, element) for element in xml.children(root, "Part")]
    if not parts or len(parts) > MAX_PART:
        raise S3Error("MalformedXML")
    return parts


def _listed_part(call: Call, element: Any) -> CompletedPart:
    number = (xml.text(element, "PartNumber") or "").strip()
    etag = xml.text(element, "ETag")
    if not (number.isascii() and number.isdigit() and len(number) <= 10):
        raise S3Error("MalformedXML")
    if etag is None and call.dialect.digest_required:
        raise S3Error("MalformedXML")
    if not 1 <= int(number) <= MAX_PART:
        raise S3Error(
            "InvalidArgument",
            "PartNumber must be between 1 and 10000",
            ArgumentName="partNumber",
            ArgumentValue=number,
        )
    checksums = {
        name: value
        for name in ALGORITHMS
        if (value := xml.text(element, f"Checksum{name.upper()}")) is not None
    }
    return CompletedPart(int(number), None if etag is None else etag.strip().strip('"'), checksums)


# --- what is under way ------------------------------------------------------------------


def list_parts(call: Call) -> Answer:
    """List the parts of an upload."""
    marker = call.number("part-number-marker", 0, most=2**31)
    limit = call.number("max-parts", MAX_KEYS, most=MAX_KEYS)
    upload, parts, truncated = call.forebay.uploads.parts(
        call.bucket, call.key, call.query["uploadId"], after=marker, limit=limit
    )
    owner = upload.owner or call.shown_owner
    person = [("ID", owner), ("DisplayName", owner)]
    return call.document(
        "ListPartsResult",
        ("Bucket", call.shown_bucket),
        ("Key", call.address.key),
        ("UploadId", upload.upload_id),
        ("Initiator", person),
        ("Owner", person),
        ("StorageClass", "STANDARD"),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", parts[-1].number if parts else marker),
        ("MaxParts", limit),
        ("IsTruncated", truncated and limit > 0),
        ("ChecksumAlgorithm", upload.checksum_algorithm.upper() or None),
        ("ChecksumType", upload.checksum_type or None),
        *(
            (
                "Part",
                [
                    ("PartNumber", part.number),
                    ("LastModified", xml.iso_date(part.modified)),
                    ("ETag", f'"{part.etag}"'),
                    ("Size", part.size),
                    *attributes.checksum_elements(part.checksums, ""),
                ],
            )
            for part in parts
        ),
    )


def list_multipart_uploads(call: Call) -> Answer:
    """List the uploads under way in a bucket."""
    asked = page(call, "max-uploads")
    key_marker = call.query.get("key-marker", "")
    # S3 ignores an upload id without a key.
    id_marker = call.query.get("upload-id-marker", "") if key_marker else ""
    inside = call.address.prefix
    listing = call.forebay.uploads.list(
        call.bucket,
        prefix=inside + asked.prefix,
        delimiter=asked.delimiter,
        key_marker=inside + key_marker if key_marker else "",
        upload_id_marker=id_marker,
        limit=asked.max_keys,
    )

    def relative(key: str) -> str:
        return asked.name(key[len(inside) :])

    content: list[tuple[str, Any]] = [
        ("Bucket", call.shown_bucket),
        ("KeyMarker", asked.name(key_marker)),
        ("UploadIdMarker", id_marker),
        ("NextKeyMarker", relative(listing.next_key) if listing.truncated else None),
        ("NextUploadIdMarker", listing.next_upload_id if listing.truncated else None),
        ("Prefix", asked.name(asked.prefix)),
        ("Delimiter", asked.name(asked.delimiter) or None),
        ("EncodingType", "url" if asked.encode else None),
        ("MaxUploads", asked.max_keys),
        ("IsTruncated", listing.truncated),
    ]
    for entry in listing.entries:
        if isinstance(entry, CommonPrefix):
            content.append(("CommonPrefixes", [("Prefix", relative(entry.prefix))]))
            continue
        owner = entry.owner or call.shown_owner
        person = [("ID", owner), ("DisplayName", owner)]
        content.append(
            (
                "Upload",
                [
                    ("Key", relative(entry.key)),
                    ("UploadId", entry.upload_id),
                    ("Initiator", person),
                    ("Owner", person),
                    ("StorageClass", "STANDARD"),
                    ("Initiated", xml.iso_date(entry.initiated)),
                    ("ChecksumAlgorithm", entry.checksum_algorithm.upper() or None),
                    ("ChecksumType", entry.checksum_type or None),
                ],
            )
        )
    return call.document("ListMultipartUploadsResult", *content)
