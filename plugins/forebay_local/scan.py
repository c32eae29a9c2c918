"""What a directory holds, sorted; remembered while the directory cannot have changed."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from forebay_local import names
from forebay_local.names import DIRECTORY, FILE, MORE, Chain
from forebay_local.tree import Directory, Tree

_SETTLED = 2_000_000_000
"""Nanoseconds after which a change must show in a directory's time, whatever its clock."""
NAMES_KEPT = 2_000_000


@dataclass(frozen=True, slots=True)
class Contents:
    """The segments found, in the order of keys; those of directories end with ``/``.

    `empty` means that there is nothing at all, not only nothing of ours.
    """

    segments: list[str]
    empty: bool


class Scanner:
    """Reads directories; keeps up to `limit` names of those last read."""

    def __init__(self, tree: Tree, limit: int = NAMES_KEPT) -> None:
        self._tree = tree
        self._limit = limit
        self._kept: OrderedDict[tuple[int, int], tuple[int, Contents]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def contents(self, directories: Sequence[Directory]) -> Contents:
        """Tell what the directories that stand for one prefix hold together."""
        if len(directories) == 1:
            return self._one(directories[0])
        found = [self._read(directory)[0] for directory in directories]
        segments = {segment for contents in found for segment in contents.segments}
        return Contents(sorted(segments), all(contents.empty for contents in found))

    def _one(self, directory: Directory) -> Contents:
        before = os.fstat(directory.fd)
        known = (before.st_dev, before.st_ino)
        with self._lock:
            kept = self._kept.get(known)
            if kept is not None and kept[0] == before.st_mtime_ns:
                self._kept.move_to_end(known)
                return kept[1]
        contents, whole = self._read(directory)
        # A change within the clock's grain of the one we saw would not show in the time.
        settled = time.time_ns() - before.st_mtime_ns > _SETTLED
        unchanged = os.fstat(directory.fd).st_mtime_ns == before.st_mtime_ns
        if whole and settled and unchanged:
            self._keep(known, before.st_mtime_ns, contents)
        return contents

    def _keep(self, known: tuple[int, int], changed: int, contents: Contents) -> None:
        with self._lock:
            old = self._kept.pop(known, None)
            self._count += len(contents.segments) - (len(old[1].segments) if old else 0)
            self._kept[known] = (changed, contents)
            while self._count > self._limit:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._count -= len(dropped.segments)

    def _read(self, directory: Directory) -> tuple[Contents, bool]:
        """Read and sort; the second tells whether the directory's own time covers it all."""
        at_root = not directory.place
        plain: list[str] = []
        escaped: list[Chain] = []
        empty = True
        # Python orders str by code point, which is the order of their UTF-8 bytes.
        with os.scandir(directory.fd) as entries:
            for entry in entries:
                name = entry.name
                if at_root and name == names.PRIVATE:
                    continue
                empty = False
                if not names.is_utf8(name):
                    continue
                role = names.role_of(name)
                if entry.is_dir(follow_symlinks=False):
                    if role is None:
                        plain.append(name + "/")
                    elif role in (DIRECTORY, MORE):
                        escaped.append((name,))
                elif entry.is_file(follow_symlinks=False):
                    if role is None:
                        plain.append(name)
                    elif role == FILE:
                        escaped.append((name,))
        if not escaped:
            plain.sort()
            return Contents(plain, empty), True
        whole = all(names.role_of(chain[0]) != MORE for chain in escaped)
        segments = {*plain, *self._unescaped(directory, escaped)}
        return Contents(sorted(segments), empty), whole

    def _unescaped(self, directory: Directory, escaped: list[Chain]) -> set[str]:
        segments = set()
        for chain in escaped:  # grows while it is read
            role = names.role_of(chain[-1])
            if role == MORE:
                with self._tree.opened(directory.place + chain) as fd:
                    if fd is not None:
                        escaped += [(*chain, n) for n in os.listdir(fd) if names.role_of(n)]
                continue
            segment = names.unescape(chain)
            if segment is not None:
                segments.add(segment + "/" if role == DIRECTORY else segment)
        return segments
