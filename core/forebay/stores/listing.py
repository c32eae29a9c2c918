"""Listings: what every store and every room does with ordered keys, as free functions.

Keys are ordered by their UTF-8 bytes. Python compares `str` by code point, which is the same
order, so plain ``<`` and `sorted` are right and nothing here encodes a key.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from forebay.types import CommonPrefix


class Keyed(Protocol):
    """One entry of a listing that stands for one key."""

    @property
    def key(self) -> str:
        """The key the listing is ordered by."""
        ...


E = TypeVar("E", bound=Keyed)


def name_of(entry: Keyed | CommonPrefix) -> str:
    """Give the key, or the common prefix, that an entry is ordered by."""
    return entry.prefix if isinstance(entry, CommonPrefix) else entry.key


def rolled(key: str, prefix: str, delimiter: str) -> str | None:
    """Give the common prefix that a key with `prefix` is rolled into; None when it stands alone.

    >>> rolled("photos/2024/a.jpg", "photos/", "/")
    'photos/2024/'
    >>> rolled("photos/a.jpg", "photos/", "/")
    """
    if not delimiter:
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]


def passed_over(common_prefix: str, start_after: str) -> bool:
    """Tell whether a common prefix lies behind a listing that goes on after `start_after`.

    It does when it is not greater than `start_after`, or when `start_after` begins with it:
    the page before has given it.
    """
    return common_prefix <= start_after or start_after.startswith(common_prefix)


def roll_up(
    entries: Iterable[E], *, prefix: str = "", delimiter: str = "", start_after: str = ""
) -> Iterator[E | CommonPrefix]:
    """Give those of the ordered `entries` that a listing asks for, rolled up, lazily.

    `entries` are in strictly increasing order; those without `prefix` or not behind
    `start_after` (exclusive) are left out. Ends at the first entry behind all of `prefix`.
    """
    current: str | None = None
    for entry in entries:
        key = entry.key
        if not key.startswith(prefix):
            if key > prefix:
                return
            continue
        common = rolled(key, prefix, delimiter)
        if common is None:
            if key > start_after:
                yield entry
        elif common != current:
            current = common
            if not passed_over(common, start_after):
                yield CommonPrefix(common)


def merged(*listings: Iterable[E | CommonPrefix]) -> Iterator[E | CommonPrefix]:
    """Merge ordered listings lazily into one; of equal names the earliest listing's stays."""
    last: str | None = None
    for entry in heapq.merge(*listings, key=name_of):
        name = name_of(entry)
        if name != last:
            last = name
            yield entry


def after_all(keys_with: str) -> str | None:
    """Give the least string greater than every string with a prefix; None when there is none.

    For ordered stores that seek past a common prefix. The answer is a bound, not a key: it
    may hold a lone surrogate, which sorts right in Python and must not be encoded.
    """
    rest = keys_with.rstrip("\U0010ffff")
    return rest[:-1] + chr(ord(rest[-1]) + 1) if rest else None
