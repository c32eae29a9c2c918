"""The HTTP API: one sink that checks the token, finds the row of the table and answers JSON."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import falcon
import msgspec

from forebay import errors
from forebay_admin.endpoints import ENDPOINTS, Arguments, Endpoint
from forebay_admin.token import NAME, is_right, token_of

if TYPE_CHECKING:
    from forebay.runtime import Forebay

PREFIX = "/-/admin"
LARGEST = 4 << 20
"""Bytes of a request body that are read at most."""

log = logging.getLogger("forebay.admin")

_ROWS = {(row.method, row.name): row for row in ENDPOINTS}
_NAMES = sorted({row.name for row in ENDPOINTS})

_STATUS: Mapping[type[errors.ForebayError], int] = MappingProxyType(
    {
        errors.NoSuchBucket: 404,
        errors.NoSuchKey: 404,
        errors.NotFound: 404,
        errors.AccessDenied: 403,
        errors.PermissionDenied: 403,
        errors.InvalidArgument: 400,
        errors.InvalidRequest: 400,
        errors.KeyTooLongError: 400,
        errors.InvalidKey: 400,
        errors.NotSupported: 400,
        errors.ConfigurationError: 400,
        errors.MountBusy: 409,
        errors.BucketNotEmpty: 409,
        errors.ConditionFailed: 412,
        errors.ConditionalRequestConflict: 409,
        errors.S3Condition: 503,
        errors.StorageError: 503,
    }
)
"""HTTP status of each error; the nearest ancestor counts."""


class Refused(Exception):
    """An answer that is an error, before anything was asked of Forebay."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def add_to(app: falcon.App[falcon.Request, falcon.Response], forebay: Forebay) -> None:
    """Add the API to the application of a worker process."""
    app.add_sink(Api(forebay).serve, prefix=re.compile(rf"{PREFIX}(?:/|$)"))


class Api:
    """Answers operators; any worker process does, for what it answers lies in the catalog."""

    def __init__(self, forebay: Forebay) -> None:
        self._forebay = forebay
        self._token = token_of(forebay.config.admin.token, forebay.config.state)

    def serve(self, req: falcon.Request, resp: falcon.Response, **kwargs: Any) -> None:
        """Answer one req."""
        status, answer = 200, None
        try:
            self._authenticate(req)
            row = _row(req)
            answer = self._answer(row, _arguments(req, row.arguments))
        except Refused as refused:
            status = refused.status
            answer = _error(refused.code, refused.message)
        except errors.ForebayError as error:
            status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
            answer = _error(type(error).__name__, str(error) or type(error).__name__)
        except Exception:
            log.exception("%s %s failed", req.method, req.path)
            status = 500
            answer = _error("InternalError", "this is a fault of Forebay; the server's log has it")
        resp.status = status
        resp.content_type = falcon.MEDIA_JSON
        resp.set_header("Cache-Control", "no-store")
        if status == 401:
            resp.set_header("WWW-Authenticate", 'Bearer realm="forebay"')
        resp.data = msgspec.json.encode(answer) + b"\n"

    def _authenticate(self, request: falcon.Request) -> None:
        if is_right(self._token, request.get_header("Authorization")):
            return
        if not self._token:
            raise Refused(
                401, "Unauthorized",
                "this server keeps no state and so made no token: write token under [admin]",
            )  # fmt: skip
        where = "[admin] token of its configuration"
        if not self._forebay.config.admin.token:
            where = f"{NAME} in the server's state directory"
        raise Refused(
            401, "Unauthorized",
            f"send the header Authorization: Bearer TOKEN; the token is in {where} "
            "(for the command line: --token or FOREBAY_ADMIN_TOKEN)",
        )  # fmt: skip

    def _answer(self, row: Endpoint, asked: Arguments) -> object:
        return row.answer(self._forebay, asked)


def _row(request: falcon.Request) -> Endpoint:
    name = request.path.removeprefix(PREFIX).strip("/")
    row = _ROWS.get((request.method, name))
    if row is not None:
        return row
    if name in _NAMES:
        allowed = " and ".join(method for method, other in _ROWS if other == name)
        raise Refused(405, "MethodNotAllowed", f"{name} takes {allowed}, not {request.method}")
    raise Refused(404, "NotFound", f"there is no {PREFIX}/{name}{_nearest(name, _NAMES)}")


def _arguments(request: falcon.Request, kind: type[Arguments]) -> Arguments:
    """Read the query or the body of a request. Raises Refused."""
    given: object = request.params
    if request.method == "POST":
        if (request.content_length or 0) > LARGEST:
            raise Refused(413, "TooLarge", f"a body has {LARGEST} bytes at most")
        body = request.bounded_stream.read(LARGEST)
        try:
            given = msgspec.json.decode(body or b"{}")
        except msgspec.DecodeError as error:
            raise Refused(400, "InvalidArgument", f"the body is not JSON: {error}") from error
    known = [field.name for field in msgspec.structs.fields(kind)]
    if isinstance(given, dict):
        for name in given:
            if name not in known:
                takes = f" (it takes {', '.join(known)})" if known else " (it takes none)"
                hint = f"there is no argument {name}{_nearest(name, known)}{takes}"
                raise Refused(400, "InvalidArgument", hint)
    try:
        return msgspec.convert(given, kind, strict=request.method == "POST")
    except msgspec.ValidationError as error:
        raise Refused(400, "InvalidArgument", str(error)) from error


def _nearest(name: str, known: list[str]) -> str:
    found = get_close_matches(name, known, 1)
    return f"; did you mean {found[0]}?" if found else ""


def _error(code: str, message: str) -> object:
    return {"error": {"code": code, "message": message}}
