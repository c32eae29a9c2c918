"""What an operating system's error means to the rest of Forebay: one table."""

from __future__ import annotations

import errno
from types import TracebackType

from forebay.errors import (
    InvalidKey,
    NoSpace,
    NotFound,
    PermissionDenied,
    StorageError,
    Unavailable,
)

MEANING: dict[int, type[StorageError]] = {
    errno.ENOENT: NotFound,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: NoSpace,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.EROFS: PermissionDenied,
    errno.ENAMETOOLONG: InvalidKey,
    errno.EILSEQ: InvalidKey,
    errno.EMFILE: Unavailable,
    errno.ENFILE: Unavailable,
    errno.ESTALE: Unavailable,
    errno.ENOTCONN: Unavailable,
    errno.ETIMEDOUT: Unavailable,
    errno.EHOSTDOWN: Unavailable,
}
"""Errors with a meaning of their own; every other one is a plain StorageError."""

NOT_THERE = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EINVAL,
        errno.EILSEQ,
    }
)
"""Answers of a look-up that say: nothing of ours has that name (a symlink is not followed)."""

NAME_REFUSED = frozenset(
    {
        errno.EISDIR,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.ENAMETOOLONG,
        errno.EINVAL,
        errno.EILSEQ,
    }
)
"""Answers that say: this name is taken by something else, or can be none; try the next."""


def translated(error: OSError, key: str) -> StorageError:
    """Give the storage error that an OSError means."""
    meaning = MEANING.get(error.errno or 0, StorageError)
    return meaning(f"{key!r}: {error.strerror or error}")


class Translated:
    """Turns an OSError inside a ``with`` into the storage error that it means."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise translated(error, self._key) from error
