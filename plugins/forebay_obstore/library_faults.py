"""What an exception of the library means to the rest of Forebay."""

from __future__ import annotations

import re
from types import TracebackType

from obstore import exceptions

from forebay.errors import (
    InvalidKey,
    NotFound,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    StorageError,
    Unavailable,
)
from forebay_obstore.faults import ADVICE, CODES, meaning

KINDS: tuple[tuple[type[Exception], type[StorageError]], ...] = (
    (FileNotFoundError, NotFound),
    (exceptions.AlreadyExistsError, PreconditionFailed),
    (exceptions.PreconditionError, PreconditionFailed),
    (exceptions.PermissionDeniedError, PermissionDenied),
    (exceptions.UnauthenticatedError, PermissionDenied),
    (exceptions.NotSupportedError, NotSupported),
    (exceptions.InvalidPathError, InvalidKey),
)
"""The library's exceptions that need no look at the answer they came from."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")


def of_library(error: Exception) -> type[StorageError]:
    """Give the error that an exception of the library is."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if code is not None and code[1] in CODES:
        return CODES[code[1]]
    for kind, meant in KINDS:
        if isinstance(error, kind):
            return meant
    if status is not None:
        return meaning(int(status[1]))
    # No answer at all: refused, timed out, cut off, no such host.
    return Unavailable if "HTTP error" in text or "reqwest" in text else StorageError


class Translated:
    """Turns an exception of the library inside a ``with`` into the storage error that it means."""

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
        if not isinstance(error, exceptions.BaseError | FileNotFoundError):
            return
        told = str(error).partition("\n")[0][:500]
        code = _CODE.search(str(error))
        if code is not None and code[1] in ADVICE:
            told += f"; {ADVICE[code[1]]}"
        raise of_library(error)(f"{self._key!r}: {told}") from error
