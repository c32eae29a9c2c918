"""Finding the way from keys to files, one directory at a time.

Every step opens one name below an open directory and follows no symbolic link, so no key and
no race can lead out of the root, and no path is too long. A segment may be found under its
plain name or under an escape; the plain one goes first, everywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from forebay_local import attributes, names
from forebay_local.faults import NOT_THERE
from forebay_local.names import DIRECTORY, FILE, MORE

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

Place = tuple[str, ...]
"""Names on disk from the root down."""


@dataclass(frozen=True, slots=True)
class Directory:
    """An open directory and where it is."""

    fd: int
    place: Place


class Tree:
    """The files below one root.

    `marks`: directories carry extended attributes and locks. `folds`: the file system takes
    names that differ in case for one.
    """

    def __init__(self, root: int, *, marks: bool, folds: bool) -> None:
        self._root = root
        self._folds = folds
        self.marks = marks

    def enter(self, parent: int, name: str) -> int | None:
        """Open the directory `name` below an open one; None when there is none."""
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            raise
        if self._folds and not self._exact(parent, name):
            os.close(fd)
            return None
        return fd

    def stat_file(self, parent: int, name: str) -> os.stat_result | None:
        """Tell of the regular file `name` below an open directory; None when there is none."""
        found = self.lstat(parent, name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        return None if self._folds and not self._exact(parent, name) else found

    def open_file(self, segments: Sequence[str]) -> int | None:
        """Open the file of a key for reading; None when there is none."""
        fd = self._open_plain(segments)
        if fd is None:
            fd = self._open_any(segments)
        # An overwrite may have moved it from its escape to its plain name between the two.
        return self._open_plain(segments) if fd is None else fd

    @contextmanager
    def directories(self, segments: Sequence[str]) -> Iterator[list[Directory]]:
        """Open every directory that stands for `segments`, the plain ones first."""
        with ExitStack() as keep:
            keep.callback(_close_all, found := [Directory(self.open_root(), ())])
            for segment in segments:
                below: list[Directory] = []
                keep.callback(_close_all, below)
                self.descend(found, segment, below)
                _close_all(found)
                found = below
            yield list(found)

    def descend(self, parents: list[Directory], segment: str, into: list[Directory]) -> None:
        """Open every directory of a segment below `parents`; the caller closes `into`."""
        for parent in parents:
            for chain in names.chains(segment, DIRECTORY, at_root=not parent.place):
                fd = self.follow(parent.fd, chain, self.enter)
                if fd is not None:
                    into.append(Directory(fd, parent.place + chain))

    def files(self, segments: Sequence[str]) -> list[Place]:
        """Give every place that holds a file of the key; the first is the one that counts."""
        with closing(self._candidates(segments)) as candidates:
            return [place for fd, place in candidates if self.stat_file(fd, place[-1])]

    @contextmanager
    def opened(self, place: Place) -> Iterator[int | None]:
        """Open the directory at a place; None when it is gone."""
        root = self.open_root()
        fd = None
        try:
            fd = self.follow(root, place, self.enter)
            yield fd
        finally:
            if fd is not None:
                close_unless(fd, root)
            os.close(root)

    def holds_key(self, place: Place) -> bool:
        """Tell whether any key lies in or below a directory; ends at the first it meets."""
        pending = [place]
        while pending:
            here = pending.pop()
            with self.opened(here) as fd:
                if fd is None:
                    continue
                empty = True
                with os.scandir(fd) as entries:
                    for entry in entries:
                        if not here and entry.name == names.PRIVATE:
                            continue
                        empty = False
                        if not names.is_utf8(entry.name):
                            continue
                        if entry.is_file(follow_symlinks=False):
                            if names.role_of(entry.name) in (None, FILE):
                                return True
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            pending.append((*here, entry.name))
                if here and names.role_of(here[-1]) != MORE and self._stands(fd, empty=empty):
                    return True
        return False

    def open_root(self) -> int:
        """Open the root anew: reading a directory moves the offset, which duplicates share."""
        return os.open(".", _DIRECTORY, dir_fd=self._root)

    def lstat(self, parent: int, name: str) -> os.stat_result | None:
        """Tell of whatever has the name below an open directory; None when nothing has."""
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            raise

    def follow(
        self, start: int, chain: Sequence[str], step: Callable[[int, str], int | None]
    ) -> int | None:
        """Take one step a name; gives `start` itself for no names, else what to close."""
        fd = start
        for name in chain:
            try:
                below = step(fd, name)
            finally:
                close_unless(fd, start)
            if below is None:
                return None
            fd = below
        return fd

    def _exact(self, parent: int, name: str) -> bool:
        own = os.open(".", _DIRECTORY, dir_fd=parent)
        try:
            return name in os.listdir(own)
        finally:
            os.close(own)

    def _open_regular(self, parent: int, name: str) -> int | None:
        # Looked at before it is opened: opening a FIFO wakes its writer, a device does worse.
        if self.stat_file(parent, name) is None:
            return None
        try:
            fd = os.open(name, _FILE, dir_fd=parent)
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            raise
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None

    def _open_plain(self, segments: Sequence[str]) -> int | None:
        if not all(names.is_plain(s, at_root=not depth) for depth, s in enumerate(segments)):
            return None
        parent = self.follow(self._root, tuple(segments[:-1]), self.enter)
        if parent is None:
            return None
        try:
            return self._open_regular(parent, segments[-1])
        finally:
            close_unless(parent, self._root)

    def _open_any(self, segments: Sequence[str]) -> int | None:
        with closing(self._candidates(segments)) as candidates:
            for below, place in candidates:
                fd = self._open_regular(below, place[-1])
                if fd is not None:
                    return fd
        return None

    def _candidates(self, segments: Sequence[str]) -> Generator[tuple[int, Place], None, None]:
        """Give every place a file of the key may have, and the directory, open till the next."""
        with self.directories(segments[:-1]) as parents:
            for parent in parents:
                for chain in names.chains(segments[-1], FILE, at_root=not parent.place):
                    below = self.follow(parent.fd, chain[:-1], self.enter)
                    if below is None:
                        continue
                    try:
                        yield below, parent.place + chain
                    finally:
                        close_unless(below, parent.fd)

    def _stands(self, fd: int, *, empty: bool) -> bool:
        """Tell whether an open directory is an object of its own."""
        mark = attributes.read_mark(fd) if self.marks else None
        return empty if mark is None else not mark.implied


def close_unless(fd: int, kept: int) -> None:
    """Close what `Tree.follow` gave, unless it is what it was given."""
    if fd != kept:
        os.close(fd)


def _close_all(directories: list[Directory]) -> None:
    while directories:
        os.close(directories.pop().fd)
