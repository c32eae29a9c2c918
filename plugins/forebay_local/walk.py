"""Keys below a prefix in order: one directory sorted at a time, none before it is needed."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from forebay.stores.listing import passed_over
from forebay.types import CommonPrefix, ObjectInfo
from forebay_local import names
from forebay_local.scan import Scanner
from forebay_local.tree import Directory, Tree

_KEPT_OPEN = 8
"""Levels whose directories stay open; those above are found again when the walk is back."""


@dataclass(slots=True)
class _Level:
    """One prefix under way: what is left of its segments, and its directories while open."""

    base: str
    segments: list[str] = field(default_factory=list)
    at: int = 0
    stop: int = 0
    directories: list[Directory] = field(default_factory=list)

    def close(self) -> None:
        """Let go of the directories; the level can go on without."""
        while self.directories:
            os.close(self.directories.pop().fd)


class Walk:
    """One listing. `describe` tells of a file, `marker` of a directory that is an object."""

    def __init__(
        self,
        tree: Tree,
        scanner: Scanner,
        describe: Callable[[str, os.stat_result], ObjectInfo],
        find: Callable[[str], ObjectInfo | None],
        marker: Callable[[str, Sequence[Directory], bool], ObjectInfo | None],
    ) -> None:
        self._tree = tree
        self._scanner = scanner
        self._describe = describe
        self._find = find
        self._marker = marker

    def keys(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        """Give every object with `prefix` behind `start_after`."""
        for entry in self._entries(prefix, start_after, descend=True):
            assert isinstance(entry, ObjectInfo), "a walk that descends rolls nothing up"
            yield entry

    def level(self, prefix: str, start_after: str) -> Iterator[ObjectInfo | CommonPrefix]:
        """Give the same rolled up by ``/``, without going down."""
        return self._entries(prefix, start_after, descend=False)

    def _entries(
        self, prefix: str, start_after: str, *, descend: bool
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        partial = prefix.rpartition("/")[2]
        first = _Level(prefix.removesuffix(partial))
        stack = [first]
        try:
            self._open(first)
            yield from self._begin(first, partial, start_after)
            while stack:
                level = stack[-1]
                if level.at == level.stop:
                    stack.pop().close()
                    continue
                segment = level.segments[level.at]
                level.at += 1
                name = level.base + segment
                if not segment.endswith("/"):
                    if name > start_after:
                        yield from self._file(level, segment)
                elif not descend:
                    if not passed_over(name, start_after) and self._holds_key(level, segment):
                        yield CommonPrefix(name)
                else:
                    below = self._enter(level, segment)
                    stack.append(below)
                    if len(stack) > _KEPT_OPEN:
                        stack[-1 - _KEPT_OPEN].close()
                    yield from self._begin(below, "", start_after)
        finally:
            for level in stack:
                level.close()

    def _begin(self, level: _Level, partial: str, start_after: str) -> Iterator[ObjectInfo]:
        """Find where in a level the listing begins; give the level's own object first."""
        if not level.directories:
            return
        contents = self._scanner.contents(level.directories)
        segments = level.segments = contents.segments
        level.at = bisect_left(segments, partial)
        level.stop = bisect_right(segments, partial, lo=level.at, key=lambda s: s[: len(partial)])
        if start_after.startswith(level.base):
            rest = start_after[len(level.base) :]
            head, slash, _ = rest.partition("/")
            seek = bisect_left(segments, head + slash) if slash else bisect_right(segments, rest)
            level.at = min(max(level.at, seek), level.stop)
        elif start_after > level.base:
            level.at = level.stop
        own = level.base and not partial and (not segments or segments[0] != "")
        if own and level.base > start_after:
            found = self._marker(level.base, level.directories, contents.empty)
            if found is not None:
                yield found

    def _file(self, level: _Level, segment: str) -> Iterator[ObjectInfo]:
        key = level.base + segment
        if names.is_plain(segment, at_root=not level.base):
            self._open(level)
            for directory in level.directories[:1]:
                found = self._tree.stat_file(directory.fd, segment)
                if found is not None:
                    yield self._describe(key, found)
                    return
        moved = self._find(key)  # under its escape, or put under another name since the scan
        if moved is not None:
            yield moved

    def _enter(self, level: _Level, segment: str) -> _Level:
        self._open(level)
        below = _Level(level.base + segment)
        self._tree.descend(level.directories, segment[:-1], below.directories)
        return below

    def _holds_key(self, level: _Level, segment: str) -> bool:
        below = self._enter(level, segment)
        try:
            return any(self._tree.holds_key(found.place) for found in below.directories)
        finally:
            below.close()

    def _open(self, level: _Level) -> None:
        if not level.directories:
            with self._tree.directories(level.base.split("/")[:-1]) as found:
                for directory in found:
                    level.directories.append(Directory(os.dup(directory.fd), directory.place))
