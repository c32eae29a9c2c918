"""What is kept with an object: from request headers, and back into the headers of an answer."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

from forebay.catalog.records import Record
from forebay.s3.body import content_encoding_without_aws_chunked
from forebay.s3.call import Call
from forebay.s3.dialect import Dialect
from forebay.s3.errors import S3Error
from forebay.s3.xml import http_date
from forebay.types import Attributes

META = "x-amz-meta-"

CONTENT_HEADERS = (
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
)

STORAGE_CLASSES = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "GLACIER_IR",
        "DEEP_ARCHIVE",
        "EXPRESS_ONEZONE",
        "OUTPOSTS",
        "SNOW",
        "FSX_OPENZFS",
        "FSX_ONTAP",
    }
)
"""Classes that S3 knows; clients name them by habit. Every object is kept as STANDARD."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+", re.ASCII | re.IGNORECASE)
_PLAIN = re.compile(r"[!-~](?:[ -~\t]*[!-~])?", re.ASCII)
_TAG = re.compile(r"[\w \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000+\-=.:/@]*")
OBJECT_TAGS = 10


def from_headers(call: Call) -> Attributes:
    """Give what the request wants kept with the object. Raises S3Error."""
    return Attributes(content_headers(call.headers), metadata(call), tags_of_header(call))


def content_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Give the content headers of a request, ``aws-chunked`` taken off."""
    kept = {}
    for name in CONTENT_HEADERS:
        value = headers.get(name)
        if name == "content-encoding":
            value = content_encoding_without_aws_chunked(value)
        if value:
            kept[name] = checked(name, value)
    return kept


def metadata(call: Call) -> dict[str, str]:
    """Give the user metadata of a request, encoded words decoded. Raises MetadataTooLarge."""
    kept = {}
    size = 0
    for name, value in call.headers.items():
        if name.startswith(META):
            text = checked(name, _decode(value))
            kept[name[len(META) :]] = text
            size += len(name) - len(META) + len(text.encode())
    limit = call.forebay.config.properties.header_metadata_max_size
    if limit and size > limit:
        raise S3Error("MetadataTooLarge", Size=str(size), MaxSizeAllowed=str(limit))
    return kept


def checked(name: str, value: str) -> str:
    """Give `value` if it can be a header of an answer. Raises InvalidArgument."""
    if _CONTROL.search(value):
        raise S3Error(
            "InvalidArgument", f"{name} must not hold control characters.", ArgumentName=name
        )
    return value


def _decode(value: str) -> str:
    """Decode a metadata value: RFC 2047 words, else the UTF-8 that many clients send raw."""
    if "=?" in value:
        try:
            return "".join(
                part.decode(charset or "latin-1") if isinstance(part, bytes) else part
                for part, charset in decode_header(value)
            )
        except (LookupError, UnicodeError, HeaderParseError):
            return value
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def encode(value: str) -> str:
    """Make a metadata value fit for a header: as it is where it can be, else as RFC 2047 has it."""
    if not value or (_PLAIN.fullmatch(value) and "=?" not in value):
        return value
    return f"=?UTF-8?B?{base64.b64encode(value.encode()).decode('ascii')}?="


def emitted(value: str) -> str:
    """Make any text a header value that splits no answer; beyond Latin-1 it goes as UTF-8."""
    if value.isascii() and value.isprintable():
        return value
    value = _CONTROL.sub(" ", value)
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode("latin-1")
    return value


# --- tags ---------------------------------------------------------------------------


def tags_of_header(call: Call) -> dict[str, str]:
    """Give the tags of x-amz-tagging: ``key=value`` pairs, URL-encoded."""
    header = call.headers.get("x-amz-tagging", "")
    pairs = []
    for item in header.split("&") if header else []:
        name, _, value = item.partition("=")
        try:
            pairs.append((_unquote(name), _unquote(value)))
        except UnicodeError:
            pairs.append(("", ""))
    if any(not name for name, _ in pairs) or len({name for name, _ in pairs}) < len(pairs):
        raise S3Error(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
            "parameters without tag name duplicates.",
            ArgumentName="x-amz-tagging",
            ArgumentValue=_CONTROL.sub("?", header[:200]),
        )
    return checked_tags(call, pairs, OBJECT_TAGS, "Object tags")


def _unquote(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode("utf-8")


def checked_tags(
    call: Call, pairs: Iterable[tuple[str, str]], most: int = OBJECT_TAGS, kind: str = "Object tags"
) -> dict[str, str]:
    """Give the tags sorted by key. Raises InvalidTag, or BadRequest over `most`.

    Only that keys are unique and not empty holds when the property lifts the limits.
    """
    tags: dict[str, str] = {}
    restricted = call.forebay.config.properties.tagging_restrictions
    for key, value in pairs:
        if key in tags:
            raise S3Error(
                "InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key
            )
        if not key or (restricted and (len(key) > 128 or not _TAG.fullmatch(key))):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key[:256])
        if restricted and key.lower().startswith("aws:"):
            raise S3Error(
                "InvalidTag", "System tags cannot be added/updated by requester", TagKey=key
            )
        if restricted and (len(value) > 256 or not _TAG.fullmatch(value)):
            raise S3Error(
                "InvalidTag",
                "The TagValue you have provided is invalid",
                TagKey=key,
                TagValue=value[:512],
            )
        tags[key] = value
    if restricted and len(tags) > most:
        raise S3Error("BadRequest", f"{kind} cannot be greater than {most}")
    return dict(sorted(tags.items()))


# --- headers that ask for what is not done here ---------------------------------------


def refuse(headers: Mapping[str, str]) -> None:
    """Refuse a write that asks for more than it would get. Raises NotImplemented.

    An ACL that means what is done anyway passes, and so does a storage class that S3 knows:
    clients send both by habit. Encryption, locks and grants would be promises.
    """
    storage_class = headers.get("x-amz-storage-class", "STANDARD")
    if storage_class not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", StorageClassRequested=storage_class[:100])
    for name, value in headers.items():
        if name.startswith(_REFUSED_BEGINNINGS):
            for beginning, meaning, harmless in _REFUSED:
                if name.startswith(beginning) and value not in harmless:
                    raise S3Error("NotImplemented", f"{meaning} is not implemented.", Header=name)


_REFUSED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("x-amz-acl", "A canned ACL other than private", ("private", "bucket-owner-full-control", "")),
    ("x-amz-grant-", "An access control list", ()),
    ("x-amz-server-side-encryption", "Server-side encryption", ("",)),
    ("x-amz-copy-source-server-side-encryption", "Server-side encryption", ("",)),
    ("x-amz-object-lock-", "Object Lock", ("",)),
    ("x-amz-bucket-object-lock-enabled", "Object Lock", ("false", "False", "")),
    ("x-amz-object-ownership", "This object ownership", ("BucketOwnerEnforced", "")),
    ("x-amz-website-redirect-location", "Website redirection", ("",)),
    ("x-amz-write-offset-bytes", "Appending to an object", ()),
)
"""Beginning of a header's name, what it asks for, and the values that ask for nothing."""
_REFUSED_BEGINNINGS = tuple(beginning for beginning, _, _ in _REFUSED)


