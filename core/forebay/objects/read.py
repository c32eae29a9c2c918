"""Reading objects: record first, then the bytes from where they are closest."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from forebay.cache.ahead import ReadAhead
from forebay.cache.fetch import Source
from forebay.cache.fill import PageBody
from forebay.cache.slots import blocks
from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Record, SegmentRef
from forebay.errors import (
    Corrupt,
    ForebayError,
    NoSuchKey,
    NotFound,
    PreconditionFailed,
    ServiceUnavailable,
    SourceChanged,
    Unavailable,
)
from forebay.objects.intents import live
from forebay.objects.mounts import Mount
from forebay.objects.shared import Shared, log, now_ms, store_is_down
from forebay.objects.sync import TRIES, fresh, look
from forebay.stores.metadata import Snapshot, Transaction
from forebay.stores.pages import PageReader
from forebay.streams import BLOCK, BytesReader, Chunk, Reader, Segment, ViewReader, own
from forebay.types import ByteRange, PersistState

OPEN_AT_ONCE = 64
"""Segments that a reader opens before its first byte; longer chains hold a lease instead."""

Select = Callable[[Record], ByteRange | None]
"""Checks conditions and chooses the range of an object; None means all of it. May raise."""


class OpenObject:
    """The bytes of one object, or a range of them, all of one version; a Reader.

    `segments` are set when every byte is in local files: the server may send those instead of
    reading. They are valid until `close`. `cache` is what ``x-forebay-cache`` says, `age` the
    seconds since the bytes were fetched.
    """

    def __init__(
        self,
        record: Record,
        byte_range: ByteRange,
        reader: Reader,
        *,
        stack: ExitStack,
        segments: list[Segment] | None = None,
        cache: str = "HIT",
        age: int = 0,
        verify: Callable[[], None] | None = None,
        changed: Callable[[], object] | None = None,
    ) -> None:
        self.record = record
        self.byte_range = byte_range
        self.segments = segments
        self.cache = cache
        self.age = age
        self._look: Callable[[int], Chunk] = getattr(reader, "view", reader.read)
        self._stack = stack
        self._verify = verify
        self._changed = changed
        self._left = byte_range.length

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes. Raises SourceChanged rather than end early."""
        return own(self.view(size))

    def view(self, size: int, /) -> Chunk:
        """Do as `read`; what was fetched is shown where it is."""
        if not self._left:
            return b""
        try:
            block = self._look(min(size, self._left))
        except (NotFound, PreconditionFailed, SourceChanged) as failure:
            # Whoever comes next, even within the age, shall not run into it again.
            if self._changed is not None:
                self._changed()
            raise SourceChanged("the object was changed while it was read") from failure
        if not block:
            raise SourceChanged("an object ended before its length")
        self._left -= len(block)
        if not self._left:
            self.check()
        return block

    def check(self) -> None:
        """Raise SourceChanged when the bytes given may be of several versions.

        For who sends `segments`, ahead of the last bytes; reading does it by itself.
        """
        if self._verify is not None:
            self._verify()

    def close(self) -> None:
        """Let go of files and leases."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class FileReader:
    """Gives the bytes of pieces of files, one after another."""

    def __init__(self, pieces: Sequence[Segment]) -> None:
        self._pieces = iter(pieces)
        self._now: Segment | None = None

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes."""
        while self._now is None or not self._now.length:
            self._now = next(self._pieces, None)
            if self._now is None:
                return b""
        piece = self._now
        block = os.pread(piece.fd, min(size, piece.length), piece.offset)
        if not block:
            raise SourceChanged("a file ended before its length")
        self._now = Segment(piece.fd, piece.offset + len(block), piece.length - len(block))
        return block


