"""Members of an archive, read only, opened anew when the archive itself has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from forebay.errors import NotFound, SourceChanged, StorageError, Unavailable
from forebay.stores.under import UnderStore
from forebay_fsspec.connections import Connections
from forebay_fsspec.faults import Translated
from forebay_fsspec.files import Entry, FsspecFiles, Source, entry_of


class MemberSource:
    """One open member, read in order; it keeps its own copy of the open archive."""

    def __init__(
        self, use: Any, file: Any, path: str, entry: Entry, insist: Callable[[], object]
    ) -> None:
        self.entry = entry
        self._use = use
        self._file = file
        self._path = path
        self._insist = insist
        self._at = 0

    def read(self, start: int, stop: int, /) -> bytes:
        """Read the half-open range; cheap forwards, a packed member backwards is not.

        Raises SourceChanged.
        """
        with Translated(self._path):
            try:
                if start != self._at:
                    self._file.seek(start)
                content: bytes = self._file.read(stop - start)
            finally:  # it may have been written over in its place, whatever came of reading
                self._insist()
        self._at = stop
        if len(content) != stop - start:
            raise StorageError(f"{self._path!r}: the archive ends within it")
        return content

    def close(self) -> None:
        """Let go of the member and of the archive."""
        self._file.close()
        self._use.__exit__(None, None, None)


class ArchiveFiles(FsspecFiles):
    """The members of one archive, which is the object `key` of `store`.

    A member's fingerprint is the archive's: nothing in it changes but with the whole.
    """

    def __init__(
        self, connections: Connections, store: UnderStore, key: str, *, timeout: float
    ) -> None:
        super().__init__(connections, timeout=timeout)
        self._store = store
        self._key = key
        self._seen: str | None = None
        self._lock = threading.Lock()

    def info(self, path: str, /) -> Entry:
        """Tell of a path. Raises NotFound."""
        version = self._fresh()
        return _of_version(super().info(path.strip("/")), version)

    def ls(self, path: str, /) -> list[Entry]:
        """Tell of all names in a directory. Raises NotFound."""
        version = self._fresh()
        return [_of_version(one, version) for one in super().ls(path.strip("/"))]

    def open(self, path: str, /) -> Source:
        """Open a member. Raises NotFound, SourceChanged."""
        version = self._fresh()
        use = self._connections.use()
        with Translated(path):
            fs = use.__enter__()
            try:
                entry = entry_of(path.rpartition("/")[2], fs.info(path.strip("/")))
                if entry.is_directory:
                    raise NotFound(f"{path!r} is a directory")
                file = fs.open(path.strip("/"), "rb")
                self._insist_on(version)
            except BaseException:
                use.__exit__(None, None, None)
                raise
        entry = _of_version(entry, version)
        return MemberSource(use, file, path, entry, partial(self._insist_on, version))

    def close(self) -> None:
        """Let go of the archive and of the store it lies in."""
        super().close()
        self._store.close()

    def _look(self) -> str:
        try:
            return self._store.head(self._key).fingerprint
        except NotFound as error:  # which is not to say that each of its members was deleted
            raise Unavailable(f"the archive {self._key!r} is not there") from error

    def _insist_on(self, version: str) -> None:
        if self._look() != version:
            raise SourceChanged(f"the archive {self._key!r} has just been replaced")

    def _fresh(self) -> str:
        """Tell the archive's version, and let go of what is open of another one."""
        version = self._look()
        with self._lock:
            if self._seen != version:
                self._connections.close()
                self._seen = version
        return version


def _of_version(entry: Entry, version: str) -> Entry:
    return replace(entry, fingerprint=f"{version}-{entry.size:x}")