# --- headers of an answer -------------------------------------------------------------


def to_headers(record: Record, dialect: Dialect) -> dict[str, str]:
    """Give the headers that tell of an object, those of its bytes aside."""
    headers = {
        "etag": f'"{record.etag}"',
        "last-modified": http_date(record.modified),
        "accept-ranges": "bytes",
    }
    for name, value in record.headers.items():
        headers[name] = emitted(value)
    if "content-type" not in headers:
        headers["content-type"] = dialect.default_content_type
    for name, value in record.metadata.items():
        # Another program may have put a name into the under store that no header can have.
        if _TOKEN.fullmatch(name):
            headers[META + name] = encode(value)
    if record.tags:
        headers["x-amz-tagging-count"] = str(len(record.tags))
    return headers


def checksum_headers(checksums: Mapping[str, str], checksum_type: str) -> dict[str, str]:
    """Give the headers of the additional checksums, and of their type when there are any."""
    headers = {f"x-amz-checksum-{name}": value for name, value in checksums.items()}
    if headers and checksum_type:
        headers["x-amz-checksum-type"] = checksum_type
    return headers


def checksum_elements(checksums: Mapping[str, str], checksum_type: str) -> list[tuple[str, str]]:
    """Give the same as elements of an answer's document."""
    elements = [(f"Checksum{name.upper()}", value) for name, value in checksums.items()]
    if elements and checksum_type:
        elements.append(("ChecksumType", checksum_type))
    return elements
