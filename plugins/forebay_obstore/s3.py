"""An S3 bucket by signed requests, with keys and headers as they are."""

from __future__ import annotations

import base64
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import BoundedSemaphore
from urllib.parse import quote, unquote_plus, urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from forebay.errors import InvalidKey, NotFound, NotSupported, StorageError, Unavailable
from forebay.stores.listing import name_of
from forebay.types import Attributes, CommonPrefix, ObjectInfo
from forebay_obstore import attributes as native
from forebay_obstore import faults
from forebay_obstore.carrier import (
    MOST_PARTS,
    PART,
    PARTS_IN_FLIGHT,
    Condition,
    Stream,
    bare,
    part_size,
    quoted,
    told,
)
from forebay_obstore.uri import S3
from forebay_obstore.wire import Answer, Blocks, Wire

log = logging.getLogger("forebay.obstore")

_META = "x-amz-meta-"
_KEPT = (*native.NATIVE, "expires")
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")
_TAGLESS = frozenset({403, 404, 405, 501})
COPY_PART = 64 << 20
"""Bytes that one request copies, so few that its silence is short. More go in parts, and show at
the completion only: a store that goes on after we have given up then publishes nothing late.
"""
_TAGS = 64 << 10
_PARTS_AT_ONCE = 2 * PARTS_IN_FLIGHT
"""Parts of all uploads of a store that are in memory and under way, beside the one each fills."""


