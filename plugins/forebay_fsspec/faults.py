"""What fsspec and the libraries below it raise, put into Forebay's words: one table."""

from __future__ import annotations

import errno
import re
from types import TracebackType

from forebay.errors import (
    ForebayError,
    InvalidKey,
    NoSpace,
    NotFound,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    StorageError,
    Unavailable,
)

Kind = type[StorageError]

# Class names, because the libraries are optional and must not be imported to be known.
_BY_CLASS: dict[str, Kind] = {
    # Python's own
    "FileNotFoundError": NotFound,
    "NotADirectoryError": NotFound,
    "PermissionError": PermissionDenied,
    "TimeoutError": Unavailable,
    "ConnectionError": Unavailable,
    "EOFError": Unavailable,
    "gaierror": Unavailable,
    "SSLError": Unavailable,
    # ftplib
    "error_temp": Unavailable,
    # asyncssh
    "SFTPNoSuchFile": NotFound,
    "SFTPNoSuchPath": NotFound,
    "SFTPNotADirectory": NotFound,
    "SFTPPermissionDenied": PermissionDenied,
    "SFTPWriteProtect": PermissionDenied,
    "SFTPNoSpaceOnFilesystem": NoSpace,
    "SFTPQuotaExceeded": NoSpace,
    "SFTPInvalidFilename": InvalidKey,
    "SFTPOpUnsupported": NotSupported,
    "SFTPConnectionLost": Unavailable,
    "SFTPNoConnection": Unavailable,
    "PermissionDenied": PermissionDenied,
    "HostKeyNotVerifiable": PermissionDenied,
    "DisconnectError": Unavailable,
    "ChannelOpenError": Unavailable,
    "BrokenPipeError": Unavailable,
    # aiohttp, requests
    "ClientConnectionError": Unavailable,
    "ClientPayloadError": Unavailable,
    "Timeout": Unavailable,
    # botocore
    "HTTPClientError": Unavailable,
    "ResponseParserError": Unavailable,
    "NoCredentialsError": PermissionDenied,
    "PartialCredentialsError": PermissionDenied,
    # smbprotocol
    "SMBAuthenticationError": PermissionDenied,
    "SMBConnectionClosed": Unavailable,
}
_BY_ERRNO: dict[int, Kind] = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.ENAMETOOLONG: InvalidKey,
    errno.EILSEQ: InvalidKey,
    errno.ENOSYS: NotSupported,
    errno.EROFS: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.EBUSY: Unavailable,
    errno.EREMOTEIO: Unavailable,
    errno.EHOSTUNREACH: Unavailable,
    errno.ENETUNREACH: Unavailable,
    errno.EHOSTDOWN: Unavailable,
    errno.ETIMEDOUT: Unavailable,
}
_BY_STATUS: dict[int, Kind] = {
    401: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    408: Unavailable,
    410: NotFound,
    412: PreconditionFailed,
    414: InvalidKey,
    429: Unavailable,
    501: NotSupported,
    507: NoSpace,
}
_BY_FTP_CODE: dict[str, Kind] = {
    "530": PermissionDenied,
    "532": PermissionDenied,
    "552": NoSpace,
    "553": InvalidKey,
    "502": NotSupported,
    "504": NotSupported,
}
_REFUSED = re.compile(r"permission|denied|privilege|read.?only", re.IGNORECASE)


def kind_of_status(status: int) -> Kind:
    """Give the error that an HTTP status stands for."""
    return _BY_STATUS.get(status, Unavailable if status >= 500 else StorageError)


def kind_of(error: BaseException) -> Kind:
    """Give the error of ours that a foreign one stands for; StorageError when nothing is known."""
    if isinstance(error, StorageError):
        return type(error)
    names = [one.__name__ for one in type(error).__mro__]
    status = _status(error)
    if status is not None:
        return kind_of_status(status)
    if "error_perm" in names:
        return _of_ftp(str(error))
    for name in names:
        if name in _BY_CLASS:
            return _BY_CLASS[name]
    if isinstance(error, OSError) and error.errno is not None:
        return _BY_ERRNO.get(error.errno, StorageError)
    return StorageError


def _status(error: BaseException) -> int | None:
    """Find the HTTP status in an answer that came along: aiohttp's, requests', botocore's."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(response, "status_code", getattr(one, "status", None))
        if isinstance(status, int) and status >= 400:
            return status
    return None


def _of_ftp(reply: str) -> Kind:
    if reply[:3] == "550":  # servers say it of what is missing and of what is forbidden
        return PermissionDenied if _REFUSED.search(reply) else NotFound
    return _BY_FTP_CODE.get(reply[:3], StorageError)


class Translated:
    """Raises what comes through it as Forebay's error about `subject`, its cause behind it."""

    def __init__(self, subject: str) -> None:
        self._subject = subject

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A foreign file system may raise anything; only what is an error at all is translated.
        if isinstance(error, Exception) and not isinstance(error, ForebayError):
            said = str(error) or type(error).__name__
            raise kind_of(error)(f"{self._subject or '/'!r}: {said}") from error
