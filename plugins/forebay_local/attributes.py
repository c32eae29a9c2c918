"""Attributes of objects as extended attributes of files and directories, in JSON."""

from __future__ import annotations

import errno
import json
import mimetypes
import os
import secrets
import time
from dataclasses import dataclass, field

from forebay.types import Attributes

_FILE = "user.forebay.attributes"
_DIRECTORY = "user.forebay.directory"
_PROBE = "user.forebay.probe"
_ABSENT = frozenset({errno.ENODATA, errno.ENOTSUP, errno.EPERM})
_TOO_BIG = frozenset({errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE})

IMPLIED = b'{"implied":true}'
"""The mark of a directory made only because a key runs through it: empty, it is no object."""

_TYPES = mimetypes.MimeTypes()  # the standard table alone: the same answer on every machine


@dataclass(frozen=True, slots=True)
class Mark:
    """What a directory says of itself: implied by other keys, or an object in its own right.

    `token` is new with every put, so that the object's fingerprint changes with it and with
    nothing else; `modified` is milliseconds since the epoch.
    """

    implied: bool
    token: str = ""
    modified: int = 0
    attributes: Attributes = field(default_factory=Attributes)


def supported(fd: int) -> bool:
    """Tell whether the file system of a directory keeps extended attributes."""
    try:
        os.setxattr(fd, _PROBE, b"1")
    except OSError as error:
        if error.errno in _ABSENT or error.errno in _TOO_BIG:
            return False
        raise
    try:
        os.removexattr(fd, _PROBE)
    except OSError as error:
        if error.errno != errno.ENODATA:  # another process tries it, too, and was faster
            raise
    return True


def write(fd: int, attributes: Attributes) -> None:
    """Keep attributes with an open file; what is too big for the file system is left out."""
    _set(fd, _FILE, _dump(attributes))


def read(fd: int, key: str) -> Attributes:
    """Give the attributes of an open file; without any, what its name says of its type."""
    value = _get(fd, _FILE)
    found = None if value is None else _load(value)
    return guess(key) if found is None else found


def guess(key: str) -> Attributes:
    """Guess the content type of a file that was not put through Forebay."""
    kind, coding = _TYPES.guess_type(key.rpartition("/")[2], strict=True)
    if kind is None or coding is not None:  # a compressed file is not of the inner type
        return Attributes()
    return Attributes(headers={"content-type": kind})


def mark_explicit(fd: int, attributes: Attributes) -> Mark:
    """Make an open directory an object; give the mark it now has."""
    mark = Mark(False, secrets.token_hex(8), time.time_ns() // 1_000_000, attributes)
    value = {"token": mark.token, "modified": mark.modified}
    fits = _set(fd, _DIRECTORY, json.dumps({**value, **_plain(attributes)}).encode())
    if not fits:
        os.setxattr(fd, _DIRECTORY, json.dumps(value).encode())
    return mark


def mark_implied(fd: int) -> None:
    """Make an open directory one that is no object of its own."""
    os.setxattr(fd, _DIRECTORY, IMPLIED)


def read_mark(fd: int) -> Mark | None:
    """Give the mark of an open directory; None when it was made by somebody else."""
    value = _get(fd, _DIRECTORY)
    if value is None:
        return None
    try:
        fields = json.loads(value)
        if fields.get("implied"):
            return Mark(implied=True)
        found = _load(value) or Attributes()
        return Mark(False, str(fields["token"]), int(fields["modified"]), found)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # not written by us: the directory is anybody's


def _plain(attributes: Attributes) -> dict[str, dict[str, str]]:
    fields = {
        "headers": dict(attributes.headers),
        "metadata": dict(attributes.metadata),
        "tags": dict(attributes.tags),
    }
    return {name: value for name, value in fields.items() if value}


def _dump(attributes: Attributes) -> bytes:
    return json.dumps(_plain(attributes), separators=(",", ":")).encode()


def _load(value: bytes) -> Attributes | None:
    try:
        fields = json.loads(value)
        return Attributes(*(dict(fields.get(n, {})) for n in ("headers", "metadata", "tags")))
    except (ValueError, TypeError, AttributeError):
        return None  # not written by us


def _get(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(fd, name)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def _set(fd: int, name: str, value: bytes) -> bool:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        if error.errno in _TOO_BIG or error.errno in _ABSENT:
            return False
        raise
    return True
