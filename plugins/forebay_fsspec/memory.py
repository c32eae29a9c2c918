"""Files of fsspec's memory file system, which keeps no directory apart from a file by itself."""

from __future__ import annotations

import threading
from io import BytesIO
from typing import Any

from forebay.errors import NotFound, StorageError
from forebay_fsspec.connections import Connections
from forebay_fsspec.faults import Translated
from forebay_fsspec.files import Entry, FsspecFiles, Sink, Source, entry_of


class MemorySource:
    """The bytes of one version: a file in memory is replaced, never changed."""

    def __init__(self, entry: Entry, content: bytes) -> None:
        self.entry = entry
        self._content = content

    def read(self, start: int, stop: int, /) -> bytes:
        """Give the half-open range."""
        return self._content[start:stop]

    def close(self) -> None:
        """There is nothing to let go of."""


class MemorySink:
    """Collects a body; the file system gets it whole."""

    def __init__(self, files: MemoryFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._content = BytesIO()

    def write(self, block: bytes, /) -> None:
        """Append bytes."""
        self._content.write(block)

    def finish(self) -> None:
        """Hand the bytes to the file system."""
        self._files.pipe(self._path, self._content.getvalue())

    def abort(self) -> None:
        """Forget the bytes."""
        self._content.close()


class MemoryFiles(FsspecFiles):
    """One process's files; a lock stands for the checks that a disk makes at a rename."""

    def __init__(self, connections: Connections, *, timeout: float) -> None:
        super().__init__(connections, timeout=timeout)
        self._changing = threading.RLock()

    def open(self, path: str, /) -> Source:
        """Open a file. Raises NotFound."""
        with Translated(path), self._connections.use() as fs:
            file = fs.store.get(path)
            if file is None:
                raise NotFound(f"{path!r}: there is no such file")
            return MemorySource(_entry(path, file), bytes(file.getbuffer()))

    def info(self, path: str, /) -> Entry:
        """Tell of a path. Raises NotFound."""
        with Translated(path), self._connections.use() as fs:
            file = fs.store.get(path)
            if file is not None:
                return _entry(path, file)
            return entry_of(path.rpartition("/")[2], fs.info(path))

    def ls(self, path: str, /) -> list[Entry]:
        """Tell of all names in a directory; times as `info` tells them. Raises NotFound."""
        with Translated(path), self._connections.use() as fs:
            if path in fs.store:
                raise NotFound(f"{path!r} is no directory")
            found = []
            for one in fs.ls(path, detail=True):
                name = one["name"].rpartition("/")[2]
                file = fs.store.get(one["name"])
                found.append(entry_of(name, one) if file is None else _entry(one["name"], file))
            return found

    def create(self, path: str, /) -> Sink:
        """Begin a new file. Raises NotFound when its directory is missing."""
        if not self.info(path.rpartition("/")[0]).is_directory:
            raise NotFound(f"{path!r}: its directory is a file")
        return MemorySink(self, path)

    def pipe(self, path: str, content: bytes) -> None:
        """Make a file of `content`, whole."""
        with self._changing, Translated(path), self._connections.use() as fs:
            fs.pipe_file(path, content)

    def move(self, source: str, target: str, /) -> None:
        """Move a file onto another."""
        with self._changing, Translated(target), self._connections.use() as fs:
            if not self.info(target.rpartition("/")[0]).is_directory:
                raise NotFound(f"{target!r}: its directory is a file")
            if target not in fs.store and _is_there(self, target):
                raise StorageError(f"{target!r} is a directory")
            file = fs.store[source]
            file.path = target
            fs.store[target] = file
            del fs.store[source]

    def mkdir(self, path: str, /) -> None:
        """Make one directory."""
        with self._changing:
            super().mkdir(path)

    def rmdir(self, path: str, /) -> None:
        """Remove an empty directory."""
        with self._changing:
            super().rmdir(path)


def _is_there(files: MemoryFiles, path: str) -> bool:
    try:
        files.info(path)
    except NotFound:
        return False
    return True


def _entry(path: str, file: Any) -> Entry:
    told = {"size": file.size, "type": "file", "created": file.created}
    return entry_of(path.rpartition("/")[2], told)
