"""XML in and out, and the spellings of dates and keys in it; the only room that knows lxml.

Reading is hardened: size, doctype, encoding and root are looked at before anything is
believed. Writing is by templates, for a page of a thousand keys must not cost a millisecond.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, cast

from lxml import etree

from forebay.s3.errors import S3Error
from forebay.types import CommonPrefix

MAX_DOCUMENT = 2 << 20
"""Bytes of the longest request document: 10,000 parts or 1,000 keys and their markup."""

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'

Element: TypeAlias = Any
"""An element of lxml's; only the functions here look into it."""

Content: TypeAlias = tuple[str, Any]
"""An element to write: its name and a str, int, bool, None (left out) or list of Contents."""

_NAMESPACE = re.compile(r"https?://(?:s3|doc\.s3)\.amazonaws\.com/(?:doc/)?2006-03-01/?")
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([^"']*)""")
_LAST_SECOND = 253402300799
# Formatting a number to three places costs more than all the rest of a listing's row.
_MS = tuple(f".{ms:03d}Z" for ms in range(1000))


# --- reading -----------------------------------------------------------------------


def parse(body: bytes, root: str) -> Element:
    """Parse the document of a request, whose outermost element must be `root`.

    Namespaces are S3's or none. Raises S3Error MalformedXML, or MaxMessageLengthExceeded for
    one over MAX_DOCUMENT.
    """
    if len(body) > MAX_DOCUMENT:
        raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=str(MAX_DOCUMENT))
    declared = _ENCODING.match(body.removeprefix(b"\xef\xbb\xbf"))
    if declared and declared[1].lower() not in (b"utf-8", b"utf8", b"us-ascii"):
        raise S3Error("MalformedXML")
    try:
        # A parser keeps state between documents, so each document gets a new one.
        element: Element = etree.fromstring(body, _parser())
    except (etree.LxmlError, ValueError) as error:
        raise S3Error("MalformedXML") from error
    namespace, _, name = element.tag.rpartition("}")
    known = not namespace or _NAMESPACE.fullmatch(namespace[1:])
    if name != root or not known or element.getroottree().docinfo.doctype:
        raise S3Error("MalformedXML")
    return element


