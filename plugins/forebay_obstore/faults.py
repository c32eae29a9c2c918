"""What an answer or an exception of an object store means to the rest of Forebay: one table."""

from __future__ import annotations

import re
from types import TracebackType

from obstore import exceptions

from forebay.errors import (
    InvalidKey,
    NoSpace,
    NotFound,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    StorageError,
    Unavailable,
)

CODES: dict[str, type[StorageError]] = {
    # The mount's own bucket: its objects are out of reach, not gone.
    "NoSuchBucket": Unavailable,
    "ContainerNotFound": Unavailable,
    "ContainerBeingDeleted": Unavailable,
    "NoSuchUpload": StorageError,
    "QuotaExceeded": NoSpace,
    "EntityTooLarge": NoSpace,
    "XMinioStorageFull": NoSpace,
    "KeyTooLongError": InvalidKey,
    "InvalidURI": InvalidKey,
    "InvalidObjectName": InvalidKey,
    "XMinioInvalidObjectName": InvalidKey,
    "InvalidResourceName": InvalidKey,
    "OutOfRangeInput": InvalidKey,
    "ExpiredToken": PermissionDenied,
    "InvalidToken": PermissionDenied,
    "AuthorizationHeaderMalformed": PermissionDenied,
    "ConditionalRequestConflict": PreconditionFailed,
    "OperationAborted": Unavailable,
    "RequestTimeout": Unavailable,
    "NotImplemented": NotSupported,
}
"""Codes of error documents that say more than their status does."""

STATUSES: dict[int, type[StorageError]] = {
    301: PermissionDenied,  # another region's bucket: useless until the operator writes it down
    307: Unavailable,
    401: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    405: NotSupported,
    408: Unavailable,
    409: PreconditionFailed,
    412: PreconditionFailed,
    429: Unavailable,
    500: Unavailable,
    501: NotSupported,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: NoSpace,
}
"""Statuses with a meaning; every other one is a plain StorageError."""

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
_UNREADABLE = re.compile("Metadata value for .* contained non|Received non-partial response")


class Unreadable(StorageError):
    """The library dislikes an answer's headers, and so does not give its bytes either."""


def meaning(status: int, code: str = "") -> type[StorageError]:
    """Give the error that an answer of this status, with this code, is."""
    return CODES.get(code) or STATUSES.get(status, StorageError)


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
        told = str(error).partition("\n")[0]
        if _UNREADABLE.search(told):
            raise Unreadable(f"{self._key!r}: {told[:500]}") from error
        raise of_library(error)(f"{self._key!r}: {told[:500]}") from error