class Chain:
    """Gives the bytes of segments in the cache, one after another, opening each when it is due."""

    def __init__(self, open_segment: Callable[[str], PageReader], refs: Sequence[Span]) -> None:
        self._open = open_segment
        self._spans = iter(refs)
        self._page: PageReader | None = None
        self._at = self._stop = 0

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes. Raises Corrupt when a segment is not what it was."""
        while self._at >= self._stop:
            self.close()
            span = next(self._spans, None)
            if span is None:
                return b""
            self._page = self._open(span.segment)
            self._at, self._stop = span.start, span.stop
        assert self._page is not None
        block = self._page.pread(min(size, self._stop - self._at), self._at)
        if not block:
            raise Corrupt("a segment is shorter than its record")
        self._at += len(block)
        return block

    def close(self) -> None:
        """Let go of the open segment."""
        if self._page is not None:
            self._page.close()
            self._page = None


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `stop` of one segment."""

    segment: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Found:
    record: Record | None
    body: bytes | None = None
    refs: list[SegmentRef] = field(default_factory=list)


class Reads:
    """Reads of objects."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._reading = itertools.count(1)
        self._ahead = ReadAhead(shared.fetches)

    def head(self, bucket: Bucket, key: str) -> Record:
        """Give the object that a key shows now. Raises NoSuchKey, ServiceUnavailable."""
        record = look(self._shared, bucket, key)
        if record is None:
            raise NoSuchKey(Key=key)
        return record

    def parts(self, record: Record) -> list[SegmentRef]:
        """Give the parts of an object that was made of parts, in order; none for another."""
        if not record.parts:
            return []
        return self._shared.catalog.read(lambda s: catalog.segments(s, record))

    def get(self, bucket: Bucket, key: str, select: Select) -> OpenObject:
        """Open an object; `select` is asked once its record is certain.

        Raises what `select` raises, NoSuchKey, ServiceUnavailable, Corrupt.
        """
        believed: Record | None = None
        pause = 0.0005
        for _ in range(TRIES):
            mount = self._shared.mounts.find(bucket.name, key)
            found = self._shared.catalog.read(
                partial(self._find, bucket=bucket, key=key, mount=mount)
            )
            record = found.record
            if believed is None and (record is None or not (record.local or fresh(mount, record))):
                believed = look(self._shared, bucket, key)
                if believed is None:
                    raise NoSuchKey(Key=key)
            if believed is not None and _outdated(record, believed):
                if believed.state is not PersistState.PERSISTED or believed.parts:
                    believed = None
                    continue
                found = _Found(believed)
            try:
                opened = self._open(bucket, key, mount, found, select)
            except (NotFound, PreconditionFailed, SourceChanged):
                time.sleep(pause)
                pause *= 2
                believed = look(self._shared, bucket, key, force=True)
                if believed is None:
                    raise NoSuchKey(Key=key) from None
            except Unavailable as failure:
                raise store_is_down(mount.config.path, failure) from failure
            else:
                if believed is not None and opened.cache == "HIT":
                    # Asked about just now; or its age has run out, and the store is down.
                    stale = mount.config.metadata_sync and not fresh(mount, believed)
                    opened.cache, opened.age = ("STALE", opened.age) if stale else ("HIT", 0)
                return opened
        raise ServiceUnavailable("the object changes faster than it can be opened")

    def open_record(self, bucket: Bucket, key: str, record: Record) -> OpenObject:
        """Open the whole of a certain version that the cache holds (persisting).

        Raises NotFound when the version is gone.
        """
        mount = self._shared.mounts.find(bucket.name, key)
        found = self._shared.catalog.read(lambda s: self._find(s, bucket, key, mount))
        if found.record is None or found.record.object_id != record.object_id:
            raise NotFound(key)
        return self._open(bucket, key, mount, found, lambda _: None)

    def chain(self, refs: Sequence[SegmentRef]) -> Chain:
        """Give the bytes of segments, one after another."""
        return Chain(self._open_segment, [Span(r.segment, 0, r.length) for r in refs if r.length])

    def _find(self, snapshot: Snapshot, bucket: Bucket, key: str, mount: Mount) -> _Found:
        catalog.check_bucket(snapshot, bucket)
        record = live(catalog.get_record(snapshot, bucket.id, key), mount)
        if record is None:
            return _Found(None)
        body = snapshot.get(keys.inline_row(record.object_id)) if record.inline else None
        if record.parts and not record.local:
            return _Found(record, body, catalog.segments(snapshot, record))
        return _Found(record, body, record.segments)

    def _open(
        self, bucket: Bucket, key: str, mount: Mount, found: _Found, select: Select
    ) -> OpenObject:
        record = found.record
        assert record is not None
        with ExitStack() as stack:
            if record.local:
                return self._from_file(bucket, key, mount, record, select, stack)
            byte_range = select(record) or ByteRange(0, record.size)
            age = max(0, (now_ms() - record.synced) // 1000) if record.synced else 0
            if found.body is not None or not byte_range.length:
                body = (found.body or b"")[byte_range.start : byte_range.stop]
                return OpenObject(record, byte_range, BytesReader(body), stack=stack.pop_all())
            held = self._from_segments(bucket, key, record, byte_range, found.refs, stack)
            if held is not None:
                reader, segments = held
                return OpenObject(
                    record, byte_range, reader, segments=segments, stack=stack.pop_all(), age=age
                )
            if record.state is not PersistState.PERSISTED:
                if self._shared.catalog.read(lambda s: _moved_on(s, bucket, key, record)):
                    raise NotFound(key)
                raise Corrupt(f"unpersisted object {record.object_id} is not in the cache")
            return self._from_store(bucket, key, mount, record, byte_range, stack)

    def _from_file(
        self,
        bucket: Bucket,
        key: str,
        mount: Mount,
        record: Record,
        select: Select,
        stack: ExitStack,
    ) -> OpenObject:
        """Serve a file of the under store from where it is, if it is still the one we know."""
        under_key = mount.under_key(bucket.name, key)
        if not record.size:
            if mount.store.head(under_key).fingerprint != record.fingerprint:
                raise PreconditionFailed(key)
            byte_range = select(record) or ByteRange(0, 0)
            return OpenObject(
                record, byte_range, BytesReader(b""), stack=stack.pop_all(), cache="BYPASS"
            )
        opened = mount.store.open(under_key, if_match=record.fingerprint)
        reader = stack.enter_context(opened)
        byte_range = select(record) or ByteRange(0, record.size)
        piece = Segment(reader.fileno(), byte_range.start, byte_range.length)
        opened_as = _identity(piece.fd)
        reader.fileno()  # which raises if that is not what `if_match` was compared with

        def verify() -> None:
            if _identity(piece.fd) != opened_as:
                raise SourceChanged("the file was changed while it was read")

        return OpenObject(
            record,
            byte_range,
            FileReader([piece]),
            segments=[piece],
            stack=stack.pop_all(),
            cache="BYPASS",
            verify=verify,
        )

    def _from_segments(
        self,
        bucket: Bucket,
        key: str,
        record: Record,
        byte_range: ByteRange,
        refs: Sequence[SegmentRef],
        stack: ExitStack,
    ) -> tuple[Reader, list[Segment] | None] | None:
        """Open the segments that the cache holds of a range; None unless it holds them all."""
        spans = list(_spans(refs, byte_range))
        if not spans or not all(span.segment for span in spans):
            return None
        if len(spans) > OPEN_AT_ONCE:
            self._hold(bucket, key, record, stack)
            chain = Chain(self._open_segment, spans)
            stack.callback(chain.close)
            return chain, None
        pages: dict[str, PageReader] = {}
        for span in spans:
            page = self._shared.cache.open(span.segment)
            if page is None:
                stack.close()
                return None
            stack.callback(page.close)
            pages[span.segment] = page
        fds = {segment: page.fileno() for segment, page in pages.items()}
        pieces = [
            Segment(fd, span.start, span.stop - span.start)
            for span in spans
            if (fd := fds[span.segment]) is not None
        ]
        if len(pieces) == len(spans):
            return FileReader(pieces), pieces
        return Chain(lambda segment: _Borrowed(pages[segment]), spans), None

    def _open_segment(self, segment: str) -> PageReader:
        page = self._shared.cache.open(segment)
        if page is None:
            raise Corrupt(f"segment {segment} is not in the cache")
        return page

    def _hold(self, bucket: Bucket, key: str, record: Record, stack: ExitStack) -> None:
        """Keep a version's segments out of the trash's reach until its read ends."""
        shared = self._shared
        row = keys.read_row(shared.owner.number, next(self._reading))

        def begin(tx: Transaction) -> None:
            current = catalog.get_record(tx, bucket.id, key)
            if current is None or current.object_id != record.object_id:
                raise PreconditionFailed(key)
            tx.put(row, keys.number(record.seq))

        shared.catalog.write(begin, durable=False)
        stack.callback(lambda: shared.catalog.write(lambda tx: tx.delete(row), durable=False))

    def _from_store(
        self,
        bucket: Bucket,
        key: str,
        mount: Mount,
        record: Record,
        byte_range: ByteRange,
        stack: ExitStack,
    ) -> OpenObject:
        """Read through the cache's pages from the under store."""
        under_key, fetches = mount.under_key(bucket.name, key), self._shared.fetches

        def bring(wanted: ByteRange) -> Iterator[Chunk]:
            opened = mount.store.open(under_key, wanted, if_match=record.fingerprint)
            with opened as reader:
                yield from blocks(reader, wanted.length, fetches.slots)

        source = Source(mount.config.path, record.object_id, record.size, bring)
        body = PageBody(fetches, source, byte_range)
        stack.callback(body.close)
        cache = body.plan()
        segments = body.segments() if cache == "HIT" else None
        # The first block is read before any header leaves: a vanished source is no 200.
        first: Chunk = b"" if segments is not None else body.view(BLOCK)
        if byte_range.length < record.size:
            self._ahead.note(source, byte_range)
        age = max(0, (now_ms() - record.synced) // 1000) if record.synced else 0
        return OpenObject(
            record,
            byte_range,
            _Resumed(first, body),
            changed=partial(self._look_again, bucket, key),
            segments=segments,
            stack=stack.pop_all(),
            cache=cache,
            age=age if cache == "HIT" else 0,
        )

    def _look_again(self, bucket: Bucket, key: str) -> None:
        try:
            look(self._shared, bucket, key, force=True)
        except ForebayError as failure:
            log.info("%s/%r changed and cannot be looked at: %s", bucket.name, key, failure)


def _outdated(record: Record | None, believed: Record) -> bool:
    """Tell whether a look knows better than the catalog; seq 0: it could not write it down."""
    return record is None or not believed.seq or record.seq < believed.seq


def _moved_on(snapshot: Snapshot, bucket: Bucket, key: str, record: Record) -> bool:
    current = catalog.get_record(snapshot, bucket.id, key)
    if current is None or current.object_id != record.object_id:
        return True
    # Persisted meanwhile, and so read from elsewhere now.
    return current.state is not record.state


class _Borrowed:
    """An open page that somebody else closes."""

    def __init__(self, page: PageReader) -> None:
        self.size = page.size
        self.pread = page.pread
        self.fileno = page.fileno

    def close(self) -> None:
        """Leave the page open."""


class _Resumed:
    """A reader of which a first block was read already."""

    def __init__(self, first: Chunk, rest: ViewReader) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes."""
        return own(self.view(size))

    def view(self, size: int, /) -> Chunk:
        """Give up to `size` bytes where they are."""
        if not self._first:
            return self._rest.view(size)
        block, self._first = self._first[:size], self._first[size:]
        return block


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns


def _spans(refs: Sequence[SegmentRef], byte_range: ByteRange) -> Iterator[Span]:
    """Give the stretches of segments that a range covers."""
    at = 0
    for ref in refs:
        start, stop = max(byte_range.start - at, 0), min(byte_range.stop - at, ref.length)
        if start < stop:
            yield Span(ref.segment, start, stop)
        at += ref.length
        if at >= byte_range.stop:
            return
