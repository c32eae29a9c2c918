"""Files over SFTP, by the connection and the channels of sshfs (asyncssh).

sshfs' own ranged reads give the whole file, and its move copies where a server cannot replace;
so the channels are spoken to directly. An open file is one version: a replaced file lives on
for those who have it open.
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, TypeVar

from forebay.errors import NotFound, NotSupported, SourceChanged, StorageError, Unavailable
from forebay_fsspec.clock import time_for
from forebay_fsspec.connections import Connections, begin, run
from forebay_fsspec.faults import Translated
from forebay_fsspec.files import Entry, Sink, Source, moment

T = TypeVar("T")

_AHEAD: Final = 8
"""Blocks of a body that wait for the server's word at the same time."""


def disconnect(fs: Any) -> None:
    """Close the channels and the connection of a file system."""

    async def close() -> None:
        await fs._pool.close()
        await fs._stack.aclose()

    run(fs, close(), 10)


class SftpSource:
    """One open file of a server."""

    def __init__(self, fs: Any, file: Any, path: str, entry: Entry, timeout: float) -> None:
        self.entry = entry
        self._fs = fs
        self._file = file
        self._path = path
        self._timeout = timeout

    def read(self, start: int, stop: int, /) -> bytes:
        """Read the half-open range. Raises SourceChanged."""
        with Translated(self._path):
            return run(self._fs, self._read(start, stop), self._timeout)

    async def _read(self, start: int, stop: int) -> bytes:
        block: bytes = await self._file.read(stop - start, start)
        now = _entry(self.entry.name, await self._file.stat())
        if now.fingerprint != self.entry.fingerprint:
            raise SourceChanged(f"{self._path!r} was written over while it was read")
        if len(block) != stop - start:
            raise StorageError(f"{self._path!r}: the server gave fewer bytes than it has")
        return block

    def close(self) -> None:
        """Close the file, without waiting for the server to say so."""
        begin(self._fs, _closed(self._file), self._timeout)


class SftpSink:
    """One new file of a server; blocks are on their way while the next one is made."""

    def __init__(self, fs: Any, file: Any, path: str, timeout: float) -> None:
        self._fs = fs
        self._file = file
        self._path = path
        self._timeout = timeout
        self._at = 0
        self._ahead: deque[Future[int]] = deque()

    def write(self, block: bytes, /) -> None:
        """Append bytes."""
        with Translated(self._path):
            if len(self._ahead) == _AHEAD:
                self._ahead.popleft().result()
            self._ahead.append(begin(self._fs, self._file.write(block, self._at), self._timeout))
        self._at += len(block)

    def finish(self) -> None:
        """Wait for every block, bring the file to the server's disk and close it."""
        with Translated(self._path):
            while self._ahead:
                self._ahead.popleft().result()
            run(self._fs, self._sync(), self._timeout)

    async def _sync(self) -> None:
        try:
            await self._file.fsync()
        except Exception as error:
            # An extension of OpenSSH; a server without it has no other way to ask.
            if type(error).__name__ != "SFTPOpUnsupported":
                raise
        await self._file.close()

    def abort(self) -> None:
        """Close the file whatever became of its blocks."""
        wait(self._ahead, self._timeout)  # a block behind the close would be an error of its own
        self._ahead.clear()
        begin(self._fs, _closed(self._file), self._timeout)


