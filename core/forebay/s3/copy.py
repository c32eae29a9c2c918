"""Copies within the namespace: CopyObject and UploadPartCopy."""

from __future__ import annotations

from forebay.catalog.records import Bucket, Record
from forebay.checksums import ALGORITHMS
from forebay.objects.copies import CopyBody, Target
from forebay.s3 import attributes, xml
from forebay.s3.address import CopySource, parse_copy_source
from forebay.s3.call import Answer, Call
from forebay.s3.conditions import check_copy_source, parse_copy_range, write_conditions
from forebay.s3.errors import S3Error
from forebay.s3.object import parse_part_number, written_headers
from forebay.types import Attributes, ByteRange

SOURCE_LIMIT = 5 << 30
"""Most bytes one copy moves, as S3 has it."""


def copy_object(call: Call) -> Answer:
    """Copy an object, with its metadata and tags or with those of the request."""
    source, source_bucket = _source(call)
    own_metadata = _directive(call, "x-amz-metadata-directive")
    own_tags = _directive(call, "x-amz-tagging-directive")
    asked = checksum_algorithm(call)
    given = attributes.from_headers(call)
    changes = own_metadata or asked or "x-amz-storage-class" in call.headers
    if not changes and source_bucket.name == call.bucket.name and source.full_key == call.key:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself "
            "without changing the object's metadata, storage class, website redirect location "
            "or encryption attributes.",
        )

    def select(record: Record) -> None:
        check_copy_source(call.headers, record.etag, record.modified)
        _check_size(record.size)

    def kept(record: Record) -> Attributes:
        return Attributes(
            headers=given.headers if own_metadata else record.headers,
            metadata=given.metadata if own_metadata else record.metadata,
            tags=given.tags if own_tags else record.tags,
        )

    written = call.forebay.copies.copy(
        source_bucket,
        source.full_key,
        select,
        Target(
            call.bucket,
            call.key,
            kept,
            call.identity.user,
            algorithm=asked,
            requested=call.write_type(),
            conditions=write_conditions(call.headers),
        ),
    )
    made = written.record
    answer = call.document(
        "CopyObjectResult",
        ("LastModified", xml.iso_date(made.modified)),
        ("ETag", f'"{made.etag}"'),
        *attributes.checksum_elements(made.checksums, made.checksum_type),
    )
    answer.headers.update(written_headers(written))
    return answer


def upload_part_copy(call: Call) -> Answer:
    """Upload a part that is a copy of an object or of a range of one."""
    upload_id = call.query["uploadId"]
    number = parse_part_number(call.query.get("partNumber", ""))
    source, source_bucket = _source(call)
    upload = call.forebay.uploads.get(call.bucket, call.key, upload_id)
    wanted = call.headers.get("x-amz-copy-source-range")

    def select(record: Record) -> ByteRange | None:
        check_copy_source(call.headers, record.etag, record.modified)
        byte_range = None if wanted is None else parse_copy_range(wanted, record.size)
        _check_size(record.size if byte_range is None else byte_range.length)
        return byte_range

    with call.forebay.reads.get(source_bucket, source.full_key, select) as opened:
        body = CopyBody(opened, opened.byte_range.length, upload.checksum_algorithm)
        part = call.forebay.uploads.put_part(call.bucket, call.key, upload_id, number, body)
    return call.document(
        "CopyPartResult",
        ("LastModified", xml.iso_date(part.modified)),
        ("ETag", f'"{part.etag}"'),
        *attributes.checksum_elements(part.checksums, ""),
    )


def checksum_algorithm(call: Call) -> str:
    """Give the algorithm x-amz-checksum-algorithm names, in lower case; "" without one."""
    given = call.headers.get("x-amz-checksum-algorithm", "")
    if given and given.lower() not in ALGORITHMS:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            f"types: [{', '.join(sorted(ALGORITHMS)).upper()}]",
        )
    return given.lower()


def _source(call: Call) -> tuple[CopySource, Bucket]:
    """Give what is to be copied, once the caller may read it."""
    source = parse_copy_source(call.headers["x-amz-copy-source"])
    if source.version_id not in (None, "null"):
        raise S3Error("NoSuchVersion", Key=source.key)
    bucket = call.forebay.buckets.get(source.bucket)
    call.authorize("GetObject", bucket, bucket.name, source.full_key)
    call.expect_owner(bucket, "x-amz-source-expected-bucket-owner")
    return source, bucket


def _directive(call: Call, name: str) -> bool:
    """Whether a directive is REPLACE; absent it is COPY. Raises InvalidArgument."""
    given = call.headers.get(name, "COPY").upper()
    if given not in ("COPY", "REPLACE"):
        raise S3Error(
            "InvalidArgument",
            f"Unknown {name.split('-')[2]} directive.",
            ArgumentName=name,
            ArgumentValue=given[:100],
        )
    return given == "REPLACE"


def _check_size(size: int) -> None:
    if size > SOURCE_LIMIT:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {SOURCE_LIMIT}",
        )
