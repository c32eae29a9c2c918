"""Keys below a prefix in order: one directory listed and sorted at a time, and only when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from forebay.errors import InvalidKey, NotFound
from forebay.stores.listing import passed_over
from forebay.types import CommonPrefix, ObjectInfo
from forebay_fsspec import names
from forebay_fsspec.files import UNKNOWN, Entry
from forebay_fsspec.names import Chain, Names

_ASKED = 16


@dataclass(frozen=True, slots=True)
class Found:
    """One segment in a directory: the path of what it is, and what is told of it."""

    folder: str
    entry: Entry

    @property
    def path(self) -> str:
        """Where it is; made when asked for, because there may be millions."""
        return f"{self.folder}/{self.entry.name}"

    @property
    def is_unknown(self) -> bool:
        """Whether it is a file whose size has to be asked for."""
        return not self.entry.is_directory and self.entry.size == UNKNOWN


@dataclass(slots=True)
class _Level:
    """One prefix under way: the segments below it, sorted, and what they are."""

    base: str
    found: dict[str, Found] = field(default_factory=dict)
    segments: list[str] = field(default_factory=list)
    at: int = 0


class Walk:
    """One listing. `ls` and `folder` know the paths; `look` asks for many entries at once."""

    def __init__(
        self,
        names: Names,
        ls: Callable[[str], list[Entry]],
        folder: Callable[[list[str]], str],
        look: Callable[[list[str]], list[Entry | None]],
    ) -> None:
        self._names = names
        self._ls = ls
        self._folder = folder
        self._look = look

    def entries(
        self, prefix: str, start_after: str, *, descend: bool
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """Give every object with `prefix` behind `start_after`, or one level of them rolled up."""
        partial = prefix.rpartition("/")[2]
        base = prefix.removesuffix(partial)
        try:
            path = self._folder(base.split("/")[:-1])
        except InvalidKey:
            return  # nothing can be below it
        stack = [self._begin(base, path, partial, start_after)]
        if base and not partial and not stack[0].segments:
            yield from self._empty(base, path, start_after)
        while stack:
            level = stack[-1]
            if level.at == len(level.segments):
                stack.pop()
                continue
            segment = level.segments[level.at]
            level.at += 1
            found = level.found.pop(segment, None)
            name = level.base + segment
            if found is None:
                continue  # it went while its neighbours were asked for
            if not found.entry.is_directory:
                if name > start_after:
                    yield from self._file(level, segment, found)
            elif not descend:
                if not passed_over(name, start_after):
                    yield CommonPrefix(name)
            else:
                below = self._begin(name, found.path, "", start_after)
                stack.append(below)
                if not below.segments and name > start_after:
                    yield _object(name, found.entry, 0)

    def children(
        self, path: str, *, at_root: bool, partial: str = "", seek: str = ""
    ) -> dict[str, Found]:
        """Give the segments in a directory that begin with `partial` and are not before `seek`.

        Those of directories end with ``/``.
        """
        found: dict[str, Found] = {}
        for entry in self._entries_of(path):
            if names.role_of(entry.name) is not None:
                for chain, end in self._chains((entry.name,), Found(path, entry)):
                    segment = names.unescape(chain)
                    if segment is None:
                        continue
                    slash = "/" if names.role_of(chain[-1]) == names.DIRECTORY else ""
                    segment += slash
                    wanted = segment >= seek and segment.startswith(partial)
                    if wanted and bool(slash) == end.entry.is_directory:
                        found.setdefault(segment, end)
                continue
            segment = entry.name + "/" * entry.is_directory
            if (
                segment >= seek
                and segment.startswith(partial)
                and names.is_utf8(entry.name)
                and self._names.is_plain(entry.name, at_root=at_root)
            ):
                found[segment] = Found(path, entry)
        return found

    def _chains(self, chain: Chain, found: Found) -> Iterator[tuple[Chain, Found]]:
        if names.role_of(chain[-1]) != names.MORE:
            yield chain, found
            return
        for entry in self._entries_of(found.path) if found.entry.is_directory else ():
            if names.role_of(entry.name) is not None:
                below = Found(found.path, entry)
                yield from self._chains((*chain, entry.name), below)

    def _entries_of(self, path: str) -> list[Entry]:
        try:
            return self._ls(path)
        except (NotFound, InvalidKey):
            return []  # gone meanwhile, never there, or too deep to be reached

    def _begin(self, base: str, path: str, partial: str, start_after: str) -> _Level:
        """List a level and find where in it the listing begins."""
        seek = ""
        if start_after.startswith(base):
            head, slash, _ = start_after[len(base) :].partition("/")
            seek = head + slash  # `start_after` itself is left out later, as its name is known
        elif start_after > base:
            return _Level(base)
        found = self.children(path, at_root=not base, partial=partial, seek=seek)
        return _Level(base, found, sorted(found))

    def _file(self, level: _Level, segment: str, found: Found) -> Iterator[ObjectInfo]:
        entry: Entry | None = found.entry
        if found.is_unknown:
            entry = self._ask(level, found)
        if entry is not None:
            yield _object(level.base + segment, entry, entry.size)

    def _ask(self, level: _Level, found: Found) -> Entry | None:
        """Ask for this entry and the next ones of the level, many at a time."""
        ahead = [
            segment
            for segment in level.segments[level.at : level.at + 4 * _ASKED]
            if segment in level.found and level.found[segment].is_unknown
        ][: _ASKED - 1]
        paths = [level.found[segment].path for segment in ahead]
        this, *others = self._look([found.path, *paths])
        for segment, entry in zip(ahead, others, strict=True):
            if entry is None:
                del level.found[segment]  # gone meanwhile
            else:
                level.found[segment] = Found(level.found[segment].folder, entry)
        return this

    def _empty(self, base: str, path: str, start_after: str) -> Iterator[ObjectInfo]:
        (entry,) = self._look([path])
        if entry is not None and entry.is_directory and base > start_after:
            yield _object(base, entry, 0)


def _object(key: str, entry: Entry, size: int) -> ObjectInfo:
    return ObjectInfo(key, size, entry.modified, entry.fingerprint)
