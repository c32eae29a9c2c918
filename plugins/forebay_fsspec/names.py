"""Names of keys in stores of directories: plain wherever one can be held, else an escape.

An escape is ``.forebay~`` + role + ``~`` + text, in lower case and percent signs only. The role
keeps a file and a directory of the same segment apart; a text too long for one name goes on in
directories of the role `MORE`, so a segment is a chain of names.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from forebay.errors import InvalidKey

FILE = "f"
DIRECTORY = "d"
MORE = "m"
STAGING = ".forebay-tmp"
"""Where bodies wait at the root until they are whole; never listed, never addressable."""

Chain = tuple[str, ...]

_PREFIX = ".forebay~"
_RESERVED = frozenset({STAGING, ".forebay"})
_NAME_MAX = 255
_TEXT_MAX = 120  # fits every file system, the 143 bytes of an encrypting one included
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
_QUOTED = [chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in range(256)]


def split(key: str) -> list[str]:
    """Split a key into its segments. Raises InvalidKey for what is no key at all."""
    if not key or "\0" in key or not is_utf8(key):
        raise InvalidKey(f"{key!r} is no key: keys are 1 or more characters of UTF-8 without NUL")
    return key.split("/")


def is_utf8(text: str) -> bool:
    """Tell whether `text` can be written in UTF-8: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Names:
    """How one protocol names segments; `forbidden` is the pattern of what no name may have."""

    def __init__(self, forbidden: str) -> None:
        self._forbidden = re.compile(forbidden)

    def is_plain(self, segment: str, *, at_root: bool) -> bool:
        """Tell whether a segment can be a name as it is."""
        if segment in ("", ".", "..") or len(segment.encode()) > _NAME_MAX:
            return False
        if self._forbidden.search(segment):
            return False
        folded = segment.casefold()
        return not folded.startswith(_PREFIX) and not (at_root and folded in _RESERVED)

    def folder(self, segment: str, *, at_root: bool) -> Chain:
        """Give the names of the directory of a segment."""
        return (segment,) if self.is_plain(segment, at_root=at_root) else escape(segment, DIRECTORY)

    def folders(self, segments: list[str]) -> Chain:
        """Give the names of the directory below the root that `segments` lead to."""
        found: list[str] = []
        for segment in segments:
            found += self.folder(segment, at_root=not found)
        return tuple(found)


def escape(segment: str, role: str) -> Chain:
    """Give the chain of escaped names of a segment in the role `FILE` or `DIRECTORY`."""
    text = "".join(_QUOTED[byte] for byte in segment.encode())
    cuts = range(0, len(text), _TEXT_MAX) or range(1)
    pieces = [text[cut : cut + _TEXT_MAX] for cut in cuts]
    return (*(f"{_PREFIX}{MORE}~{piece}" for piece in pieces[:-1]), f"{_PREFIX}{role}~{pieces[-1]}")


def role_of(name: str) -> str | None:
    """Tell the role of an escaped name; None for a plain one."""
    return name[len(_PREFIX) : len(_PREFIX) + 1] if name.startswith(_PREFIX) else None


def unescape(chain: Chain) -> str | None:
    """Give the segment of an escaped chain; None when the chain is none of ours."""
    text = "".join(name[len(_PREFIX) + 2 :] for name in chain)
    try:
        segment = unquote_to_bytes(text).decode()
    except UnicodeError:
        return None
    return segment if escape(segment, role_of(chain[-1]) or "") == chain else None
