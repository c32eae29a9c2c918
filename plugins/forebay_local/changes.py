"""Changing the tree: files put in their place, directories made, marked and pruned."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from forebay.errors import InvalidKey, StorageError
from forebay.types import Attributes
from forebay_local import attributes, names
from forebay_local.attributes import Mark
from forebay_local.faults import NAME_REFUSED
from forebay_local.names import DIRECTORY, FILE, MORE, Chain
from forebay_local.staging import StagedFile, Staging, locked
from forebay_local.tree import Directory, Place, Tree, close_unless

T = TypeVar("T")
_TURNS = 1000  # how often parents may vanish under one put
_KNOWN_MAX = 100_000


class Changes:
    """Changes to one tree; `durable` ones survive a power cut once they are done."""

    def __init__(self, tree: Tree, staging: Staging, *, durable: bool) -> None:
        self._tree = tree
        self.staging = staging
        self._durable = durable
        self._known: set[tuple[int, int]] = set()  # directories whose entry is on disk

    # --- putting ---------------------------------------------------------------------

    def publish(self, staged: StagedFile, segments: Sequence[str]) -> None:
        """Put a staged file in the place of a key, making the directories it needs."""

        def put_in_place(parent: Directory) -> Place:
            return self._put_in_place(parent, staged, segments[-1])

        place = self._in_made(segments[:-1], put_in_place)
        copies = self._tree.files(segments)
        if place in copies:
            for copy in copies[copies.index(place) + 1 :]:
                self._remove(copy)  # an older one, under a name that was needed then

    def mark(self, segments: Sequence[str], kept: Attributes) -> tuple[os.stat_result, Mark]:
        """Make the directory of `segments` an object of its own; tell of it."""

        def mark_it(directory: Directory) -> tuple[os.stat_result, Mark]:
            with locked(directory.fd):
                with self._tree.opened(directory.place) as fd:
                    if fd is None or not os.path.samestat(os.fstat(fd), os.fstat(directory.fd)):
                        raise FileNotFoundError  # pruned before we had the lock
                mark = attributes.mark_explicit(directory.fd, kept)
            if self._durable:
                os.fsync(directory.fd)
            return os.fstat(directory.fd), mark

        marked = self._in_made(segments, mark_it)
        for copy in self._tree.files([*segments, ""]):
            self._remove(copy)  # the bytes it had before
        return marked

    # --- deleting --------------------------------------------------------------------

    def remove_file(self, segments: Sequence[str]) -> None:
        """Remove the file of a key and the directories that only it kept alive."""
        for place in reversed(self._tree.files(segments)):
            self._remove(place)
            self._settle(place[:-1], _bucket(place) if len(segments) > 1 else 0)

    def remove_directory(self, segments: Sequence[str]) -> None:
        """Remove the object that the directory of `segments` is; itself too when it is empty."""
        with self._tree.directories(segments) as found:
            places = [directory.place for directory in found]
            for directory in found if self._tree.marks else ():
                with locked(directory.fd):
                    mark = attributes.read_mark(directory.fd)
                    if mark is not None and not mark.implied:
                        attributes.mark_implied(directory.fd)
        for copy in reversed(self._tree.files([*segments, ""])):
            self._remove(copy)
        for place in reversed(places):
            gone = self._prune(place)
            if not gone and not self._tree.holds_key(place):
                gone = self._clear(place)
            self._settle(place[:-1] if gone else place, _bucket(place))

    def _in_made(self, segments: Sequence[str], act: Callable[[Directory], T]) -> T:
        """Run `act` on the directory of `segments`, made where missing.

        Begins again as often as another process prunes a directory under our feet.
        """
        for _ in range(_TURNS):
            made: list[str] = []
            fd = self._tree.open_root()
            try:
                for segment in segments:
                    below, chain = self._enter_or_make(fd, segment, at_root=not made)
                    os.close(fd)
                    fd = below
                    made += chain
                return act(Directory(fd, tuple(made)))
            except FileNotFoundError:
                continue
            except (OSError, StorageError):
                self._settle(tuple(made), _bucket(made))
                raise
            finally:
                os.close(fd)
        raise StorageError(f"the directories of {'/'.join(segments)!r} keep vanishing")

    def _enter_or_make(self, parent: int, segment: str, *, at_root: bool) -> tuple[int, Chain]:
        chains = names.chains(segment, DIRECTORY, at_root=at_root)
        for step in (self._enter_synced, self._make):
            for chain in chains:
                fd = self._tree.follow(parent, chain, step)
                if fd is not None:
                    return fd, chain
        raise InvalidKey(f"the file system takes no directory for {segment!r}")

    def _enter_synced(self, parent: int, name: str) -> int | None:
        """Open a directory whose own entry must be on disk before anything in it is."""
        fd = self._tree.enter(parent, name)
        if fd is not None and self._durable:
            try:
                found = os.fstat(fd)
                if (found.st_dev, found.st_ino) not in self._known:
                    os.fsync(parent)
                    if len(self._known) >= _KNOWN_MAX:
                        self._known.clear()
                    self._known.add((found.st_dev, found.st_ino))
            except OSError:
                os.close(fd)
                raise
        return fd

    def _make(self, parent: int, name: str) -> int | None:
        """Make a directory and open it, or one that is there; None when the name is taken."""
        try:
            if self._tree.marks and names.role_of(name) != MORE:
                with locked(parent):  # two makers, and a mark between them, would lose the mark
                    if self._tree.lstat(parent, name) is None:
                        self.staging.place_directory(parent, name)
                        self._forget(parent, name)
            elif self._tree.lstat(parent, name) is None:
                os.mkdir(name, dir_fd=parent)
                self._forget(parent, name)
        except OSError as error:
            if error.errno not in NAME_REFUSED:
                raise
        return self._enter_synced(parent, name)

    def _forget(self, parent: int, name: str) -> None:
        """Unlearn an inode number that a new directory got from an old one."""
        found = self._tree.lstat(parent, name)
        if found is not None:
            self._known.discard((found.st_dev, found.st_ino))

    def _put_in_place(self, parent: Directory, staged: StagedFile, segment: str) -> Place:
        for chain in names.chains(segment, FILE, at_root=not parent.place):
            fd = self._tree.follow(parent.fd, chain[:-1], self._make)
            if fd is None:
                continue
            try:
                if self._rename(staged, fd, chain[-1]):
                    if self._durable:
                        os.fsync(fd)
                    return parent.place + chain
            finally:
                close_unless(fd, parent.fd)
        raise InvalidKey(f"the file system takes no file for {segment!r}")

    def _rename(self, staged: StagedFile, parent: int, name: str) -> bool:
        """Put a staged file in its place; False when the name is taken or can be none."""
        if (
            self._tree.lstat(parent, name) is not None
            and self._tree.stat_file(parent, name) is None
        ):
            return False  # a directory, or something that is not ours to replace
        try:
            staged.rename(parent, name)
        except OSError as error:
            if error.errno not in NAME_REFUSED:
                raise
            return False
        return True

    def _remove(self, place: Place) -> None:
        with self._tree.opened(place[:-1]) as fd:
            if fd is not None and self._tree.stat_file(fd, place[-1]) is not None:
                try:
                    os.unlink(place[-1], dir_fd=fd)
                except FileNotFoundError:
                    return  # another delete was faster

    def _prune(self, place: Place) -> bool:
        """Remove a directory that is empty and no object; tell whether it is gone."""
        with self._tree.opened(place[:-1]) as parent:
            if parent is None:
                return True
            fd = self._tree.enter(parent, place[-1])
            if fd is None:
                return True
            try:
                if not self._tree.marks:
                    return _rmdir(parent, place[-1])
                with locked(fd):
                    now = self._tree.lstat(parent, place[-1])
                    if now is None or not os.path.samestat(now, os.fstat(fd)):
                        return now is None
                    mark = attributes.read_mark(fd)
                    if mark is not None and not mark.implied:
                        return False
                    return _rmdir(parent, place[-1])
            finally:
                os.close(fd)

    def _settle(self, place: Place, keep: int) -> None:
        """Prune upwards, `keep` names stay; then bring to disk what was removed."""
        while len(place) > keep and self._prune(place):
            place = place[:-1]
        if not self._durable:
            return
        while True:
            with self._tree.opened(place) as fd:
                if fd is not None:
                    os.fsync(fd)
                    return
            place = place[:-1]

    def _clear(self, place: Place) -> bool:
        """Remove the empty directories below a place that holds no key, then itself."""
        below = [place]
        for here in below:  # grows while it is read: parents come before their children
            with self._tree.opened(here) as fd:
                if fd is not None:
                    with os.scandir(fd) as entries:
                        found = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
                    below += [(*here, name) for name in found]
        return [self._prune(here) for here in reversed(below)][-1]


def _bucket(place: Sequence[str]) -> int:
    """How many names the first segment of a place takes: the bucket, which is never pruned."""
    for depth, name in enumerate(place):
        if names.role_of(name) != MORE:
            return depth + 1
    return len(place)


def _rmdir(parent: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in NAME_REFUSED:
            raise
        return False
    return True
