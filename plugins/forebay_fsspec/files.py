"""What a store of directories needs of a protocol, and that same for any fsspec file system."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from forebay.errors import NotFound, SourceChanged, StorageError, Unavailable
from forebay_fsspec.connections import Connections
from forebay_fsspec.faults import Translated

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSIONS = ("generation", "version_id", "etag", "ETag", "content_hash", "sha", "fileId", "ino")
_TIMES = ("mtime", "date_time", "LastModified", "last_modified", "updated", "modified", "created")
UNKNOWN = -1
"""The size of an entry whose listing does not tell; `info` does."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a directory; `size` in bytes, `UNKNOWN` when it has to be asked for."""

    name: str
    is_directory: bool
    size: int
    modified: datetime
    fingerprint: str


class Source(Protocol):
    """One open file, whose bytes are of the version `entry` or raise SourceChanged."""

    entry: Entry

    def read(self, start: int, stop: int, /) -> bytes:
        """Read the half-open range, which lies within the file, whole. Raises SourceChanged."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Sink(Protocol):
    """One new file on its way."""

    def write(self, block: bytes, /) -> None:
        """Append bytes."""
        ...

    def finish(self) -> None:
        """Bring everything to the storage."""
        ...

    def abort(self) -> None:
        """Stop; what was written is of no use. Harmless after `finish` failed."""
        ...


class Files(Protocol):
    """Files and directories of one protocol. Raises StorageError and its children only."""

    def info(self, path: str, /) -> Entry:
        """Tell of a path. Raises NotFound."""
        ...

    def ls(self, path: str, /) -> list[Entry]:
        """Tell of all names in a directory, in any order. Raises NotFound."""
        ...

    def open(self, path: str, /) -> Source:
        """Open a file. Raises NotFound, for a directory too."""
        ...

    def create(self, path: str, /) -> Sink:
        """Begin a new file. Raises NotFound when its directory is missing."""
        ...

    def newer(self, path: str, entry: Entry, than: Entry | None, /) -> Entry:
        """Tell of the file at `path`, just written, once its fingerprint is its own.

        `entry` is it as it was written, `than` what had its place last. Where times are coarse it
        gets one that is over, so that it differs from what overwrites it too. Raises Unavailable
        when the fingerprint would be that of `than`.
        """
        ...

    def move(self, source: str, target: str, /) -> None:
        """Move a file onto another, which it replaces in one step. Raises NotFound."""
        ...

    def remove(self, path: str, /) -> None:
        """Remove a file. Raises NotFound."""
        ...

    def mkdir(self, path: str, /) -> None:
        """Make one directory."""
        ...

    def rmdir(self, path: str, /) -> None:
        """Remove a directory that is empty; StorageError for another."""
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...


def moment(value: Any) -> datetime:
    """Give a time as aware UTC; the epoch where a file system tells none.

    >>> moment("2026-01-02T03:04:05Z").isoformat()
    '2026-01-02T03:04:05+00:00'
    """
    if isinstance(value, str) and value:
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float):
        return _EPOCH + timedelta(seconds=value)
    if isinstance(value, tuple):  # a zip's: of no zone, and of no day in some
        with suppress(ValueError):
            return datetime(*value).replace(tzinfo=UTC)
    return _EPOCH


def entry_of(name: str, found: Mapping[str, Any]) -> Entry:
    """Read the dictionary that an fsspec file system tells of a path.

    The fingerprint is every version the protocol knows, with size and time: `ukey` and
    `checksum` of fsspec stay the same on some protocols when the bytes change.
    """
    size = found.get("size")
    when = next((found[name] for name in _TIMES if found.get(name) is not None), None)
    if when is None and "modificationTime" in found:
        when = found["modificationTime"] / 1000
    versions = [str(found[name]).strip('"') for name in _VERSIONS if found.get(name) is not None]
    times = [str(when)] if when is not None else []
    size = UNKNOWN if size is None else int(size)
    fingerprint = "-".join([*versions, f"{size:x}", *times])
    return Entry(name, found.get("type") == "directory", size, moment(when), fingerprint)


class Checked:
    """A source that reads by ranges and looks, after each, whether the file is still the same.

    A range is given only when the fingerprint before it and behind it is that of `entry`.
    """

    def __init__(
        self, path: str, entry: Entry, fetch: Callable[[int, int], bytes], look: Callable[[], Entry]
    ) -> None:
        self.entry = entry
        self._path = path
        self._fetch = fetch
        self._look = look

    def read(self, start: int, stop: int, /) -> bytes:
        """Read the half-open range. Raises SourceChanged."""
        try:
            block = self._fetch(start, stop)
        except StorageError:
            self._insist()  # a file that became shorter fails in many ways
            raise
        self._insist()
        if len(block) != stop - start:
            raise StorageError(
                f"{self._path!r}: {len(block)} bytes came where {stop - start} were asked for"
            )
        return block

    def close(self) -> None:
        """There is nothing to let go of."""

    def _insist(self) -> None:
        try:
            now = self._look()
        except NotFound as error:
            raise SourceChanged(f"{self._path!r} has gone") from error
        if now.fingerprint != self.entry.fingerprint:
            raise SourceChanged(f"{self._path!r} is another version now")


class FsspecSink:
    """A new file, written through fsspec's file object, whose `with` is never used.

    At an exception ``with`` would finish the file, and so would being forgotten.
    """

    def __init__(self, file: Any, subject: str, *, durable: bool) -> None:
        self._file = file
        self._subject = subject
        self._durable = durable

    def write(self, block: bytes, /) -> None:
        """Append bytes."""
        with Translated(self._subject):
            self._file.write(block)

    def finish(self) -> None:
        """Close the file, which brings it to the storage."""
        with Translated(self._subject):
            if self._durable:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()

    def abort(self) -> None:
        """Discard an upload under way; nothing is written on the way out."""
        if self._file.closed:
            return
        with Translated(self._subject):
            if hasattr(self._file, "_upload_chunk"):
                self._file.closed = True  # or its destructor would finish the upload
                if hasattr(self._file, "discard") and getattr(self._file, "location", None):
                    self._file.discard()
            else:
                self._file.close()


class FsspecFiles:
    """Any fsspec file system by its public methods."""

    def __init__(
        self,
        connections: Connections,
        *,
        timeout: float,
        replace: Callable[[Any, str, str], object] | None = None,
        remove: Callable[[Any, str], object] | None = None,
        rmdir: Callable[[Any, str], object] | None = None,
        durable: bool = False,
    ) -> None:
        self._connections = connections
        self._timeout = timeout
        self._replace = replace or (lambda fs, source, target: fs.mv(source, target))
        self._remove = remove or (lambda fs, path: fs.rm_file(path))
        self._rmdir = rmdir or (lambda fs, path: fs.rmdir(path))
        self._durable = durable

    def _limit(self, fs: Any) -> dict[str, float]:
        return {"timeout": self._timeout} if fs.async_impl else {}

    def info(self, path: str, /) -> Entry:
        """Tell of a path. Raises NotFound."""
        with Translated(path), self._connections.use() as fs:
            return entry_of(_last(path), fs.info(path, **self._limit(fs)))

    def ls(self, path: str, /) -> list[Entry]:
        """Tell of all names in a directory. Raises NotFound."""
        with Translated(path), self._connections.use() as fs:
            found = fs.ls(path, detail=True, **self._limit(fs))
            entries = [entry_of(_last(one["name"]), one) for one in found]
            # Asked for a file, some file systems list the file itself.
            if len(entries) == 1 and found[0]["name"].strip("/") == path.strip("/"):
                raise NotFound(f"{path!r} is no directory")
            return [one for one in entries if one.name]

    def open(self, path: str, /) -> Source:
        """Open a file. Raises NotFound."""
        entry = self.info(path)
        if entry.is_directory:
            raise NotFound(f"{path!r} is a directory")

        def fetch(start: int, stop: int) -> bytes:
            with Translated(path), self._connections.use() as fs:
                return bytes(fs.cat_file(path, start=start, end=stop, **self._limit(fs)))

        return Checked(path, entry, fetch, lambda: self.info(path))

    def create(self, path: str, /) -> Sink:
        """Begin a new file. Raises NotFound when its directory is missing."""
        with Translated(path), self._connections.use() as fs:
            return FsspecSink(fs.open(path, "wb"), path, durable=self._durable)

    def newer(self, path: str, entry: Entry, than: Entry | None, /) -> Entry:
        """Insist on another fingerprint than that of `than`. Raises Unavailable."""
        if than is not None and entry.fingerprint == than.fingerprint:
            raise Unavailable(f"{path!r}: the store's clock is too coarse; try again in a moment")
        return entry

    def move(self, source: str, target: str, /) -> None:
        """Move a file onto another."""
        with Translated(target), self._connections.use() as fs:
            self._replace(fs, source, target)

    def remove(self, path: str, /) -> None:
        """Remove a file. Raises NotFound."""
        with Translated(path), self._connections.use() as fs:
            self._remove(fs, path)

    def mkdir(self, path: str, /) -> None:
        """Make one directory."""
        with Translated(path), self._connections.use() as fs:
            fs.mkdir(path, create_parents=False)

    def rmdir(self, path: str, /) -> None:
        """Remove an empty directory."""
        with Translated(path), self._connections.use() as fs:
            self._rmdir(fs, path)

    def close(self) -> None:
        """Let go of the file system."""
        self._connections.close()


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
