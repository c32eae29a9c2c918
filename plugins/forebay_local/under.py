"""The under store over a local directory: every object a plain file, readable without us."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from forebay.errors import (
    ConfigurationError,
    NotFound,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    StorageError,
)
from forebay.stores.listing import roll_up
from forebay.streams import BLOCK, Reader
from forebay.types import Attributes, ByteRange, Capabilities, CommonPrefix, ObjectInfo
from forebay_local import attributes as kept
from forebay_local import names, ticks
from forebay_local.attributes import Mark
from forebay_local.changes import Changes
from forebay_local.faults import Translated
from forebay_local.reader import LocalReader
from forebay_local.scan import Scanner
from forebay_local.staging import StagedFile, Staging, locked
from forebay_local.tree import Directory, Tree
from forebay_local.walk import Walk

_OPTIONS: dict[str, tuple[str, ...]] = {"durability": ("disk", "process")}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)
_EARLIEST = datetime.min.replace(tzinfo=UTC)


class LocalUnderStore:
    """Objects as files below `root`, a directory that is made when it is missing.

    With `durable` a put or delete has reached the disk before it returns.
    """

    def __init__(self, root: str, *, durable: bool = True) -> None:
        self._durable = durable
        with Translated(root):
            self._root = _open_root(root)
            try:
                staging, marks, folds = _open_staging(self._root)
            except (OSError, ConfigurationError):
                os.close(self._root)
                raise
        self._tree = Tree(self._root, marks=marks, folds=folds)
        self._changes = None if staging is None else Changes(self._tree, staging, durable=durable)
        self._scanner = Scanner(self._tree)
        self.capabilities = Capabilities(
            any_key=True,
            atomic_put=True,
            attributes=marks,
            local_files=True,
            shared_between_processes=True,
        )

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, Any]) -> LocalUnderStore:
        """Open the store of a ``file:///absolute/path``. Raises ConfigurationError."""
        cls.check(uri, options)
        return cls(_path_of(uri), durable=options.get("durability", "disk") == "disk")

    @staticmethod
    def check(uri: str, options: Mapping[str, Any]) -> None:
        """Raise ConfigurationError with every fault; makes no directory."""
        faults = []
        scheme, found, _ = uri.partition("://")
        path = _path_of(uri)
        if scheme != "file" or not found or not path.startswith("/") or "\0" in path:
            faults.append(f"{uri!r}: write file:///absolute/path")
        for name, value in options.items():
            if name not in _OPTIONS:
                near = difflib.get_close_matches(name, _OPTIONS, n=1, cutoff=0) or [""]
                faults.append(f"{name!r} is no option of a file:// store; nearest: {near[0]!r}")
            elif value not in _OPTIONS[name]:
                faults.append(f"{name} = {value!r}: must be one of {', '.join(_OPTIONS[name])}")
        if faults:
            raise ConfigurationError(*faults)

    def close(self) -> None:
        """Let go of the root."""
        if self._changes is not None:
            self._changes.staging.close()
        os.close(self._root)

    # --- reading ---------------------------------------------------------------------

    def head(self, key: str, /) -> ObjectInfo:
        """Tell of one object. Raises NotFound."""
        with self._opened(key) as (_, info, _):
            return info

    @contextmanager
    def open(
        self, key: str, /, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> Iterator[LocalReader]:
        """Open an object for reading.

        Raises NotFound, PreconditionFailed; reading raises SourceChanged.
        """
        with self._opened(key) as (fd, info, at):
            if if_match is not None and if_match != info.fingerprint:
                raise PreconditionFailed(f"{key!r} is not the version {if_match}")
            yield LocalReader(fd, info, byte_range, at)

    def list(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = ""
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List objects in order, one directory at a time."""
        if "\0" in prefix or not names.is_utf8(prefix):
            return  # no key can have it
        walk = Walk(self._tree, self._scanner, _describe, self._find, self._marker)
        with Translated(prefix):
            if delimiter == "/":
                yield from walk.level(prefix, start_after)
                return
            every = walk.keys(prefix, start_after)
            if not delimiter:
                yield from every
                return
            yield from roll_up(every, prefix=prefix, delimiter=delimiter, start_after=start_after)

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
        segments = names.split(key)
        if if_match is not None or if_none_match:
            raise NotSupported("a file:// store has no conditional put")
        changes = self._writable()
        with Translated(key):
            staged = changes.staging.file()
        try:
            self._fill(staged, key, body, size)
            with Translated(key):
                return self._publish(changes, staged, key, segments, attributes)
        finally:
            staged.discard()

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success."""
        segments = names.split(key)
        changes = self._writable()
        with Translated(key):
            if key.endswith("/"):
                changes.remove_directory(segments[:-1])
            else:
                changes.remove_file(segments)

    # --- inside ----------------------------------------------------------------------

    def _writable(self) -> Changes:
        if self._changes is None:
            raise PermissionDenied("the file system is read-only for us")
        return self._changes

    def _fill(self, staged: StagedFile, key: str, body: Reader, size: int | None) -> None:
        with Translated(key):
            staged.reserve(size or 0)
        while block := body.read(BLOCK):  # what it raises is the caller's, an OSError too
            with Translated(key):
                staged.write(block)
            if size is not None and staged.size > size:
                break
        if size is not None and staged.size != size:
            raise StorageError(f"{key!r}: the body is not of the {size} bytes announced")

    def _publish(
        self,
        changes: Changes,
        staged: StagedFile,
        key: str,
        segments: Sequence[str],
        attributes: Attributes,
    ) -> ObjectInfo:
        if not segments[-1] and not staged.size and self._tree.marks:
            return _marked(key, *changes.mark(segments[:-1], attributes))
        keeps = self.capabilities.attributes
        if keeps:
            kept.write(staged.fd, attributes)
        ticks.set_apart(staged.fd)
        if self._durable:
            os.fdatasync(staged.fd)  # never again when it fails: the pages count as clean then
        changes.publish(staged, segments)
        # Only now, because a rename changes the ctime; the descriptor is surely our own file's.
        return _describe(key, os.fstat(staged.fd), attributes if keeps else None)

    @contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, ObjectInfo, os.stat_result]]:
        segments = names.split(key)
        with Translated(key):
            fd, info, at = self._open(key, segments)
        try:
            yield fd, info, at
        finally:
            os.close(fd)

    def _open(self, key: str, segments: Sequence[str]) -> tuple[int, ObjectInfo, os.stat_result]:
        fd = self._tree.open_file(segments)
        if fd is None:
            info = self._find_marker(key, segments)
            if info is None:
                raise NotFound(f"{key!r}: there is no such object")
            fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            return fd, info, os.fstat(fd)
        try:
            found = kept.read(fd, key) if self.capabilities.attributes else kept.guess(key)
            at = ticks.rested(fd)
            return fd, _describe(key, at, found), at
        except OSError:
            os.close(fd)
            raise

    def _find(self, key: str) -> ObjectInfo | None:
        fd = self._tree.open_file(names.split(key))
        if fd is None:
            return None
        try:
            return _describe(key, os.fstat(fd))
        finally:
            os.close(fd)

    def _find_marker(self, key: str, segments: Sequence[str]) -> ObjectInfo | None:
        if segments[-1] or len(segments) == 1:
            return None
        with self._tree.directories(segments[:-1]) as found:
            empty = bool(found) and not any(map(_holds_anything, found))
            return self._marker(key, found, empty)

    def _marker(self, key: str, found: Sequence[Directory], empty: bool) -> ObjectInfo | None:
        """Tell of the object that a directory is: a marked one, or an empty unmarked one."""
        marks = [kept.read_mark(d.fd) if self._tree.marks else None for d in found]
        for directory, mark in zip(found, marks, strict=True):
            if mark is not None and not mark.implied:
                return _marked(key, os.fstat(directory.fd), mark)
        if empty and not any(marks):
            at = os.fstat(found[0].fd)
            return ObjectInfo(key, 0, _moment(at.st_mtime_ns), _fingerprint(at, 0))
        return None


