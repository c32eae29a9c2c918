"""What an answer of an object store means to the rest of Forebay: one table."""

from __future__ import annotations

from forebay.errors import (
    InvalidKey,
    KeyTooLong,
    NoSpace,
    NotFound,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    StorageError,
    Unavailable,
)


class Gone(StorageError):
    """An upload, or a part that it was to have, is not there."""


CODES: dict[str, type[StorageError]] = {
    # The mount's own bucket: its objects are out of reach, not gone.
    "NoSuchBucket": Unavailable,
    "ContainerNotFound": Unavailable,
    "ContainerBeingDeleted": Unavailable,
    "NoSuchUpload": Gone,
    "InvalidPart": Gone,
    "QuotaExceeded": NoSpace,
    "EntityTooLarge": NoSpace,
    "XMinioStorageFull": NoSpace,
    "KeyTooLongError": KeyTooLong,
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

ADVICE: dict[str, str] = {
    code: f"there is no such {what}: make it first, or correct the mount's URI or endpoint_url"
    for code, what in (("NoSuchBucket", "bucket"), ("ContainerNotFound", "container"))
}
"""What an operator can do about a code that speaks of the mount itself."""


def meaning(status: int, code: str = "") -> type[StorageError]:
    """Give the error that an answer of this status, with this code, is."""
    return CODES.get(code) or STATUSES.get(status, StorageError)
