"""Names of keys on disk: the plain one wherever a file system can hold it, else an escape.

An escape is ``.forebay~`` + role + ``~`` + text. The role keeps a file and a directory of the
same segment apart; the text is lower case and percent signs only, so that escapes differ also
where a file system folds case or Unicode forms. A text too long for one name goes on in
directories of the role `MORE`: the whole is a chain of names.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from forebay.errors import InvalidKey

PRIVATE = ".forebay"
"""The store's own directory at its root: never listed, never addressed by a key."""
FILE = "f"
DIRECTORY = "d"
MORE = "m"

Chain = tuple[str, ...]
"""Names one below the other; the last is the segment's, those before are of the role `MORE`."""

_PREFIX = ".forebay~"
_NAME_MAX = 255
_TEXT_MAX = 120  # fits every file system, the 143 bytes of a stacked encrypting one included
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
_QUOTED = [chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in range(256)]


def split(key: str) -> list[str]:
    """Split a key into its segments. Raises InvalidKey for what is no key at all."""
    if not key or "\0" in key or not is_utf8(key):
        raise InvalidKey(f"{key!r} is no key: keys are 1 or more characters of UTF-8 without NUL")
    return key.split("/")


def is_utf8(text: str) -> bool:
    """Tell whether `text` can be written in UTF-8: it has no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_plain(segment: str, *, at_root: bool) -> bool:
    """Tell whether a segment can be a name as it is, on a file system that takes any name."""
    if segment in ("", ".", "..") or len(segment.encode()) > _NAME_MAX:
        return False
    if segment[0] != ".":
        return True
    folded = segment.casefold()
    return not folded.startswith(_PREFIX) and not (at_root and folded == PRIVATE)


def escape(segment: str, role: str) -> Chain:
    """Give the chain of escaped names of a segment in the role `FILE` or `DIRECTORY`."""
    text = "".join(_QUOTED[byte] for byte in segment.encode())
    cuts = range(0, len(text), _TEXT_MAX) or range(1)
    pieces = [text[cut : cut + _TEXT_MAX] for cut in cuts]
    return (*(f"{_PREFIX}{MORE}~{piece}" for piece in pieces[:-1]), f"{_PREFIX}{role}~{pieces[-1]}")


def chains(segment: str, role: str, *, at_root: bool) -> tuple[Chain, ...]:
    """Give every chain a segment may be found under, the preferred one first."""
    escaped = escape(segment, role)
    return ((segment,), escaped) if is_plain(segment, at_root=at_root) else (escaped,)


def role_of(name: str) -> str | None:
    """Tell the role of an escaped name; None for a plain one."""
    return name[len(_PREFIX) : len(_PREFIX) + 1] if looks_escaped(name) else None


def looks_escaped(name: str) -> bool:
    """Tell whether a name on disk is none of a plain segment."""
    return name.startswith(".") and name.casefold().startswith(_PREFIX)


def unescape(chain: Chain) -> str | None:
    """Give the segment of an escaped chain; None when the chain is none of ours."""
    role = role_of(chain[-1])
    if role not in (FILE, DIRECTORY):
        return None
    text = "".join(name[len(_PREFIX) + 2 :] for name in chain)
    try:
        segment = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return None
    return segment if escape(segment, role) == chain else None