def _marked(key: str, at: os.stat_result, mark: Mark) -> ObjectInfo:
    # Not the directory's times: they change with every child that comes and goes.
    fingerprint = f"{at.st_dev:x}-{at.st_ino:x}-{mark.token}"
    modified = _moment(mark.modified * 1_000_000)
    return ObjectInfo(key, 0, modified, fingerprint, attributes=mark.attributes)


def _describe(key: str, found: os.stat_result, attributes: Attributes | None = None) -> ObjectInfo:
    size = found.st_size
    modified = _moment(found.st_mtime_ns)
    return ObjectInfo(key, size, modified, _fingerprint(found, size), attributes=attributes)


def _fingerprint(at: os.stat_result, size: int) -> str:
    times = f"{at.st_mtime_ns:x}-{at.st_ctime_ns:x}"
    return f"{at.st_dev:x}-{at.st_ino:x}-{size:x}-{times}"


def _moment(nanoseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return _LATEST if nanoseconds > 0 else _EARLIEST


def _holds_anything(directory: Directory) -> bool:
    with os.scandir(directory.fd) as entries:
        return next(entries, None) is not None


def _open_root(path: str) -> int:
    try:
        os.makedirs(path, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (NotADirectoryError, FileExistsError) as error:
        raise ConfigurationError(f"{path!r} is not a directory") from error


def _open_staging(root: int) -> tuple[Staging | None, bool, bool]:
    """Open and sweep the staging area; tell of it, and whether marks work and names fold.

    On a file system that is read-only for us there is no area, and marks are only read.
    """
    try:
        private = _open_made(names.PRIVATE, root)
        try:
            marks = kept.supported(private) and _locks(private)
            return _sweep(private), marks, _folds(root, private)
        finally:
            os.close(private)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return None, True, False


def _open_made(name: str, parent: int) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except NotADirectoryError as error:
        raise ConfigurationError(f"{name!r} in the store's root is not a directory") from error


def _sweep(private: int) -> Staging:
    staging = Staging(_open_made("staging", private))
    try:
        staging.sweep()
    except OSError:
        staging.close()
        raise
    return staging


def _locks(directory: int) -> bool:
    try:
        with locked(directory):
            return True
    except OSError:
        return False  # some network file systems lock files only


def _folds(root: int, private: int) -> bool:
    try:
        twin = os.stat(names.PRIVATE.upper(), dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(twin, os.fstat(private))


def _path_of(uri: str) -> str:
    return unquote(uri.partition("://")[2].removeprefix("localhost"))
