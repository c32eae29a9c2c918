"""Single objects: put, get, head and delete."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forebay.catalog.records import Record, SegmentRef
from forebay.errors import NoSuchKey, SourceChanged
from forebay.objects.write import Written
from forebay.s3 import attributes, outgoing
from forebay.s3.call import Answer, Call
from forebay.s3.conditions import check_read, parse_range, write_conditions
from forebay.s3.errors import S3Error
from forebay.s3.sigv4 import is_signed
from forebay.types import ByteRange

OVERRIDES: Mapping[str, str] = MappingProxyType(
    {f"response-{name}": name for name in attributes.CONTENT_HEADERS}
)
"""Query parameters of a signed GET or HEAD that replace a header of the answer."""

MAX_PART = 10_000


def put_object(call: Call) -> Answer:
    """Store an object whole."""
    if "partNumber" in call.query:
        raise S3Error("InvalidArgument", "This operation needs an uploadId.")
    written = call.forebay.writes.put(
        call.bucket,
        call.key,
        call.body(),
        attributes=attributes.from_headers(call),
        owner=call.identity.user,
        requested=call.write_type(),
        conditions=write_conditions(call.headers),
    )
    return Answer({**written_headers(written), "etag": f'"{written.record.etag}"'})


def written_headers(written: Written) -> dict[str, str]:
    """Give the headers that tell what became of a write, its ETag aside."""
    headers = attributes.checksum_headers(written.record.checksums, written.record.checksum_type)
    headers["x-forebay-write-type"] = written.write_type.value
    headers["x-forebay-durability"] = written.durability.value
    return headers


def delete_object(call: Call) -> Answer:
    """Delete an object; a missing one is success."""
    if_match = write_conditions(call.headers, for_delete=True).if_match
    requested = call.delete_type()
    if if_match is None and is_implied_folder(call):
        return Answer()
    done = call.forebay.deletes.delete(
        call.bucket, call.key, if_match=if_match, requested=requested
    )
    return Answer({"x-forebay-delete-type": done.value})


def is_implied_folder(call: Call) -> bool:
    """Whether the key is a sub-directory that only the listings of this dialect show."""
    if not call.dialect.folders_in_listing or not call.key.endswith("/"):
        return False
    try:
        call.forebay.reads.head(call.bucket, call.key)
    except NoSuchKey:
        return call.forebay.listings.exists(call.bucket, call.key)
    return False


# --- reading --------------------------------------------------------------------------


class Selection:
    """What a GET or HEAD wants of the object it meets: conditions, then a range or a part."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.number = _part_number(call.query)
        self._range = call.headers.get("range")
        if self.number is not None and self._range is not None:
            raise S3Error(
                "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
            )
        if "x-amz-server-side-encryption-customer-algorithm" in call.headers:
            raise S3Error(
                "InvalidRequest",
                "The encryption parameters are not applicable to this object.",
            )
        self._overrides = _overrides(call)
        self.parts: list[SegmentRef]
        self.part: SegmentRef | None

    def select(self, record: Record) -> ByteRange | None:
        """Give the bytes wanted of the object, None for all of them. Raises S3Error."""
        # Asked again when the object changed meanwhile, so nothing of the last time may stay.
        self.parts, self.part = [], None
        check_read(self._call.headers, record.etag, record.modified)
        if self.number is not None:
            return self._part(record)
        return parse_range(self._range, record.size)

    def _part(self, record: Record) -> ByteRange | None:
        self.parts = self._call.forebay.reads.parts(record)
        start = 0
        for part in self.parts:
            if part.number == self.number:
                self.part = part
                return ByteRange(start, start + part.length)
            start += part.length
        if self.parts or self.number != 1:
            raise S3Error("InvalidPartNumber", ActualPartCount=str(len(self.parts) or 1))
        return ByteRange(0, record.size) if record.size else None

    def headers(self, record: Record, byte_range: ByteRange | None) -> dict[str, str]:
        """Give the headers of the answer, those of how its bytes travel aside."""
        headers = attributes.to_headers(record, self._call.dialect)
        if byte_range is not None:
            headers["content-range"] = (
                f"bytes {byte_range.start}-{byte_range.stop - 1}/{record.size}"
            )
        if self.parts:
            headers["x-amz-mp-parts-count"] = str(len(self.parts))
        # With a range SDKs would hold the checksum against the wrong bytes.
        if self._call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            if self.part is not None:
                headers.update(attributes.checksum_headers(self.part.checksums, ""))
            elif byte_range is None or self.number is not None:
                headers.update(attributes.checksum_headers(record.checksums, record.checksum_type))
        headers.update(self._overrides)
        return headers


def get_object(call: Call) -> Answer:
    """Give an object, a range or a part of it."""
    selection = Selection(call)
    asked: list[ByteRange | None] = [None]

    def select(record: Record) -> ByteRange | None:
        asked[0] = selection.select(record)
        return asked[0]

    tries = 3
    while True:
        try:
            opened = call.forebay.reads.get(call.bucket, call.key, select)
        except NoSuchKey:
            if is_implied_folder(call):
                return _folder(call)
            raise
        answer = Answer(
            selection.headers(opened.record, asked[0]), status=None if asked[0] is None else 206
        )
        answer.headers["x-forebay-cache"] = opened.cache
        answer.headers["age"] = str(int(opened.age))
        try:
            return outgoing.send(answer, opened, opened.byte_range.length)
        except SourceChanged:
            # Nothing has left yet, so the client may as well have the new version.
            tries -= 1
            if not tries:
                raise


def head_object(call: Call) -> Answer:
    """Tell of an object what a GET would, without its bytes."""
    selection = Selection(call)
    try:
        record = call.forebay.reads.head(call.bucket, call.key)
    except NoSuchKey:
        if is_implied_folder(call):
            return _folder(call)
        raise
    byte_range = selection.select(record)
    headers = selection.headers(record, byte_range)
    headers["content-length"] = str(record.size if byte_range is None else byte_range.length)
    return Answer(headers, status=None if byte_range is None else 206)


def _folder(call: Call) -> Answer:
    """Answer for a sub-directory that has no object of its own."""
    return Answer(
        {
            "content-type": call.dialect.default_content_type,
            "content-length": "0",
            "accept-ranges": "bytes",
        }
    )


def _part_number(query: Mapping[str, str]) -> int | None:
    given = query.get("partNumber")
    return None if given is None else parse_part_number(given)


def parse_part_number(given: str) -> int:
    """Give a part number of 1 to 10,000. Raises InvalidArgument."""
    if given.isascii() and given.isdigit() and len(given) <= 10 and 1 <= int(given) <= MAX_PART:
        return int(given)
    raise S3Error(
        "InvalidArgument",
        "Part number must be an integer between 1 and 10000, inclusive",
        ArgumentName="partNumber",
        ArgumentValue=given[:100],
    )


def _overrides(call: Call) -> dict[str, str]:
    """Give the headers that the query sets. Raises InvalidRequest on an unsigned request."""
    if not call.query:
        return {}
    found = {
        # Text of the URL; what does not fit into ASCII goes out as the UTF-8 that it came as.
        header: attributes.checked(name, call.query[name]).encode().decode("latin-1")
        for name, header in OVERRIDES.items()
        if name in call.query
    }
    if found and not is_signed(call.headers, call.query):
        raise S3Error(
            "InvalidRequest",
            "Request specific response headers cannot be used for anonymous GET requests.",
        )
    return found
