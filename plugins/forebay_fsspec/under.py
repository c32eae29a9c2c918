"""The under store over any protocol of directories: every object a plain file at its own path.

A body waits in ``.forebay-tmp/`` at the root until it is whole, then replaces the object in one
step. Where a file and a directory want the same name, the file moves to its escape. A key that
ends with ``/`` is the file with the escape of an empty name.
"""

from __future__ import annotations

import builtins
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from forebay.errors import (
    InvalidKey,
    KeyTooLong,
    NoSpace,
    NotFound,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    SourceChanged,
    StorageError,
    Unavailable,
)
from forebay.stores.listing import roll_up
from forebay.streams import BLOCK, Reader
from forebay.types import Attributes, ByteRange, CommonPrefix, ObjectInfo
from forebay_fsspec import names
from forebay_fsspec.clock import Clock
from forebay_fsspec.files import UNKNOWN, Entry, Files, Sink, Source
from forebay_fsspec.names import STAGING, Chain, Names, is_utf8
from forebay_fsspec.protocols import SKEW, Row
from forebay_fsspec.reading import Fetchers, RangeReader
from forebay_fsspec.walk import Walk

_ATTEMPTS: Final = 6
_STALE: Final = 3 * 24 * 3600
"""Seconds after which what a dead writer left in the staging area is swept."""
_FINAL = (PermissionDenied, Unavailable, NoSpace, InvalidKey)
_NOT_THERE = (NotFound, InvalidKey)
"""Answers to a look that say: nothing has that name, or nothing can have it."""


