"""The page store on a disk, or on a tmpfs: one file a page, shared by every process."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from forebay.errors import ConfigurationError, StorageError, Unavailable
from forebay.streams import Chunk
from forebay.types import PageId
from forebay_local import block_sums, shelves
from forebay_local.faults import Translated, translated

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
OPTIONS: Final = ("path", "verify")
TIER: Final = frozenset(["name", "kind", "capacity", "eviction", "min_free", "plugin"])
"""Keys of a tier that are none of its shelves' business."""
VERIFY: Final = ("first", "always", "never")
LAZY: Final = 64 << 20
"""Bytes above which a page is verified block by block as it is read, not when it is opened."""
REMEMBERED: Final = 1 << 20
"""Verified pages that are remembered before all are forgotten again."""


class DiskPageWriter:
    """One page on its way to the shelf, in a staging file of the same file system.

    `on_sound` is called with the mark of a page that is on the shelf.
    """

    def __init__(
        self, root: Path, page: PageId, size: int | None, on_sound: Callable[[int], None]
    ) -> None:
        shard, name = shelves.place(page)
        self._staging = root / "staging"
        self._shard = f"{root}/data/{shard}"
        self._target = f"{self._shard}/{name}"
        self._size = size
        self._on_sound = on_sound
        self._written = 0
        self._sums = block_sums.BlockSums()
        self._fd = -1
        with Translated(self._target):
            self._fd, self._staged = shelves.stage(self._staging)
            try:
                if size:
                    _reserve(self._fd, size)
            except BaseException:
                self.abort()
                raise

    def write(self, block: Chunk, /) -> None:
        """Append bytes. Raises NoSpace."""
        fd = self._open_fd()
        rest = memoryview(block)
        try:
            with Translated(self._target):
                while rest:
                    rest = rest[os.write(fd, rest) :]
        except BaseException:
            self.abort()  # nobody may commit what holds half a block
            raise
        self._sums.update(block)
        self._written += len(block)

    def commit(self, *, sync: bool) -> None:
        """Make the page visible, whole; with `sync` its bytes and its name are on the disk."""
        fd = self._open_fd()
        shelved = False
        try:
            with Translated(self._target):
                if self._size not in (None, self._written):
                    raise StorageError(
                        f"{self._target}: announced {self._size} bytes, given {self._written}"
                    )
                sums = self._sums.packed()
                large = len(sums) > block_sums.ATTRIBUTE_LIMIT
                if not large:
                    block_sums.attach(fd, sums)
                if sync:
                    os.fdatasync(fd)
                os.rename(self._staged, self._target)
                shelved = True
                if large:
                    self._put_beside(block_sums.beside(fd, sums), sync)
                if sync:
                    shelves.sync_directory(self._shard)
        except BaseException:
            if shelved:
                # After a failed sync nothing about this file can be believed.
                with suppress(OSError):
                    os.unlink(self._target)
            self.abort()
            raise
        self._fd = -1
        # Its sums were made of these very bytes: nothing to hold them against here.
        self._on_sound(_mark(os.fstat(fd)))
        os.close(fd)

    def abort(self) -> None:
        """Forget what was written."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
            with Translated(self._staged), suppress(FileNotFoundError):
                os.unlink(self._staged)

    def _put_beside(self, content: bytes, sync: bool) -> None:
        fd, path = shelves.stage(self._staging)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(content)
            if sync:
                os.fdatasync(fd)
            os.rename(path, self._target + shelves.BESIDE)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)

    def _open_fd(self) -> int:
        if self._fd < 0:
            raise StorageError(f"{self._target}: the page writer has ended already")
        return self._fd


class DiskPageReader:
    """One open page; `sums` are those of a large page that is verified as it is read.

    `on_sound` is called when it was read to its last block.
    """

    __slots__ = ("_fd", "_on_sound", "_path", "_sums", "_verified", "size")

    def __init__(
        self, fd: int, size: int, path: str, sums: bytes | None, on_sound: Callable[[], None]
    ) -> None:
        self._fd = fd
        self._on_sound = on_sound
        self._path = path
        self._sums = sums
        self._verified: set[int] = set()
        self.size = size

    def pread(self, length: int, offset: int, /) -> bytes:
        """Read up to `length` bytes at `offset`; fewer only at the end. Raises Corrupt."""
        with Translated(self._path):
            if self._sums is None:
                return block_sums.read_at(self._fd, length, offset)
            return self._read_checked(self._sums, offset, min(offset + length, self.size))

    def fileno(self) -> int | None:
        """Give the descriptor of the file that holds exactly this page, once it is verified."""
        return self._fd if self._sums is None else None

    def close(self) -> None:
        """Let go of the page."""
        if self._fd >= 0:
            if self._sums is not None and 4 * len(self._verified) == len(self._sums):
                self._on_sound()
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _read_checked(self, sums: bytes, start: int, stop: int) -> bytes:
        pieces = []
        while start < stop:
            number, skip = divmod(start, block_sums.BLOCK)
            length = min(block_sums.BLOCK - skip, stop - start)
            if number in self._verified:
                piece = block_sums.read_at(self._fd, length, start)
            else:
                block = block_sums.read_checked(self._fd, number, sums, self._path)
                self._verified.add(number)
                piece = block[skip : skip + length]
            pieces.append(piece)
            start += length
        return b"".join(pieces)


class DiskPageStore:
    """Keeps each page as a file below `path`.

    `verify` says when bytes are held against their CRC32C: ``first`` (when this process first
    opens a page that it did not write), ``always`` (at every open) or ``never``. Pages over
    64 MiB are verified block by block by `pread`, and have no `fileno` until all of it was.
    Raises ConfigurationError for a directory that cannot be used.
    """

    shared_between_processes = True

    def __init__(self, path: Path, *, verify: str = "first") -> None:
        self._root = path.absolute()
        self._verify = verify
        self._sound: set[int] = set()
        self.durable = shelves.prepare(self._root)
        self._device = self._root.stat().st_dev
        with Translated(str(self._root)):
            shelves.sweep(self._root / "staging")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> DiskPageStore:
        """Open the store of one of ``[[cache.tiers]]``: `path`, `verify`."""
        cls.check(options)
        return cls(Path(options["path"]), verify=options.get("verify", "first"))

    @staticmethod
    def check(options: Mapping[str, Any]) -> None:
        """Raise ConfigurationError with every fault; makes no directory."""
        faults = []
        for name in options:
            if name not in OPTIONS and name not in TIER:
                near = difflib.get_close_matches(name, OPTIONS, 1, 0)[0]
                faults.append(f"cache.tiers: unknown option {name!r}; the nearest is {near!r}")
        path, verify = options.get("path", ""), options.get("verify", "first")
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            faults.append("cache.tiers: `path` must name the directory of a disk tier")
        if verify not in VERIFY:
            faults.append(f"cache.tiers: `verify` is one of {', '.join(VERIFY)}, not {verify!r}")
        if faults:
            raise ConfigurationError(*faults)

    def writer(self, page: PageId, /, size: int | None) -> DiskPageWriter:
        """Begin a page of `size` bytes (None: not known). Raises NoSpace, InvalidKey."""
        return DiskPageWriter(self._root, page, size, self._believe)

    def open(self, page: PageId, /) -> DiskPageReader | None:
        """Open a page, or say that it is not there. Raises Corrupt."""
        path = self._path(page)
        try:  # no `with`: this is done for every page of every read
            fd = os.open(path, _READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translated(error, path) from error
        try:
            status = os.fstat(fd)
            mark = _mark(status)
            sums = None
            if self._verify != "never" and mark not in self._sound:
                sums = self._verified(fd, status.st_size, path, mark)
        except OSError as error:
            os.close(fd)
            raise translated(error, path) from error
        except BaseException:
            os.close(fd)
            raise
        return DiskPageReader(fd, status.st_size, path, sums, partial(self._believe, mark))

    def verify(self, page: PageId, /) -> bool:
        """Hold all bytes of a page against its checksums now; False when it is not there."""
        path = self._path(page)
        with Translated(path):
            try:
                fd = os.open(path, _READ)
            except FileNotFoundError:
                return False
            try:
                sums = block_sums.find(fd, path + shelves.BESIDE)
                if sums is not None:
                    block_sums.check_count(os.fstat(fd).st_size, sums, path)
                    for number in range(len(sums) // 4):
                        block_sums.read_checked(fd, number, sums, path)
            finally:
                os.close(fd)
        return True

    def mend(self) -> None:
        """Make the directories again if they are gone, unless that was another device's place."""
        with Translated(str(self._root)):
            place = self._root if self._root.exists() else self._root.parent
            if place.stat().st_dev != self._device:
                raise Unavailable(f"{self._root} is not mounted any more")
        try:
            shelves.prepare(self._root)
        except ConfigurationError as fault:
            raise StorageError(str(fault)) from fault

    def delete(self, page: PageId, /) -> bool:
        """Remove a page; tell whether it was there."""
        path = self._path(page)
        with Translated(path):
            try:
                os.unlink(path)
            except FileNotFoundError:
                return False
            if not page.page_size:
                with suppress(FileNotFoundError):
                    os.unlink(path + shelves.BESIDE)
        return True

    def pages(self) -> Iterator[tuple[PageId, int]]:
        """Give every page and its size, the longest unwritten first."""
        found = []
        for shard in shelves.SHARDS:
            with Translated(shard), os.scandir(f"{self._root}/data/{shard}") as entries:
                for entry in entries:
                    if page := shelves.page_of(entry.name):
                        with suppress(FileNotFoundError):
                            status = entry.stat(follow_symlinks=False)
                            found.append((status.st_mtime_ns, page, status.st_size))
                    elif entry.name.endswith(shelves.BESIDE):
                        self._drop_orphan(entry.path)
        found.sort(key=lambda each: each[0])
        for _, page, size in found:
            yield page, size

    def close(self) -> None:
        """Let go; pages that are open stay readable."""
        self._sound.clear()

    def _path(self, page: PageId) -> str:
        shard, name = shelves.place(page)
        return f"{self._root}/data/{shard}/{name}"

    def _verified(self, fd: int, size: int, path: str, mark: int) -> bytes | None:
        """Verify an open page, or give the sums with which its reader has to."""
        sums = block_sums.find(fd, path + shelves.BESIDE)
        if sums is not None:
            block_sums.check_count(size, sums, path)
            if size > LAZY:
                return sums
            for number in range(len(sums) // 4):
                block_sums.read_checked(fd, number, sums, path)
        self._believe(mark)
        return None

    def _believe(self, mark: int) -> None:
        """Remember that a page was verified, if once is enough."""
        if self._verify == "first":
            if len(self._sound) >= REMEMBERED:
                self._sound.clear()
            self._sound.add(mark)

    def _drop_orphan(self, path: str) -> None:
        # A page is there before its sums are: sums without a page are a dead page's.
        if not os.path.exists(path.removesuffix(shelves.BESIDE)):
            with suppress(FileNotFoundError):
                os.unlink(path)


def _mark(status: os.stat_result) -> int:
    """Tell one state of one file from others."""
    return hash((status.st_ino, status.st_mtime_ns, status.st_size))


def _reserve(fd: int, size: int) -> None:
    """Take the room now, so that a full disk shows before the body is read."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
