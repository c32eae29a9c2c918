"""What the tests of under stores are made of: bodies, short words for calls, the fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest

from forebay.errors import InvalidKey, NotFound
from forebay.stores.under import UnderStore
from forebay.streams import BLOCK, BytesReader
from forebay.testing.elsewhere import Opening, opened
from forebay.types import Attributes, ByteRange, CommonPrefix, ObjectInfo

ATTRIBUTES = Attributes(
    headers={"content-type": "text/x-kit", "cache-control": "no-store"},
    metadata={"colour": "grün", "empty": ""},
    tags={"team": "a b", "übung": "1"},
)


class Watched:
    """A body that calls `before` ahead of every read, the one that gives the end included."""

    def __init__(self, content: bytes, before: Callable[[], object], step: int = 1000) -> None:
        self._reader = BytesReader(content)
        self._before = before
        self._step = step

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes."""
        self._before()
        return self._reader.read(min(size, self._step))


class Failing:
    """A body that gives `content` and raises `error` instead of its end."""

    def __init__(self, content: bytes, error: BaseException) -> None:
        self._reader = BytesReader(content)
        self._error = error

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes. Raises the error."""
        block = self._reader.read(size)
        if not block:
            raise self._error
        return block


def put(under: UnderStore, key: str, content: bytes = b"", **kwargs: Any) -> ObjectInfo:
    """Put `content`, with its size announced and no attributes unless `kwargs` say other."""
    arguments = {"size": len(content), "attributes": Attributes(), **kwargs}
    return under.put(key, BytesReader(content), **arguments)


def read(under: UnderStore, key: str, byte_range: ByteRange | None = None) -> bytes:
    """Read an object, or a range of it, to its end."""
    with under.open(key, byte_range) as reader:
        return b"".join(iter(lambda: reader.read(BLOCK), b""))


def exists(under: UnderStore, key: str) -> bool:
    """Tell whether `head` finds a key."""
    try:
        under.head(key)
    except NotFound:
        return False
    return True


def names(entries: Iterable[ObjectInfo | CommonPrefix]) -> list[str]:
    """Give what a listing is ordered by."""
    return [e.prefix if isinstance(e, CommonPrefix) else e.key for e in entries]


def left(under: UnderStore, prefix: str = "") -> list[str]:
    """List what there is, but for top folders: a directory store may keep them as buckets."""
    return [n for n in names(under.list(prefix)) if n.find("/") != len(n) - 1]


def expected_names(keys: Iterable[str], prefix: str, delimiter: str, start_after: str) -> list[str]:
    """List `keys` the naive way, by the words of the contract."""
    found = set()
    for key in keys:
        if not key.startswith(prefix):
            continue
        head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        name = prefix + head + cut if cut else key
        if name > start_after and not (cut and start_after.startswith(name)):
            found.add(name)
    return sorted(found, key=str.encode)


class UnderStoreKit:
    """The store under test and the ways around it.

    A subclass overrides the fixture, `poke` and `peek`. Each of the others excuses tests that
    cannot do without it; the more a subclass gives, the more is checked.
    """

    many = 60
    """Objects in a listing that takes the store several steps; over a page of its own, if any."""

    histories = 40
    """Random sequences of calls that are compared with a dictionary; fewer for a slow protocol."""

    @pytest.fixture
    def under(self) -> Iterator[UnderStore]:
        """Give the store under test, empty, and close it afterwards."""
        raise NotImplementedError("a subclass gives the store")

    def poke(self, under: UnderStore, key: str, content: bytes) -> None:
        """Put an object behind the store's back."""
        raise NotImplementedError("a subclass knows the way around its store")

    def peek(self, under: UnderStore, key: str) -> bytes | None:
        """Read an object behind the store's back; None when there is none."""
        raise NotImplementedError("a subclass knows the way around its store")

    def opening(self, under: UnderStore) -> Opening | None:
        """Give the factory and the arguments that open the same store in another process.

        The factory can be imported there: ``(RainStore.from_uri, (uri, options))``. None where
        a test cannot say.
        """
        return None

    def twin(self, under: UnderStore) -> UnderStore | None:
        """Open another store of the same URI; None where a test cannot."""
        opening = self.opening(under)
        return None if opening is None else cast(UnderStore, opened(opening))

    def poke_directory(self, under: UnderStore, key: str) -> bool:
        """Make an empty directory behind the store's back; False where there are none."""
        return False

    def steps(self, under: UnderStore, call: Callable[[], object]) -> int | None:
        """Run `call`; count what the storage was asked for meanwhile: requests, directories.

        None where a test cannot count.
        """
        return None

    def sever(self, under: UnderStore) -> bool:
        """Take the storage away until the end of the test; False where a test cannot."""
        return False

    def fill(self, under: UnderStore, keys: Iterable[str]) -> list[str]:
        """Put small objects below ``kit/``; give the keys that the store can hold."""
        held = []
        for key in keys:
            try:
                put(under, f"kit/{key}", key.encode())
            except InvalidKey:
                assert not under.capabilities.any_key, f"{key!r} was refused by an any_key store"
                continue
            held.append(f"kit/{key}")
        return held
