"""Attributes as native metadata: what goes into headers, and how other text fits into them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import parse_qsl, urlencode

from forebay.types import Attributes
from forebay_obstore.uri import AZURE, GCS, S3

NATIVE = {
    "content-type": "Content-Type",
    "content-encoding": "Content-Encoding",
    "content-disposition": "Content-Disposition",
    "content-language": "Content-Language",
    "cache-control": "Cache-Control",
}
"""Content headers that the library keeps as such, by our name; ``expires`` is not one."""

_OURS = {name: header for header, name in NATIVE.items()}
_UNSAID = {
    S3: "binary/octet-stream",
    GCS: "application/octet-stream",
    AZURE: "application/octet-stream",
}
"""The content type that a store says of an object that was given none."""
# The library takes these names, with and without hyphens, for headers of its own.
_TAKEN = frozenset(name.replace("-", "") for name in (*NATIVE, "storage-class"))
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")

_EXPIRES, _TAGS, _ODD = "forebay_expires", "forebay_tags", "forebay_name_"
_AZURE_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def encode(text: str) -> str:
    """Make text fit for a header, as S3 documents it: as it is, or as RFC 2047 words."""
    if not text or (_PLAIN.fullmatch(text) and "=?" not in text):
        return text
    return f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="


def decode(value: str) -> str:
    """Give the text that a header's value stands for; raw UTF-8 is understood too."""
    if "=?" in value:
        try:
            return "".join(
                part.decode(charset or "latin-1") if isinstance(part, bytes) else part
                for part, charset in decode_header(value)
            )
        except (LookupError, UnicodeError, HeaderParseError):
            return value
    return raw(value)


def raw(value: str) -> str:
    """Read again as UTF-8 what was read as Latin-1, if it can be."""
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value


def without_unsaid(provider: str, headers: dict[str, str]) -> dict[str, str]:
    """Leave out the content type that a store makes up."""
    if headers.get("content-type") == _UNSAID[provider]:
        del headers["content-type"]
    return headers


def to_library(provider: str, attributes: Attributes) -> dict[str, str]:
    """Give `attributes` as the library wants them, for GCS or Azure.

    What those have no place for, or give back to nobody, goes into metadata of ours.
    """
    out = {
        NATIVE[name]: encode(text) for name, text in attributes.headers.items() if name in NATIVE
    }
    for name, text in attributes.metadata.items():
        # Empty values do not pass everywhere.
        out[_escaped(provider, name)] = encode(text) or "=?UTF-8?B??="
    if "expires" in attributes.headers:
        out[_EXPIRES] = encode(attributes.headers["expires"])
    if attributes.tags:
        out[_TAGS] = urlencode(attributes.tags)
    return out


def from_library(provider: str, found: Mapping[str, str]) -> Attributes:
    """Read `attributes` back from what the library tells."""
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    for name, value in found.items():
        if name in _OURS:
            headers[_OURS[name]] = decode(value)
        elif name == "Storage-Class":
            continue
        elif name == _EXPIRES:
            headers["expires"] = decode(value)
        elif name == _TAGS:
            tags = dict(parse_qsl(value, keep_blank_values=True))
        else:
            metadata[_unescaped(name)] = decode(value)
    return Attributes(without_unsaid(provider, headers), metadata, tags)


def _escaped(provider: str, name: str) -> str:
    """Give a name that the store and the library take for plain metadata, only where needed."""
    taken = name.replace("-", "") in _TAKEN or name.startswith("forebay_")
    if taken or (provider == AZURE and not _AZURE_NAME.fullmatch(name)):
        return _ODD + name.encode().hex()
    return name


def _unescaped(name: str) -> str:
    if not name.startswith(_ODD):
        return name.lower()
    try:
        return bytes.fromhex(name.removeprefix(_ODD)).decode()
    except ValueError:  # somebody else's
        return name