class SftpFiles:
    """Files and directories of one server; all threads share the connection's channels."""

    def __init__(self, connections: Connections, *, timeout: float) -> None:
        self._connections = connections
        self._timeout = timeout

    def _do(self, path: str, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        async def on_channel(fs: Any) -> T:
            async with AsyncExitStack() as stack:
                try:
                    channel = await stack.enter_async_context(fs._pool.get())
                except ValueError as error:  # and it would never try again
                    raise Unavailable("the server opens no channel for SFTP") from error
                return await work(channel)

        with Translated(path), self._connections.use() as fs:
            return run(fs, on_channel(fs), self._timeout)

    def info(self, path: str, /) -> Entry:
        """Tell of a path. Raises NotFound."""
        return _entry(path.rpartition("/")[2], self._do(path, lambda channel: channel.stat(path)))

    def ls(self, path: str, /) -> list[Entry]:
        """Tell of all names in a directory; of what a link leads to. Raises NotFound."""

        async def ls(channel: Any) -> list[Entry]:
            entries = []
            for found in await channel.readdir(path):
                if found.filename in ("", ".", ".."):
                    continue
                attributes = found.attrs
                if stat.S_ISLNK(attributes.permissions or 0):
                    try:
                        attributes = await channel.stat(f"{path}/{found.filename}")
                    except Exception as error:
                        if type(error).__name__ != "SFTPNoSuchFile":
                            raise
                        continue  # a link to nowhere
                if _is_kept(attributes):
                    entries.append(_entry(found.filename, attributes))
            return entries

        return self._do(path, ls)

    def open(self, path: str, /) -> Source:
        """Open a file. Raises NotFound."""

        async def opened(channel: Any) -> tuple[Any, Entry]:
            file = await channel.open(path, "rb")
            try:
                entry = _entry(path.rpartition("/")[2], await file.stat())
                if entry.is_directory:
                    raise NotFound(f"{path!r} is a directory")
            except BaseException:
                await _closed(file)
                raise
            return file, entry

        try:
            file, entry = self._do(path, opened)
        except NotFound:
            raise
        except StorageError as error:
            # Servers say "failure" to opening a directory; only that is the same as not found.
            with suppress(NotFound):
                if not self.info(path).is_directory:
                    raise
            raise NotFound(f"{path!r} is no file") from error
        return SftpSource(self._current(), file, path, entry, self._timeout)

    def create(self, path: str, /) -> Sink:
        """Begin a new file. Raises NotFound when its directory is missing."""
        file = self._do(path, lambda channel: channel.open(path, "wb"))
        return SftpSink(self._current(), file, path, self._timeout)

    def newer(self, path: str, entry: Entry, than: Entry | None, /) -> Entry:
        """Give the file a time of its own: servers tell whole seconds only.

        One that sets no times leaves it as it is, or raises if that is the time of `than`.
        """
        seconds = time_for(entry, than)

        async def touch(channel: Any) -> Any:
            await channel.utime(path, (seconds, seconds))
            return await channel.stat(path)

        try:
            return _entry(path.rpartition("/")[2], self._do(path, touch))
        except Unavailable:
            raise
        except StorageError:
            if than is not None and entry.modified <= than.modified:
                raise
            return entry

    def move(self, source: str, target: str, /) -> None:
        """Move a file onto another in one step.

        Raises NotSupported for a target that is there, from a server without OpenSSH's rename.
        """

        async def move(channel: Any) -> None:
            try:
                await channel.posix_rename(source, target)
            except Exception as error:
                if type(error).__name__ != "SFTPOpUnsupported":
                    raise
                await _rename_new(channel, source, target)

        self._do(target, move)

    def remove(self, path: str, /) -> None:
        """Remove a file. Raises NotFound."""
        self._do(path, lambda channel: channel.remove(path))

    def mkdir(self, path: str, /) -> None:
        """Make one directory."""
        self._do(path, lambda channel: channel.mkdir(path))

    def rmdir(self, path: str, /) -> None:
        """Remove an empty directory."""
        self._do(path, lambda channel: channel.rmdir(path))

    def close(self) -> None:
        """Close the connection."""
        self._connections.close()

    def _current(self) -> Any:
        with self._connections.use() as fs:
            return fs


async def _rename_new(channel: Any, source: str, target: str) -> None:
    if await channel.exists(target):
        raise NotSupported(
            f"{target!r}: the server lacks posix-rename@openssh.com, so an object cannot be "
            "replaced in one step; delete it first"
        )
    await channel.rename(source, target)


async def _closed(file: Any) -> None:
    # The connection may be the very thing that failed; the server then closes the file itself.
    with suppress(Exception):
        await file.close()


def _is_kept(attributes: Any) -> bool:
    mode = attributes.permissions or 0
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)


def _entry(name: str, attributes: Any) -> Entry:
    size, seconds = attributes.size or 0, attributes.mtime or 0
    nanoseconds = attributes.mtime_ns or 0
    return Entry(
        name,
        stat.S_ISDIR(attributes.permissions or 0),
        size,
        moment(seconds),
        f"{size:x}-{seconds:x}.{nanoseconds:x}",
    )