def children(element: Element, name: str) -> list[Element]:
    """Give the child elements of local name `name`, in document order."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def child(element: Element, name: str) -> Element | None:
    """Give the child of local name `name`, None when there is none; two are MalformedXML."""
    found = children(element, name)
    if len(found) > 1:
        raise S3Error("MalformedXML")
    return found[0] if found else None


def text(element: Element, name: str) -> str | None:
    """Give the text of the child `name`, None when there is none.

    Two of them, or elements inside it, are S3Error MalformedXML.
    """
    found = child(element, name)
    if found is None:
        return None
    if len(found):
        raise S3Error("MalformedXML")
    return cast(str, found.text or "")


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )


# --- writing -----------------------------------------------------------------------


def document(
    root: str, namespace: str | None, *content: Content, declaration: bool = True
) -> bytes:
    """Write a document: `root` around `content`.

    A name may carry attributes behind a blank: ``Grantee xsi:type="CanonicalUser"``. Without
    `declaration` the DECLARATION is left out, for an answer that has sent it already.
    """
    written = f"{_open(root, namespace)}{_elements(content)}</{root}>".encode()
    return DECLARATION + written if declaration else written


class ListedObject(Protocol):
    """What an object must tell to be listed; `modified` in ms since 1970, `etag` unquoted."""

    @property
    def key(self) -> str: ...  # noqa: D102  # the class docstring says it
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def etag(self) -> str: ...  # noqa: D102
    @property
    def modified(self) -> int: ...  # noqa: D102
    @property
    def owner(self) -> str | None: ...  # noqa: D102
    @property
    def checksum_algorithms(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def checksum_type(self) -> str: ...  # noqa: D102


def list_objects(
    namespace: str | None,
    head: Sequence[Content],
    entries: Iterable[ListedObject | CommonPrefix],
    *,
    encode: bool = False,
    owners: bool = False,
) -> bytes:
    """Write a ListBucketResult: `head`, the objects of `entries`, then their common prefixes.

    `encode` is encoding-type=url for what `entries` name; the caller has encoded what is in
    `head`. `owners` adds each object's owner.
    """
    objects: list[ListedObject] = []
    prefixes: list[str] = []
    for entry in entries:
        if isinstance(entry, CommonPrefix):
            prefixes.append(entry.prefix)
        else:
            objects.append(entry)
    spell = _KEYS_URL if encode else _TEXT
    keys = spell.each([listed.key for listed in objects])
    etags = _TEXT.each([listed.etag for listed in objects])
    out = [DECLARATION.decode(), _open("ListBucketResult", namespace), _elements(head)]
    out += [
        f"<Contents><Key>{key}</Key><LastModified>{_second(listed.modified // 1000)}"
        f"{_MS[listed.modified % 1000]}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
        f"{_checksum(listed.checksum_algorithms, listed.checksum_type)}<Size>{listed.size}</Size>"
        f"{_owner(listed.owner) if owners else ''}"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for listed, key, etag in zip(objects, keys, etags, strict=True)
    ]
    out += [
        f"<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>"
        for prefix in spell.each(prefixes)
    ]
    out.append("</ListBucketResult>")
    return "".join(out).encode()


def _open(root: str, namespace: str | None) -> str:
    return f'<{root} xmlns="{namespace}">' if namespace else f"<{root}>"


def _elements(content: Iterable[Content]) -> str:
    return "".join([_element(name, value) for name, value in content])


def _element(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        inner = "true" if value else "false"
    elif isinstance(value, list | tuple):
        inner = _elements(value)
    else:
        inner = _TEXT(str(value))
    return f"<{name}>{inner}</{name.partition(' ')[0]}>"


@lru_cache(maxsize=64)
def _checksum(algorithms: tuple[str, ...], checksum_type: str) -> str:
    if not algorithms:
        return ""
    names: list[Content] = [("ChecksumAlgorithm", name.upper()) for name in algorithms]
    return _elements([*names, ("ChecksumType", checksum_type or None)])


@lru_cache(maxsize=256)
def _owner(owner: str | None) -> str:
    if owner is None:
        return ""
    return _elements([("Owner", [("ID", owner), ("DisplayName", owner)])])


# --- spelling ----------------------------------------------------------------------


class _Spelling:
    """Replaces bytes of UTF-8 text; those in `first` before the others.

    Looking for the few bytes that need it, over all keys at once, is what makes it fast.
    """

    def __init__(self, replace: dict[int, bytes], first: bytes) -> None:
        self._replace = replace
        self._kept = bytes(byte for byte in range(256) if byte not in replace)
        self._first = first

    def __call__(self, text: str) -> str:
        """Give `text` with its bytes replaced."""
        spelled = text.encode()
        found = set(spelled.translate(None, self._kept))
        if not found:
            return text
        # Bytes that replacements hold go first, or they would be replaced twice.
        for byte in sorted(found, key=lambda byte: self._first.find(byte) % 256):
            spelled = spelled.replace(bytes((byte,)), self._replace[byte])
        return spelled.decode()

    def each(self, texts: list[str]) -> list[str]:
        """Give every text spelled; none of them may hold a NUL, which stands between them."""
        joined = "\0".join(texts)
        spelled = self(joined)
        return texts if spelled is joined else spelled.split("\0")


def _text_table() -> dict[int, bytes]:
    """Markup, and the control characters that XML 1.0 cannot carry.

    S3 writes those as numeric references, which strict parsers refuse; encoding-type=url is
    for clients that have such keys.
    """
    controls = {code: b"&#x%x;" % code for code in range(1, 32) if chr(code) not in "\t\n\r"}
    return controls | {13: b"&#13;"} | {ord("&"): b"&amp;", ord("<"): b"&lt;", ord(">"): b"&gt;"}


def _url_table() -> dict[int, bytes]:
    kept = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/*-._"
    table = {code: b"%%%02X" % code for code in range(1, 256) if code not in kept}
    return table | {ord(" "): b"+"}


_TEXT = _Spelling(_text_table(), b"&")
_KEYS_URL = _Spelling(_url_table(), b"%+")


def url_encode(text: str) -> str:
    """Spell a key as encoding-type=url has it: a space is ``+``; ``/ * - . _`` stay.

    >>> url_encode("a b/c~é+")
    'a+b/c%7E%C3%A9%2B'
    """
    return _KEYS_URL(text)


def http_date(ms: int) -> str:
    """Give the HTTP date of `ms` since 1970, the fraction cut off."""
    return _http_second(ms // 1000)


def iso_date(ms: int) -> str:
    """Give the ISO date of `ms` since 1970, as listings have it.

    >>> iso_date(1795423560123)
    '2026-11-23T08:46:00.123Z'
    """
    second, rest = divmod(ms, 1000)
    return _second(second) + _MS[rest]


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    when = time.gmtime(min(max(second, 0), _LAST_SECOND))
    return time.strftime("%Y-%m-%dT%H:%M:%S", when)


@lru_cache(maxsize=4096)
def _http_second(second: int) -> str:
    return formatdate(min(max(second, 0), _LAST_SECOND), usegmt=True)
