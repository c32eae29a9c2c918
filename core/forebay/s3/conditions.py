"""Ranges and conditions of requests: pure functions of headers and an object's facts.

`headers` have lower-case names; ETags are without quotes; times are ms since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import inf

from forebay.s3.errors import S3Error
from forebay.s3.xml import http_date
from forebay.types import ByteRange, WriteConditions

_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE | re.ASCII)
_COPY_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)", re.ASCII)
_ETAG = re.compile(r'\s*(W/)?(?:"([^"]*)"|([^",\s]+))\s*(?:,|$)')
_HUGE = 10**20


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Give the bytes a Range header asks of an object of `size` bytes; None means the whole.

    A malformed header or one of several ranges is None too, as S3 has it. Raises S3Error
    InvalidRange (416) when no byte of the object is in the range.
    """
    match = _RANGE.fullmatch(header) if header else None
    if header is None or match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(size - _number(last), 0), size
    else:
        start = _number(first)
        stop = min(_number(last) + 1, size) if last else size
        if last and _number(last) < start:
            return None
    if start >= stop:
        raise S3Error(
            "InvalidRange",
            headers={"Content-Range": f"bytes */{size}"},
            RangeRequested=header[:100],
            ActualObjectSize=str(size),
        )
    return ByteRange(start, stop)


def parse_copy_range(header: str, size: int) -> ByteRange:
    """Give the bytes that x-amz-copy-source-range asks of a source of `size` bytes.

    Raises S3Error InvalidArgument unless it is ``bytes=first-last``, InvalidRange when it
    reaches beyond the end.
    """
    match = _COPY_RANGE.fullmatch(header.strip())
    first, last = (_number(match[1]), _number(match[2])) if match else (1, 0)
    if first > last:
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=header[:100],
        )
    if last >= size:
        raise S3Error("InvalidRange", RangeRequested=header[:100], ActualObjectSize=str(size))
    return ByteRange(first, last + 1)


def check_read(headers: Mapping[str, str], etag: str, modified_ms: int) -> None:
    """Hold a GET or HEAD to its conditions, in the order of RFC 9110 section 13.2.2.

    Raises S3Error PreconditionFailed (412), or NotModified (304) with ETag and Last-Modified.
    """
    failed = _first_failed(headers, "", etag, modified_ms)
    if failed in ("If-Match", "If-Unmodified-Since"):
        raise S3Error("PreconditionFailed", Condition=failed)
    if failed:
        raise S3Error(
            "NotModified", headers={"ETag": f'"{etag}"', "Last-Modified": http_date(modified_ms)}
        )


def check_copy_source(headers: Mapping[str, str], etag: str, modified_ms: int) -> None:
    """Hold a copy to its x-amz-copy-source-if-* conditions; S3Error PreconditionFailed (412)."""
    if failed := _first_failed(headers, "x-amz-copy-source-", etag, modified_ms):
        raise S3Error("PreconditionFailed", Condition=f"x-amz-copy-source-{failed}")


def write_conditions(headers: Mapping[str, str], *, for_delete: bool = False) -> WriteConditions:
    """Give the conditions of a write, or of a delete, for its commit to decide.

    Raises S3Error NotImplemented for what S3 does not know on writes: If-None-Match with
    anything but ``*``, If-Match ``*`` (a delete takes it), lists, and conditions on dates.
    """
    for name in ("if-modified-since", "if-unmodified-since"):
        if name in headers:
            raise _not_on_writes(name)
    if for_delete:
        for name in ("x-amz-if-match-last-modified-time", "x-amz-if-match-size"):
            if name in headers:
                raise _not_on_writes(name)
    none_match = headers.get("if-none-match")
    if none_match is not None and (for_delete or none_match.strip() != "*"):
        raise _not_on_writes("if-none-match")
    match = headers.get("if-match")
    if match is not None:
        match = match.strip()
        if match == "*" and not for_delete:
            raise _not_on_writes("if-match")
        if match != "*":
            match = _one_etag(match)
    return WriteConditions(match, "*" if none_match is not None else None)


def _first_failed(
    headers: Mapping[str, str], prefix: str, etag: str, modified_ms: int
) -> str | None:
    """Name the first condition that does not hold; a date condition yields to its ETag one."""
    modified = modified_ms // 1000
    if (tags := headers.get(f"{prefix}if-match")) is not None:
        if not _matches(tags, etag, weak=False):
            return "If-Match"
    elif modified > _date(headers.get(f"{prefix}if-unmodified-since"), inf):
        return "If-Unmodified-Since"
    if (tags := headers.get(f"{prefix}if-none-match")) is not None:
        if _matches(tags, etag, weak=True):
            return "If-None-Match"
    elif modified <= _date(headers.get(f"{prefix}if-modified-since"), -inf):
        return "If-Modified-Since"
    return None


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    return any(tag == etag and (weak or not is_weak) for is_weak, tag in _etags(header))


def _etags(header: str) -> list[tuple[bool, str]]:
    """Split a list of ETags into (is it weak, tag); what follows garbage is left out."""
    found = []
    position = 0
    while position < len(header) and (match := _ETAG.match(header, position)):
        found.append((match[1] is not None, match[2] if match[2] is not None else match[3]))
        position = match.end()
    return found


def _one_etag(header: str) -> str:
    tags = _etags(header)
    if len(tags) > 1:
        raise _not_on_writes("if-match")
    if not tags:
        raise S3Error("InvalidArgument", ArgumentName="If-Match", ArgumentValue=header[:100])
    is_weak, tag = tags[0]
    # A weak tag never matches: with its mark kept it equals no ETag of ours.
    return f'W/"{tag}"' if is_weak else tag


def _date(header: str | None, otherwise: float) -> float:
    """Give the seconds since 1970 of an HTTP date, `otherwise` when there is no valid one."""
    if header is None:
        return otherwise
    try:
        when = parsedate_to_datetime(header)
    except (ValueError, TypeError, OverflowError, IndexError):
        return otherwise
    # "-0000" reads as a time without a zone; HTTP dates are all UTC.
    return when.replace(tzinfo=when.tzinfo or UTC).timestamp()


def _number(digits: str) -> int:
    """Give the number, or one beyond every object when it has more than 20 digits."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= 20 else _HUGE


def _not_on_writes(name: str) -> S3Error:
    return S3Error(
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
        Header=name,
    )
