"""Which keys there can be, and which of them the library carries as they are."""

from __future__ import annotations

import re

from forebay.errors import InvalidKey, KeyTooLong
from forebay_obstore.uri import AZURE, GCS

LONGEST = 1024
"""Bytes of UTF-8 that a key may have in every one of the stores."""

MARK = "!forebay-folder"
"""What a folder marker ``x/`` is called in its folder where the library alone carries."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_ON_AZURE = re.compile(r"[\\\ufffe\uffff]")
_UNSENT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check(key: str) -> None:
    """Raise InvalidKey or KeyTooLong for what no object can be called; `key` is the whole one."""
    if not key or "\0" in key or _SURROGATE.search(key):
        raise InvalidKey(f"{key!r} is no key: keys are 1 or more characters of UTF-8 without NUL")
    if (size := len(key.encode())) > LONGEST:
        raise KeyTooLong(
            f"{key[:60]!r}… has {size} bytes, its mount's prefix included; this store takes"
            f" {LONGEST}"
        )


def is_plain(key: str, provider: str = GCS) -> bool:
    """Tell whether the library, and the provider behind it, takes `key` unchanged.

    The library cuts slashes off both ends without a word, and refuses empty segments, ``.``,
    ``..`` and control characters. Azure turns backslashes into slashes.

    >>> [is_plain(key) for key in ("a/b", "a/", "/a", "a//b", "a/../b")]
    [True, False, False, False, False]
    """
    if _CONTROL.search(key) or (provider == AZURE and _NOT_ON_AZURE.search(key)):
        return False
    return not any(one in ("", ".", "..") for one in key.split("/"))


def can_begin_keys(prefix: str) -> bool:
    """Tell whether any key can begin with `prefix`."""
    return "\0" not in prefix and not _SURROGATE.search(prefix)


def bound(start_after: str) -> str:
    """Give a bound that can be sent and is not greater; what lies between is to be left out.

    It ends before the first character that an XML answer could not repeat; of a lone surrogate
    (what lies behind all keys of some prefix) the character before all of them is left.
    """
    odd = _UNSENT.search(start_after)
    if odd is None:
        return start_after
    return start_after[: odd.start()] + ("\ud7ff" if _SURROGATE.match(odd[0]) else "")
