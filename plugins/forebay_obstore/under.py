"""The under store over an object store: one request a range, native multipart, conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain

from forebay.errors import InvalidKey, PreconditionFailed, StorageError, Unavailable
from forebay.stores.listing import name_of, passed_over, roll_up
from forebay.streams import BLOCK, Reader
from forebay.types import (
    Attributes,
    ByteRange,
    Capabilities,
    CommonPrefix,
    ObjectInfo,
    StoredPart,
)
from forebay_obstore import keys
from forebay_obstore.carrier import PART, Carrier, Condition, Stream, told, version
from forebay_obstore.reader import ObstoreReader
from forebay_obstore.s3 import S3Requests
from forebay_obstore.uri import Place

_CHANGES = 10


class ObstoreUnderStore:
    """Objects below a prefix of a bucket, which `carrier` reaches; `close` is called at the end."""

    def __init__(
        self, place: Place, carrier: Carrier, close: Callable[[], object], *, strong_etag: bool
    ) -> None:
        self._prefix = place.prefix
        self._carrier = carrier
        self._close = close
        # No any_key: AWS refuses keys that climb above the bucket, and a prefix takes its bytes.
        self.capabilities = Capabilities(
            atomic_put=True,
            conditional_put=True,
            attributes=True,
            strong_etag=strong_etag,
            shared_between_processes=True,
        )

    def close(self) -> None:
        """Let go of connections and threads; what is under way ends by itself."""
        self._close()

    # --- reading ---------------------------------------------------------------------

    def head(self, key: str, /) -> ObjectInfo:
        """Tell of one object. Raises NotFound."""
        return self._head(key, self._full(key))

    def _head(self, key: str, full: str, *, tags: bool = True) -> ObjectInfo:
        return replace(self._carrier.head(full, tags=tags), key=key)

    @contextmanager
    def open(
        self, key: str, /, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> Iterator[ObstoreReader]:
        """Open an object for reading; with `if_match` by one request, which tells no attributes.

        Raises NotFound, PreconditionFailed; reading raises SourceChanged.
        """
        with closing(self._opened(key, self._full(key), byte_range, if_match)) as reader:
            yield reader

    def _opened(
        self, key: str, full: str, byte_range: ByteRange | None, if_match: str | None
    ) -> ObstoreReader:
        wanted = byte_range or ByteRange(0, 1 << 62)
        named = None if if_match is None else version(if_match)
        if named is not None and wanted.start < min(wanted.stop, named[0]):
            return self._reader(key, full, wanted, *named)
        for _ in range(_CHANGES):
            info = self._head(key, full)
            if if_match not in (None, info.fingerprint):
                break
            size, etag = version(info.fingerprint) or (info.size, "")
            try:
                return self._reader(key, full, wanted, size, etag, info)
            except PreconditionFailed:
                continue  # it was replaced between the two requests
        else:
            raise Unavailable(f"{key!r} is replaced faster than it can be opened")
        raise PreconditionFailed(f"{key!r} is not the version {if_match}")

    def _reader(
        self,
        key: str,
        full: str,
        wanted: ByteRange,
        size: int,
        etag: str,
        info: ObjectInfo | None = None,
    ) -> ObstoreReader:
        stop = min(wanted.stop, size)

        def stream(start: int) -> Stream:
            found = self._carrier.stream(full, start, stop, etag)
            if version(found.info.fingerprint) != (size, etag):
                found.close()
                raise PreconditionFailed(f"{full!r} is another version")
            return replace(found, info=replace(found.info, key=key))

        return ObstoreReader(stream, wanted.start, stop, info)

    def list(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = ""
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List objects in order, a page at a time."""
        if not keys.can_begin_keys(prefix):
            return
        # Not every store rolls up by something else, and none has to be trusted to.
        rolls = delimiter if delimiter == "/" else ""
        bound = keys.bound(start_after)
        found = self._carrier.listing(
            self._prefix + prefix, rolls, self._prefix + bound if bound else ""
        )
        entries = self._ours(found)
        if delimiter != rolls:
            flat = (entry for entry in entries if isinstance(entry, ObjectInfo))
            yield from roll_up(flat, prefix=prefix, delimiter=delimiter, start_after=start_after)
            return
        for entry in entries:
            if isinstance(entry, CommonPrefix):
                if not passed_over(entry.prefix, start_after):
                    yield entry
            elif entry.key > start_after:
                yield entry

    def _ours(
        self, entries: Iterator[ObjectInfo | CommonPrefix]
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """Take our prefix off, and make sure of the order."""
        cut = len(self._prefix)
        last = ""
        for entry in entries:
            name = name_of(entry)[cut:]
            if name == last:
                continue  # the marker of the prefix itself, or a common prefix on two pages
            if name < last:
                raise StorageError(f"the store lists {name!r} behind {last!r}")
            last = name
            if isinstance(entry, CommonPrefix):
                yield CommonPrefix(name)
            else:
                yield replace(entry, key=name)

    # --- writing ---------------------------------------------------------------------

    def put(
        self,
        key: str,
        /,
        body: Reader,
        *,
        size: int | None,
        attributes: Attributes,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> ObjectInfo:
        """Store an object whole, or not at all: in one request, or by native multipart.

        Raises PreconditionFailed, PermissionDenied, NoSpace, NotSupported for a condition on an
        upload in parts where only the library carries.
        """
        full = self._full(key)
        condition = _condition(key, if_match, if_none_match)
        blocks = _Counted(key, body, size)
        held: list[bytes] = []
        while blocks.count <= PART and (block := next(blocks, None)) is not None:
            held.append(block)
        if blocks.count <= PART:
            etag = self._carrier.put(full, b"".join(held), attributes, condition)
        else:
            whole = chain(_drained(held), blocks)
            etag = self._carrier.upload(full, whole, size, attributes, condition)
        return self._stored(key, full, blocks.count, etag, attributes)

    def _stored(
        self, key: str, full: str, size: int, etag: str, attributes: Attributes | None = None
    ) -> ObjectInfo:
        """Tell of what was just put; by our clock, which spares a request for the store's."""
        if not etag:
            return replace(self._head(key, full, tags=False), attributes=attributes)
        strong = self.capabilities.strong_etag
        return told(key, size, datetime.now(UTC), etag, strong=strong, attributes=attributes)

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success."""
        full = self._full(key)
        self._carrier.delete(full)

    def _full(self, key: str) -> str:
        if not key:
            raise InvalidKey("'' is no key")
        full = self._prefix + key
        keys.check(full)
        return full


class S3UnderStore(ObstoreUnderStore):
    """Objects in a bucket of S3 or of something that speaks it."""

    _carrier: S3Requests

    def copy(
        self, source: str, target: str, /, *, attributes: Attributes, if_match: str | None
    ) -> ObjectInfo:
        """Copy `source`, if it still has the fingerprint `if_match`, to `target`, in the store.

        Raises NotFound, PreconditionFailed.
        """
        origin, full = self._full(source), self._full(target)
        # Looked at first, because not every store that copies knows its condition.
        info = self._head(source, origin, tags=False)
        if if_match not in (None, info.fingerprint):
            raise PreconditionFailed(f"{source!r} is not the version {if_match}")
        size, etag = version(info.fingerprint) or (info.size, None)
        made = self._carrier.copy(origin, full, attributes, size, etag)
        return self._stored(target, full, size, made, attributes)

    def begin_upload(self, key: str, /, *, attributes: Attributes) -> str:
        """Begin an upload in parts; its token is the store's own id."""
        return self._carrier.begin_upload(self._full(key), attributes)

    def put_part(
        self, key: str, token: str, number: int, body: Reader, /, *, size: int, md5: str
    ) -> str:
        """Put a part, whose MD5 the store compares; it is named by its ETag. Raises NotFound."""
        blocks = _Counted(key, body, size)
        return self._carrier.put_part(self._full(key), token, number, blocks, size, md5)

    def complete_upload(self, key: str, token: str, parts: Sequence[StoredPart], /) -> ObjectInfo:
        """Make the object of its parts, or nothing. Raises NotFound."""
        full = self._full(key)
        etag = self._carrier.complete_upload(full, token, [(one.number, one.tag) for one in parts])
        return self._stored(key, full, sum(one.size for one in parts), etag)

    def abort_upload(self, key: str, token: str, /) -> None:
        """Forget an upload and its parts; a missing one is success."""
        self._carrier.abort_upload(self._full(key), token)


class _Counted:
    """The blocks of a body; raises StorageError when they are not of the announced size."""

    def __init__(self, key: str, body: Reader, size: int | None) -> None:
        self._key = key
        self._body = body
        self._size = size
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = self._body.read(BLOCK)
        self.count += len(block)
        if self._size is not None and (
            self.count > self._size or (not block and self.count < self._size)
        ):
            raise StorageError(f"{self._key!r}: not the {self._size} bytes announced")
        if not block:
            raise StopIteration
        return block


def _drained(held: list[bytes]) -> Iterator[bytes]:
    held.reverse()
    while held:
        yield held.pop()


def _condition(key: str, if_match: str | None, if_none_match: bool) -> Condition:
    if if_match is None:
        return Condition(absent=if_none_match)
    named = version(if_match)
    if named is None or if_none_match:
        raise PreconditionFailed(f"{key!r} cannot be the version {if_match}")
    return Condition(etag=named[1])