class S3Requests:
    """Carries requests to the bucket behind `wire`; parts go up in threads of `pool`.

    `counts` says that every HEAD tells the number of tags, so that no number means none.
    """

    def __init__(self, bucket: str, wire: Wire, pool: ThreadPoolExecutor, *, counts: bool) -> None:
        self._bucket = bucket
        self._wire = wire
        self._pool = pool
        self._counts = counts
        self._seen = False
        self._room = BoundedSemaphore(_PARTS_AT_ONCE)

    # --- looking ---------------------------------------------------------------------

    def head(self, key: str, /, *, tags: bool = True) -> ObjectInfo:
        """Tell of one object. Raises NotFound."""
        asked = None
        if tags and not self._counts:  # together, so that it takes one round trip
            asked = self._pool.submit(self._ask_tags, key)
        answer = self._wire.send("HEAD", key)
        if answer.status == 404 and not self._seen:
            # Without a body nobody says that it is the bucket that is missing.
            self._expect(self._wire.send("GET", "", [("list-type", "2"), ("max-keys", "1")]), "")
        self._seen = True
        self._expect(answer, key)
        count = answer.headers.get("x-amz-tagging-count")
        self._counts = self._counts or count is not None
        if asked is None and tags and (count or "0") != "0":
            kept = self._tags(key, self._ask_tags(key))
        else:
            kept = {} if asked is None else self._tags(key, asked.result())
        size = int(answer.headers["content-length"])
        return self._told(key, answer, size, kept if tags else None)

    def stream(self, key: str, start: int, stop: int, etag: str, /) -> Stream:
        """Get bytes of the version with `etag`, in one request."""
        wanted = {"range": f"bytes={start}-{stop - 1}", "if-match": quoted(etag)}
        got = self._wire.open(key, wanted)
        answer = self._expect(got.answer, key)
        total = _TOTAL.fullmatch(answer.headers.get("content-range", ""))
        if answer.status == 206 and total is not None:
            size = int(total[1])
        elif answer.status == 200 and start == 0:
            size = int(answer.headers["content-length"])
        else:
            got.close()
            raise NotSupported(f"{key!r}: the store gives no ranges")
        return Stream(self._told(key, answer, size, None), got.blocks, got.close, got.into)

    def _told(
        self, key: str, answer: Answer, size: int, tags: Mapping[str, str] | None
    ) -> ObjectInfo:
        found = answer.headers
        kept = None
        if tags is not None:
            headers = {name: native.raw(found[name]) for name in _KEPT if name in found}
            metadata = {
                name.removeprefix(_META): native.decode(value)
                for name, value in found.items()
                if name.startswith(_META)
            }
            kept = Attributes(native.without_unsaid(S3, headers), metadata, tags)
        modified = parsedate_to_datetime(found["last-modified"])
        return told(key, size, modified, bare(found.get("etag")), strong=True, attributes=kept)

    def _ask_tags(self, key: str) -> Answer:
        # Some servers overlook the query and send the object itself.
        return self._wire.send("GET", key, [("tagging", "")], most=_TAGS)

    def _tags(self, key: str, answer: Answer) -> dict[str, str]:
        found = None
        if answer.status not in _TAGLESS:
            found = _parsed(self._expect(answer, key).body)
        if found is None or not found.tag.endswith("Tagging"):
            # Objects may be read but not their tags, or there is no such thing: none to be had.
            self._counts = self._counts or answer.status != 404
            return {}
        tags = found.iterfind(".//{*}Tag")
        return {_text(tag, "Key"): _text(tag, "Value") for tag in tags}

    def listing(
        self, prefix: str, delimiter: str, start_after: str, /
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List in order, a page of 1,000 at a time."""
        query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", "1000")]
        query += [("prefix", prefix)] if prefix else []
        query += [("delimiter", delimiter)] if delimiter else []
        token = ""
        while True:
            place = ("continuation-token", token) if token else ("start-after", start_after)
            answer = self._wire.send("GET", "", [*query, place] if place[1] else query)
            root = _document(self._expect(answer, prefix).body)
            self._seen = True
            yield from sorted(_entries(root), key=name_of)
            token = _text(root, "NextContinuationToken")
            if _text(root, "IsTruncated") != "true":
                return
            if not token:
                raise StorageError(f"the listing of {self._bucket!r} does not say how it goes on")

    # --- changing --------------------------------------------------------------------

    def put(self, key: str, content: bytes, attributes: Attributes, condition: Condition, /) -> str:
        """Put an object in one request; give its ETag."""
        headers = _headers(attributes) | _conditions(condition)
        answer = self._wire.send("PUT", key, (), headers, content, again=not condition)
        return bare(self._written(answer, key, condition).headers.get("etag"))

    def upload(
        self,
        key: str,
        blocks: Iterator[bytes],
        size: int | None,
        attributes: Attributes,
        condition: Condition,
        /,
    ) -> str:
        """Put an object in parts of equal size, some in flight; give its ETag."""
        parts = _regrouped(blocks, part_size(size))
        return self._in_parts(
            key,
            _headers(attributes),
            condition,
            lambda query: (
                self._part(key, [*query, ("partNumber", str(n))], part)
                for n, part in enumerate(parts, 1)
            ),
        )

    def copy(
        self, source: str, target: str, attributes: Attributes, size: int, etag: str | None
    ) -> str:
        """Copy `size` bytes within the bucket if the source still has `etag`; give the new one."""
        headers = _headers(attributes)
        origin = {"x-amz-copy-source": quote(f"/{self._bucket}/{source}", safe="/~")}
        if etag is not None:
            origin["x-amz-copy-source-if-match"] = quoted(etag)
        if size > COPY_PART:
            length = part_size(size, COPY_PART)
            starts = range(0, size, length)

            def piece(query: _Query, number: int, start: int) -> Callable[[], Answer]:
                stop = min(start + length, size)
                cut = origin | {"x-amz-copy-source-range": f"bytes={start}-{stop - 1}"}
                whole = [*query, ("partNumber", str(number))]
                return lambda: self._wire.send("PUT", target, whole, cut)

            return self._in_parts(
                target,
                headers,
                Condition(),
                lambda query: (piece(query, n, start) for n, start in enumerate(starts, 1)),
            )
        headers |= origin
        headers["x-amz-metadata-directive"] = "REPLACE"
        headers["x-amz-tagging-directive"] = "REPLACE"
        answer = self._expect(self._wire.send("PUT", target, (), headers), source)
        return bare(_text(_whole(answer, target), "ETag"))

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success."""
        answer = self._wire.send("DELETE", key)
        if answer.status != 404 or _code(answer) != "NoSuchKey":
            self._expect(answer, key)

    def _part(self, key: str, query: _Query, content: bytes) -> Callable[[], Answer]:
        return lambda: self._wire.send("PUT", key, query, {}, content)

    def _in_parts(
        self,
        key: str,
        headers: dict[str, str],
        condition: Condition,
        parts: Callable[[_Query], Iterator[Callable[[], Answer]]],
    ) -> str:
        """Make an object of parts, each a request that answers with an ETag."""
        upload = _upload(self._begun(key, headers))
        flying: deque[Future[Answer]] = deque()
        etags: list[str] = []
        try:
            for part in parts(upload):
                while len(flying) == PARTS_IN_FLIGHT or not self._room.acquire(blocking=not flying):
                    etags.append(self._landed(flying.popleft(), key))
                flying.append(self._pool.submit(part))
                flying[-1].add_done_callback(lambda _: self._room.release())
            while flying:
                etags.append(self._landed(flying.popleft(), key))
            return self._complete(key, upload, enumerate(etags, 1), condition)
        except BaseException:
            wait(flying)  # a part that lands after the end would stay for ever
            self._abort(key, upload)
            raise

    def _begun(self, key: str, headers: dict[str, str]) -> str:
        answer = self._wire.send("POST", key, [("uploads", "")], headers, again=False)
        return _text(_document(self._expect(answer, key).body), "UploadId")

    def _landed(self, part: Future[Answer], key: str) -> str:
        answer = self._expect(part.result(), key)
        return answer.headers.get("etag") or _text(_whole(answer, key), "ETag")

    def _complete(
        self, key: str, upload: _Query, parts: Iterable[tuple[int, str]], condition: Condition
    ) -> str:
        rows = [
            f"<Part><PartNumber>{n}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for n, etag in parts
        ]
        if len(rows) > MOST_PARTS:
            raise StorageError(f"{key!r} has more than {MOST_PARTS} parts")
        listed = "".join(rows)
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        answer = self._wire.send("POST", key, upload, _conditions(condition), body, again=False)
        return bare(_text(_whole(self._written(answer, key, condition), key), "ETag"))

    def _abort(self, key: str, upload: _Query) -> None:
        try:
            answer = self._wire.send("DELETE", key, upload)
            if answer.status != 404:
                self._expect(answer, key)
        except StorageError as error:
            log.warning("parts of %r stay in %s: %s", key, self._bucket, error)

    # --- uploads that go on ----------------------------------------------------------

    def begin_upload(self, key: str, attributes: Attributes) -> str:
        """Begin an upload in parts; give its id."""
        return self._begun(key, _headers(attributes))

    def put_part(
        self, key: str, upload_id: str, number: int, blocks: Iterator[bytes], size: int, md5: str
    ) -> str:
        """Put a part; give its ETag as it is. Raises NotFound where there is no such upload.

        A part over 8 MiB is never in memory whole, and not sent twice.
        """
        query = [*_upload(upload_id), ("partNumber", str(number))]
        headers = {"content-md5": base64.b64encode(bytes.fromhex(md5)).decode()}
        if size <= PART:
            answer = self._wire.send("PUT", key, query, headers, b"".join(blocks))
        else:
            body = Blocks(blocks, size)
            headers["content-length"] = str(size)
            try:
                answer = self._wire.send("PUT", key, query, headers, body, again=False)
            except BaseException:
                if body.failure is not None:
                    raise body.failure  # noqa: B904 - the body's own, whatever was made of it
                raise
        try:
            etag = self._written(answer, key, Condition()).headers.get("etag")
        except faults.Gone as error:
            raise NotFound(str(error)) from error
        if not etag:
            raise StorageError(f"{key!r}: the store does not name part {number}")
        return etag

    def complete_upload(self, key: str, upload_id: str, parts: Iterable[tuple[int, str]]) -> str:
        """Make an object of parts by number and ETag; give its own. Raises NotFound."""
        try:
            return self._complete(key, _upload(upload_id), parts, Condition())
        except faults.Gone as error:
            raise NotFound(str(error)) from error

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an upload and its parts; a missing one is success."""
        answer = self._wire.send("DELETE", key, _upload(upload_id))
        if answer.status != 404 or _code(answer) != "NoSuchUpload":
            self._expect(answer, key)

    # --- answers ---------------------------------------------------------------------

    def _written(self, answer: Answer, key: str, condition: Condition) -> Answer:
        if answer.status == 404 and _code(answer) in ("NoSuchKey", ""):
            # Nothing is there to match; without a condition nothing can be missing but the way.
            answer = Answer(412 if condition else 502, answer.headers, b"")
        return self._expect(answer, key)

    def _expect(self, answer: Answer, key: str) -> Answer:
        """Give a good answer back, raise what a bad one means."""
        if 200 <= answer.status < 300:
            return answer
        code, region = _code(answer), answer.headers.get("x-amz-bucket-region", "")
        kind = faults.meaning(answer.status, code)
        if issubclass(kind, InvalidKey):
            raise kind(f"{key!r}: the store takes no such key ({code})")
        hint = f"; {faults.ADVICE[code]}" if code in faults.ADVICE else ""
        if region and answer.status in (301, 400):
            hint = f"; the bucket is in region {region}"
        raise kind(f"{self._bucket}/{key}: {answer.status} {code}{hint}")


_Query = list[tuple[str, str]]


def _upload(upload_id: str) -> _Query:
    return [("uploadId", upload_id)]


def _headers(attributes: Attributes) -> dict[str, str]:
    headers = dict(attributes.headers)
    headers |= {f"{_META}{name}": native.encode(text) for name, text in attributes.metadata.items()}
    if attributes.tags:
        headers["x-amz-tagging"] = urlencode(attributes.tags, quote_via=quote)
    return headers


def _conditions(condition: Condition) -> dict[str, str]:
    if condition.absent:
        return {"if-none-match": "*"}
    return {} if condition.etag is None else {"if-match": quoted(condition.etag)}


def _regrouped(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Give the same bytes in blocks of `size`, the last one shorter; never none."""
    held: list[bytes] = []
    have = 0
    given = False
    for block in blocks:
        held.append(block)
        have += len(block)
        while have >= size:
            joined = b"".join(held)
            yield joined[:size]
            given = True
            held = [joined[size:]]
            have -= size
    if have or not given:
        yield b"".join(held)


def _parsed(body: bytes) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None


def _document(body: bytes) -> ElementTree.Element:
    root = _parsed(body)
    if root is None:
        raise Unavailable(f"the store's answer is no XML: {body[:100]!r}")
    return root


def _whole(answer: Answer, key: str) -> ElementTree.Element:
    """Read an answer whose 200 was sent before its work was done."""
    root = _document(answer.body)
    if root.tag.rpartition("}")[2] == "Error":
        code = _text(root, "Code")
        raise faults.meaning(500, code)(f"{key!r}: {code}")
    return root


def _code(answer: Answer) -> str:
    root = _parsed(answer.body)
    return "" if root is None else _text(root, "Code")  # a proxy's page; the status has to do


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def _entries(root: ElementTree.Element) -> Iterator[ObjectInfo | CommonPrefix]:
    encoded = _text(root, "EncodingType") == "url"

    def name(element: ElementTree.Element, tag: str) -> str:
        text = _text(element, tag)
        return unquote_plus(text) if encoded else text

    for entry in root.iterfind("{*}Contents"):
        modified = datetime.fromisoformat(_text(entry, "LastModified"))
        if modified.tzinfo is None:
            modified = modified.replace(tzinfo=UTC)
        etag = bare(_text(entry, "ETag"))
        yield told(name(entry, "Key"), int(_text(entry, "Size")), modified, etag, strong=True)
    for entry in root.iterfind("{*}CommonPrefixes"):
        yield CommonPrefix(name(entry, "Prefix"))