class FsspecUnderStore:
    """Objects as files below `root` of one file system; `row` says what the protocol can do."""

    def __init__(
        self, files: Files, root: str, row: Row, *, parallel: int, skew: float = SKEW
    ) -> None:
        self.capabilities = row.capabilities
        self._files = files
        self._root = root
        self._row = row
        self._names = Names(row.forbidden)
        self._fetchers = Fetchers(parallel)
        self._clock = Clock(row.tick, skew)
        self._swept = False

    def close(self) -> None:
        """End the threads and the connections."""
        self._fetchers.close()
        self._files.close()

    # --- reading ---------------------------------------------------------------------

    def head(self, key: str, /) -> ObjectInfo:
        """Tell of one object. Raises NotFound."""
        for path in self._paths(key):
            entry = self._clock.look_at_rest(path, self._look)
            if entry is not None and not entry.is_directory:
                return _told(key, entry)
        return self._empty_folder(key)

    @contextmanager
    def open(
        self, key: str, /, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> Iterator[RangeReader]:
        """Open an object for reading.

        Raises NotFound, PreconditionFailed; reading raises SourceChanged.
        """
        reader = self._begun(key, byte_range, if_match)
        try:
            yield reader
        finally:
            reader.close()

    def _begun(self, key: str, byte_range: ByteRange | None, if_match: str | None) -> RangeReader:
        """Open an object and fetch its first bytes; anew when it is replaced just then."""
        for attempt in range(_ATTEMPTS):
            # A version that somebody names was proved to be one when it was looked at.
            source = self._source(key, at_rest=if_match is None)
            info = self._empty_folder(key) if source is None else _told(key, source.entry)
            reader = RangeReader(info, source or _Nothing(), byte_range, self._fetchers)
            try:
                if if_match is not None and if_match != info.fingerprint:
                    raise PreconditionFailed(f"{key!r} is not the version {if_match}")
                reader.begin()
            except SourceChanged:
                reader.close()
                if attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                reader.close()
                raise
            else:
                return reader
        raise AssertionError("the last attempt returns or raises")

    def list(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = ""
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List objects in order, one directory at a time."""
        if "\0" in prefix or not is_utf8(prefix):
            return  # no key can have it
        walk = Walk(self._names, self._files.ls, self._folder, self._look_at_all)
        if delimiter in ("", "/"):
            yield from walk.entries(prefix, start_after, descend=not delimiter)
            return
        every = walk.entries(prefix, start_after="", descend=True)
        objects = (one for one in every if isinstance(one, ObjectInfo))
        yield from roll_up(objects, prefix=prefix, delimiter=delimiter, start_after=start_after)

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
        """Store an object whole, or not at all.

        Raises NotSupported for a condition: files cannot be compared and swapped.
        """
        self._writable(key)
        plain, escaped = self._two_paths(key)
        if if_match is not None or if_none_match:
            raise NotSupported(f"a {self._row.names[0]}:// store has no conditional put")
        staged = (plain or escaped) if self._row.flat else self._staged_path()
        sink = self._create(staged)
        try:
            length = _fill(sink, key, body, size)
            sink.finish()
            entry = self._files.info(staged)
            if entry.size not in (length, UNKNOWN):
                raise StorageError(f"{key!r}: of {length} bytes, {entry.size} arrived")
            if not self._row.flat:
                entry = self._publish(staged, entry, key)
        except BaseException:
            with suppress(StorageError):  # the connection may be what failed
                sink.abort()
            if not self._row.flat:
                with suppress(StorageError):
                    self._files.remove(staged)
            raise
        return _told(key, entry)

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success."""
        self._writable(key)
        try:
            plain, escaped = self._two_paths(key)
        except InvalidKey:
            return  # too long to be there
        removed = False
        # The plain one last: it hides the other.
        with suppress(*_NOT_THERE):
            self._files.remove(escaped)
            removed = True
        if plain is not None:
            entry = self._look(plain)
            if entry is not None and not entry.is_directory:
                with suppress(NotFound):
                    self._files.remove(plain)
                    removed = True
        if self._row.flat:
            return
        segments = names.split(key)
        if not removed and not segments[-1]:
            with suppress(NotFound):
                removed = bool(self._empty_folder(key))
        if removed:
            self._prune(self._places(escaped))

    # --- where things are ------------------------------------------------------------

    def _folder(self, segments: builtins.list[str]) -> str:
        return self._within("/".join([self._root, *self._names.folders(segments)]))

    def _two_paths(self, key: str) -> tuple[str | None, str]:
        """Give the plain path of a key, if it can have one, and its escaped one."""
        *above, last = names.split(key)
        folder = self._folder(above)
        escaped = "/".join([folder, *names.escape(last, names.FILE)])
        if not self._names.is_plain(last, at_root=not above):
            return None, self._within(escaped)
        return self._within(f"{folder}/{last}"), escaped

    def _paths(self, key: str) -> tuple[str, ...]:
        """Give the paths at which an object may be; none for a key that is too long."""
        names.split(key)
        try:
            plain, escaped = self._two_paths(key)
        except InvalidKey:
            return ()
        if plain is None:
            return (escaped,)
        return (plain,) if self._row.flat else (plain, escaped)

    def _within(self, path: str) -> str:
        size = len(path.encode())
        if self._row.path_max is not None and size > self._row.path_max:
            raise KeyTooLong(
                f"the path of this key has {size} bytes, its mount's included; this store takes"
                f" {self._row.path_max}"
            )
        return path

    def _staged_path(self) -> str:
        return f"{self._root}/{STAGING}/{int(time.time())}-{secrets.token_hex(8)}"

    def _places(self, path: str) -> builtins.list[str]:
        """Give the directories that lead to a file of ours, the outermost first."""
        parts = path.removeprefix(self._root).split("/")[1:-1]
        return ["/".join([self._root, *parts[: n + 1]]) for n in range(len(parts))]

    # --- looking ---------------------------------------------------------------------

    def _look(self, path: str) -> Entry | None:
        try:
            return self._files.info(path)
        except _NOT_THERE:
            return None

    def _look_at_all(self, paths: builtins.list[str]) -> builtins.list[Entry | None]:
        threads = self._fetchers.threads
        return list((threads.map if threads else map)(self._look, paths))

    def _source(self, key: str, *, at_rest: bool) -> Source | None:
        for path in self._paths(key):
            with suppress(*_NOT_THERE):
                if at_rest:
                    return self._clock.open_at_rest(path, self._files.open)
                return self._files.open(path)
        return None

    def _empty_folder(self, key: str) -> ObjectInfo:
        """Tell of the object that a directory without anything in it is. Raises NotFound."""
        *above, last = names.split(key)
        if not last and above:
            try:
                folder = self._folder(above)
            except InvalidKey as error:
                raise NotFound(f"{key!r}: it is too long to be there") from error
            entry = self._look(folder)
            if entry is not None and entry.is_directory:
                walk = Walk(self._names, self._files.ls, self._folder, self._look_at_all)
                if not walk.children(folder, at_root=False):
                    return ObjectInfo(key, 0, entry.modified, entry.fingerprint)
        raise NotFound(f"{key!r}: there is no such object")

    # --- changing --------------------------------------------------------------------

    def _writable(self, key: str) -> None:
        names.split(key)
        if self._row.read_only:
            raise PermissionDenied("the store is read only")

    def _create(self, path: str) -> Sink:
        if not self._swept:
            self._swept = True
            self._sweep()
        try:
            return self._files.create(path)
        except NotFound:
            self._make(path.rpartition("/")[0])
            return self._files.create(path)

    def _make(self, folder: str) -> None:
        """Make a directory of ours and, above it, all that are missing."""
        if self._look(folder) is not None or not folder:
            return
        self._make(folder.rpartition("/")[0])
        try:
            self._files.mkdir(folder)
        except StorageError:
            if self._look(folder) is None:  # not because another was faster
                raise

    def _sweep(self) -> None:
        """Remove what writers that died long ago left behind."""
        if self._row.flat:
            return
        folder = f"{self._root}/{STAGING}"
        with suppress(StorageError):  # a sweep that fails is tried by the next store
            for entry in self._files.ls(folder):
                begun = entry.name.partition("-")[0]
                if begun.isdecimal() and int(begun) < time.time() - _STALE:
                    self._files.remove(f"{folder}/{entry.name}")

    def _publish(self, staged: str, entry: Entry, key: str) -> Entry:
        """Move a whole body to where its object is, and make room there as need be."""
        plain, escaped = self._two_paths(key)
        failed: StorageError | None = None
        written = entry
        self._clock.compare(written)
        for _ in range(_ATTEMPTS):
            target = plain or escaped
            there = self._look(target)
            if there is not None and there.is_directory:
                target = escaped
                there = self._look(target)
            than = self._clock.latest(target, there)
            if self._row.tick or (than is not None and than.modified >= written.modified):
                # The fingerprint may be that of an earlier version, or of one still to come.
                entry = self._files.newer(staged, written, than)
            try:
                self._files.move(staged, target)
            except _FINAL:
                raise
            except StorageError as error:
                failed = error
                self._make_room(target)
                continue
            if target == plain and not self._row.flat:
                with suppress(*_NOT_THERE):  # an older one, from when a directory had the name
                    self._files.remove(escaped)
            self._clock.own(target, entry)
            return entry
        assert failed is not None
        raise failed

    def _make_room(self, target: str) -> None:
        """Make the directories above `target`; files that are in the way move to their escapes."""
        missing: builtins.list[str] = []
        for place in reversed(self._places(target)):
            entry = self._look(place)
            if entry is not None and entry.is_directory:
                break
            missing.append(place)
            if entry is not None:
                folder, _, name = place.rpartition("/")
                self._move_aside(place, folder, names.escape(name, names.FILE))
                break
        for place in reversed(missing):
            with suppress(StorageError):  # another may have been faster; the next attempt sees
                self._files.mkdir(place)

    def _move_aside(self, path: str, folder: str, chain: Chain) -> None:
        target = self._within("/".join([folder, *chain]))
        for n in range(1, len(chain)):
            with suppress(StorageError):
                self._files.mkdir("/".join([folder, *chain[:n]]))
        with suppress(NotFound):  # another has moved it, or removed it
            self._files.move(path, target)

    def _prune(self, places: builtins.list[str]) -> None:
        """Remove the directories that have become empty, from the inside out."""
        for place in reversed(places):
            try:
                self._files.rmdir(place)
            except StorageError:
                return  # not empty: what is there keeps it


class _Nothing:
    """The bytes of an empty directory's object."""

    def read(self, start: int, stop: int, /) -> bytes:
        """Never called: the range of nothing is empty."""
        raise SourceChanged("an empty directory has no bytes")

    def close(self) -> None:
        """There is nothing to let go of."""


def _fill(sink: Sink, key: str, body: Reader, size: int | None) -> int:
    length = 0
    while block := body.read(BLOCK):  # what it raises is the caller's, and passes through
        length += len(block)
        if size is not None and length > size:
            break
        sink.write(block)
    if size is not None and length != size:
        raise StorageError(f"{key!r}: the body is not of the {size} bytes announced")
    return length


def _told(key: str, entry: Entry) -> ObjectInfo:
    return ObjectInfo(key, entry.size, entry.modified, entry.fingerprint)
