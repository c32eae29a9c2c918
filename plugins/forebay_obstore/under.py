"""The under store over an object store: ranges in parallel, native multipart and conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain

from forebay.errors import InvalidKey, PreconditionFailed, StorageError, Unavailable
from forebay.stores.listing import name_of, passed_over, roll_up
from forebay.streams import BLOCK, Reader
from forebay.types import Attributes, ByteRange, Capabilities, CommonPrefix, ObjectInfo
from forebay_obstore import attributes as native
from forebay_obstore import keys
from forebay_obstore.carrier import SMALL, Carrier, Condition, Fetched, told, version
from forebay_obstore.faults import Unreadable
from forebay_obstore.library import Library
from forebay_obstore.reader import Budget, ObstoreReader, RangesReader, first_length
from forebay_obstore.s3 import S3Requests
from forebay_obstore.uri import Place

AHEAD = 128 << 20
"""Bytes that all readers of one store may have read ahead; each may have one small range anyway."""
_CHANGES = 10


class ObstoreUnderStore:
    """Objects below a prefix of a bucket.

    `library` carries what it can, `requests`, where there are any, everything else. Threads of
    `pool` wait for answers; `close_more` is called at the end.
    """

    def __init__(
        self,
        place: Place,
        library: Library,
        requests: S3Requests | None,
        pool: ThreadPoolExecutor,
        close_more: Callable[[], object] = lambda: None,
    ) -> None:
        self._prefix = place.prefix
        self._library = library
        self._requests = requests
        self._pool = pool
        self._close_more = close_more
        self._budget = Budget(AHEAD)
        self._exact: Carrier = library if requests is None else requests
        # No any_key: AWS refuses keys that climb above the bucket, and a prefix takes its bytes.
        self.capabilities = Capabilities(
            atomic_put=True,
            conditional_put=True,
            attributes=True,
            strong_etag=requests is not None,
            shared_between_processes=True,
        )

    def close(self) -> None:
        """Let go of connections and threads; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._close_more()

    # --- reading ---------------------------------------------------------------------

    def head(self, key: str, /) -> ObjectInfo:
        """Tell of one object. Raises NotFound."""
        return self._head(key, self._full(key))

    @contextmanager
    def open(
        self, key: str, /, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> Iterator[ObstoreReader]:
        """Open an object for reading; with `if_match` its attributes are not asked for.

        Raises NotFound, PreconditionFailed; reading raises SourceChanged.
        """
        info, ranges = self._opened(key, self._full(key), byte_range, if_match)
        if ranges is None:
            yield ObstoreReader(info, None)
            return
        with closing(ranges):
            yield ObstoreReader(info, ranges)

    def _opened(
        self, key: str, full: str, byte_range: ByteRange | None, if_match: str | None
    ) -> tuple[ObjectInfo, RangesReader | None]:
        wanted = byte_range or ByteRange(0, 1 << 62)
        named = None if if_match is None else version(if_match)
        if named is not None and wanted.start < min(wanted.stop, named[0]):
            size, etag = named
            total = min(wanted.stop, size) - wanted.start
            ranges = self._ranges(full, wanted, size, etag, first_length(total))
            assert ranges.info is not None
            return replace(ranges.info, key=key), ranges
        if if_match is None:
            return self._current(key, full, wanted)
        info = self._head(key, full)
        if if_match != info.fingerprint:
            raise PreconditionFailed(f"{key!r} is not the version {if_match}")
        return info, None

    def _current(
        self, key: str, full: str, wanted: ByteRange
    ) -> tuple[ObjectInfo, RangesReader | None]:
        """Open whatever version there is, asked for and about at once: one round trip."""
        opening = first_length(wanted.length)
        for _ in range(_CHANGES):
            guess = None
            if wanted.length:
                stop = wanted.start + opening
                guess = self._pool.submit(self._fetch, full, None, wanted.start, stop)
            try:
                info = self._head(key, full)
                size, etag = version(info.fingerprint) or (info.size, "")
                if guess is None or wanted.start >= size:
                    return info, None
            except BaseException:
                if guess is not None:
                    guess.cancel()
                raise
            first = guess if _is_of(guess, info) else None
            try:
                return info, self._ranges(full, wanted, size, etag, opening, first)
            except PreconditionFailed:
                continue  # it was replaced between the two answers
        raise Unavailable(f"{key!r} is replaced faster than it can be opened")

    def _ranges(
        self,
        full: str,
        wanted: ByteRange,
        size: int,
        etag: str,
        opening: int,
        first: Future[Fetched] | None = None,
    ) -> RangesReader:
        return RangesReader(
            partial(self._fetch, full, etag),
            wanted.start,
            min(wanted.stop, size),
            pool=self._pool,
            budget=self._budget,
            opening=opening,
            first=first,
        )

    def _fetch(self, full: str, etag: str | None, start: int, stop: int) -> Fetched:
        try:
            fetched = self._carrier(full).fetch(full, start, stop, etag)
        except Unreadable as error:
            if self._requests is None:
                raise StorageError(f"{full!r}: {error}") from error
            fetched = self._requests.fetch(full, start, stop, etag)
        if etag is not None and version(fetched.info.fingerprint) != (fetched.info.size, etag):
            raise PreconditionFailed(f"{full!r} is another version")
        return fetched

    def _head(self, key: str, full: str, *, tags: bool = True) -> ObjectInfo:
        try:
            return replace(self._exact.head(full, tags=tags), key=key)
        except Unreadable as error:
            raise StorageError(f"{key!r}: {error}") from error

    def list(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = ""
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List objects in order, a page at a time."""
        if not keys.can_begin_keys(prefix):
            return
        # Not every store rolls up by something else, and none has to be trusted to.
        rolls = delimiter if delimiter == "/" else ""
        bound = keys.bound(start_after)
        found = self._exact.listing(
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
        watched = _Watched(key, body, size)
        carrier = self._writer(full, attributes)
        held: list[bytes] = []
        have = 0
        for block in watched:
            held.append(block)
            have += len(block)
            if have > SMALL:
                break
        if have <= SMALL:
            etag = carrier.put(full, b"".join(held), attributes, condition)
        else:
            if condition and self._requests is not None:
                carrier = self._requests
            blocks = chain(_drained(held), watched)
            try:
                etag = carrier.upload(full, blocks, size, attributes, condition)
            except BaseException:
                if watched.failure is not None:
                    raise watched.failure  # noqa: B904 - the body's own, whatever was made of it
                raise
        return self._stored(key, full, watched.count, etag, attributes)

    def _stored(
        self, key: str, full: str, size: int, etag: str, attributes: Attributes
    ) -> ObjectInfo:
        """Tell of what was just put; only a look gives the time that later looks will give."""
        info = self._head(key, full, tags=False)
        if etag and version(info.fingerprint) != (size, etag):
            strong = self.capabilities.strong_etag  # somebody was quicker; ours was another
            return told(key, size, datetime.now(UTC), etag, strong=strong, attributes=attributes)
        return replace(info, attributes=attributes)

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success."""
        full = self._full(key)
        self._carrier(full).delete(full)

    # --- who carries -----------------------------------------------------------------

    def _full(self, key: str) -> str:
        if not key:
            raise InvalidKey("'' is no key")
        full = self._prefix + key
        keys.check(full)
        return full

    def _carrier(self, full: str) -> Carrier:
        return self._library if self._library.takes(full) else self._exact

    def _writer(self, full: str, attributes: Attributes) -> Carrier:
        if self._requests is None and not self._library.takes(full):
            raise InvalidKey(f"{full!r}: the library cannot put an object of that name")
        if self._requests is not None and not native.carried(attributes):
            return self._requests
        return self._carrier(full)


class S3UnderStore(ObstoreUnderStore):
    """Objects in a bucket of S3 or of something that speaks it."""

    _requests: S3Requests

    def copy(
        self, source: str, target: str, /, *, attributes: Attributes, if_match: str | None
    ) -> ObjectInfo:
        """Copy `source`, if it still has the fingerprint `if_match`, to `target`, in the store.

        Raises NotFound, PreconditionFailed.
        """
        origin, full = self._full(source), self._full(target)
        named = version(if_match or self.head(source).fingerprint)
        if named is None:
            raise PreconditionFailed(f"{source!r} is not the version {if_match}")
        size, etag = named
        made = self._requests.copy(origin, full, attributes, size, etag)
        return self._stored(target, full, size, made, attributes)


class _Watched:
    """The blocks of a body, counted; remembers what the body raised.

    Raises StorageError when the body is not of the announced size.
    """

    def __init__(self, key: str, body: Reader, size: int | None) -> None:
        self._key = key
        self._body = body
        self._size = size
        self.count = 0
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            block = self._body.read(BLOCK)
            self.count += len(block)
            if self._size is not None and (
                self.count > self._size or (not block and self.count < self._size)
            ):
                raise StorageError(f"{self._key!r}: not the {self._size} bytes announced")
        except BaseException as failure:
            self.failure = failure
            raise
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


def _is_of(guess: Future[Fetched], info: ObjectInfo) -> bool:
    """Tell whether bytes that were asked for without a version are of the one `info` tells of."""
    try:
        return guess.result().info.fingerprint == info.fingerprint
    except (StorageError, CancelledError):
        return False  # asked for again, with the version
