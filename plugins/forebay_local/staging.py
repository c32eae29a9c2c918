"""Where bytes wait until they are whole: ``.forebay/staging`` on the store's own file system.

A staging file is locked as long as somebody writes it, so that whoever opens the store can
tell the leavings of a dead process from the work of a living one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from forebay.streams import BLOCK
from forebay_local import attributes

_FRESH = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SEEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CANNOT_RESERVE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


@contextmanager
def locked(fd: int) -> Iterator[None]:
    """Hold the lock of an open directory; every thread needs a descriptor of its own."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


class StagedFile:
    """A file that nobody sees yet; it stays open after it was put in its place."""

    def __init__(self, area: int, name: str, fd: int) -> None:
        self._area = area
        self._name: str | None = name
        self.fd = fd
        self.size = 0

    def reserve(self, size: int) -> None:
        """Claim room for `size` bytes, so that a full disk says so before the body is read."""
        if size < BLOCK:  # one write tells as much
            return
        try:
            os.posix_fallocate(self.fd, 0, size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise

    def write(self, block: bytes) -> None:
        """Append bytes."""
        rest = memoryview(block)
        while rest:
            count = os.write(self.fd, rest)
            self.size += count
            rest = rest[count:]

    def rename(self, directory: int, name: str) -> None:
        """Put the file in its place, over a file that is there."""
        assert self._name is not None, "a staged file is put in its place once"
        os.rename(self._name, name, src_dir_fd=self._area, dst_dir_fd=directory)
        self._name = None

    def discard(self) -> None:
        """Close the file, and remove it when it never got to its place."""
        if self._name is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._area)
        os.close(self.fd)


class Staging:
    """The staging directory of one store, given by an open descriptor, which it takes over."""

    def __init__(self, area: int) -> None:
        self._area = area

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._area)

    def file(self) -> StagedFile:
        """Give a fresh, locked file, which the caller discards in the end, come what may."""
        while True:
            name = secrets.token_hex(16)
            fd = os.open(name, _FRESH, 0o666, dir_fd=self._area)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                linked = os.fstat(fd).st_nlink > 0
            except OSError:
                os.close(fd)
                raise
            if linked:
                return StagedFile(self._area, name, fd)
            os.close(fd)  # a sweep was faster than our lock

    def place_directory(self, parent: int, name: str) -> None:
        """Make a directory appear with the mark of an implied one already on it.

        The caller holds the parent's lock and saw that `name` is free.
        """
        own = secrets.token_hex(16)
        os.mkdir(own, dir_fd=self._area)
        try:
            fd = os.open(own, _DIRECTORY, dir_fd=self._area)
            try:
                attributes.mark_implied(fd)
            finally:
                os.close(fd)
            os.rename(own, name, src_dir_fd=self._area, dst_dir_fd=parent)
        except OSError:
            with suppress(FileNotFoundError):
                os.rmdir(own, dir_fd=self._area)
            raise

    def sweep(self) -> int:
        """Remove what no living process holds; tell how many."""
        removed = 0
        for name in os.listdir(self._area):
            try:
                removed += self._sweep_one(name)
            except FileNotFoundError:
                continue  # put in its place, or swept by another process, meanwhile
            except PermissionError:
                continue  # another user's process put it there, and will sweep it
        return removed

    def _sweep_one(self, name: str) -> int:
        try:
            fd = os.open(name, _SEEN, dir_fd=self._area)
        except IsADirectoryError:
            os.rmdir(name, dir_fd=self._area)  # its maker, should it live, makes another
            return 1
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=self._area)
        except BlockingIOError:
            return 0
        finally:
            os.close(fd)
        return 1
