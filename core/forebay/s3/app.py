"""The falcon application: one sink for S3, and routes only under ``/-/``."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote_to_bytes

import falcon
from falcon.inspect import inspect_routes, inspect_sinks

from forebay.errors import PluginError
from forebay.s3.address import decode, parse_address
from forebay.s3.attributes import refuse
from forebay.s3.call import Answer, Call, error_document, explain
from forebay.s3.dialect import ALLUXIO, AWS
from forebay.s3.errors import S3Error
from forebay.s3.operations import level_of, select
from forebay.s3.outgoing import Blocks
from forebay.s3.sigv4 import identify

if TYPE_CHECKING:
    from forebay.runtime import Forebay

_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"(?:[\w.\-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?", re.ASCII)
_VERSION = re.compile(r"[\w.\-]{32,1024}", re.ASCII)


def create_app(forebay: Forebay) -> falcon.App[falcon.Request, falcon.Response]:
    """Make the WSGI application of an open Forebay; it keeps no state but its own."""
    app = falcon.App()
    # S3 sends none with an empty body, WSGI wants one: our server drops an empty one.
    app.resp_options.default_media_type = ""
    app.add_route("/-/health", Health())
    app.add_route("/-/ready", Ready(forebay))
    app.add_sink(FrontEnd(forebay).serve, prefix=re.compile(""))
    forebay.hooks.register_routes(app=app, forebay=forebay)
    _check_routes(app)
    return app


def _check_routes(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    """Raise PluginError when a plugin's route could take an object's place."""
    everything, *others = reversed(inspect_sinks(app))
    routes = [(route.path, route.class_name) for route in inspect_routes(app)]
    for path, name in [*routes, *((sink.prefix, sink.name) for sink in others)]:
        if not path.startswith("/-/"):
            raise PluginError(
                f"{name} answers {path}, where buckets are; a plugin's routes begin with /-/"
            )
    assert everything.prefix == ""


class Ready:
    """Says whether this process can answer requests now: 200, or 503 while it cannot."""

    def __init__(self, forebay: Forebay) -> None:
        self._forebay = forebay

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer ready or not ready."""
        ready = self._forebay.ready
        response.status = falcon.HTTP_200 if ready else falcon.HTTP_503
        response.content_type = falcon.MEDIA_TEXT
        response.text = "ready" if ready else "not ready"

    on_head = on_get


class Health:
    """Says that requests are answered."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer ok."""
        response.content_type = falcon.MEDIA_TEXT
        response.text = "ok"

    on_head = on_get


class FrontEnd:
    """Turns WSGI requests into calls of operations, and whatever comes of them into answers."""

    def __init__(self, forebay: Forebay) -> None:
        self._forebay = forebay
        self._base = forebay.config.s3.base_path.rstrip("/")
        self._domain = forebay.config.s3.domain
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def pool(self) -> Executor:
        """Give the threads for completions, made at first use: after a fork, not before."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self._forebay.config.properties.complete_pool_size, "complete"
                )
                self._forebay.before_close(self._pool.shutdown)
            return self._pool

    def serve(self, req: falcon.Request, resp: falcon.Response, **_: Any) -> None:
        """Answer one request."""
        request_id = secrets.token_hex(8).upper()
        environ = req.env
        method = req.method
        resource = ""
        try:
            target = _target(environ)
            resource = _shown(target.partition("?")[0])
            answer, status = self._answer(environ, method, target, resource, request_id)
        except Exception as exc:
            error = explain(exc, request_id)
            status = error.status
            answer = Answer({name.lower(): value for name, value in error.headers.items()})
            if method != "HEAD" and status != 304:
                answer.headers["content-type"] = "application/xml"
                answer.body = error_document(error, resource, request_id)
        resp.status = status
        resp.set_header("x-amz-request-id", request_id)
        resp.set_headers(answer.headers)
        if answer.stream is not None:
            if isinstance(answer.stream, Blocks):
                answer.stream.views = "forebay.views" in environ
            resp.stream = cast(Iterable[bytes], answer.stream)
        elif method != "HEAD" and status not in (204, 304):
            resp.data = answer.body
        elif method == "HEAD" and "content-length" not in answer.headers:
            resp.set_header("content-length", "0")

    def _answer(
        self, environ: dict[str, Any], method: str, target: str, resource: str, request_id: str
    ) -> tuple[Answer, int]:
        forebay = self._forebay
        path, _, raw_query = target.partition("?")
        headers = _headers(environ)
        query = parse_query(raw_query)
        identity = identify(
            headers, query, auth=forebay.config.auth, launch_user=forebay.launch_user
        )
        host = headers.get("host")
        _check_host(host, environ)
        dialect = AWS
        base = self._base
        below = path == base or path.startswith(base + "/")
        # Below a host name that is a bucket, the base path is the beginning of a key.
        if below and parse_address("/", host=host, domain=self._domain).bucket is None:
            dialect = ALLUXIO
        address = (
            parse_address(path[len(base) :] or "/")
            if dialect is ALLUXIO
            else parse_address(path, host=host, domain=self._domain)
        )
        level = level_of(address.bucket, address.key)
        operation = select(method, level, query, headers)
        call = Call(
            forebay=forebay,
            dialect=dialect,
            address=address,
            method=method,
            headers=headers,
            query=query,
            identity=identity,
            request_id=request_id,
            resource=resource,
            url=f"{environ['wsgi.url_scheme']}://{host or ''}{path}",
            raw=environ["wsgi.input"],
            content_length=_content_length(environ),
            transfer_chunked="chunked" in headers.get("transfer-encoding", "").lower(),
            pool=self.pool,
        )
        bucket = None
        if address.bucket is not None and not (operation.makes_bucket and not address.prefix):
            bucket = call.bucket
            call.expect_owner(bucket)
        if operation.asks_per_key:
            call.check_ownership(bucket)
        else:
            key = None if address.key is None else call.key
            call.authorize(operation.name, bucket, address.bucket, key)
        if "versionId" in query:
            _check_version(query["versionId"])
        if method in ("PUT", "POST"):
            refuse(headers)
        answer = operation.function(call)
        return answer, answer.status or operation.status


# --- the request as WSGI has it ---------------------------------------------------------


def _target(environ: Mapping[str, Any]) -> str:
    """Give path and query as they were sent. Raises InvalidURI.

    PATH_INFO is of no use where this is there: it is decoded, and servers tidy it up.
    """
    target: str | None = environ.get("REQUEST_URI") or environ.get("RAW_URI")
    if not target:
        target = quote(environ.get("PATH_INFO", "").encode("latin-1")) or "/"
    if not target.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None or absolute[1].lower() != environ.get("HTTP_HOST", "").lower():
            raise S3Error("InvalidURI")
        target = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    # Some servers leave the query out of it.
    query = environ.get("QUERY_STRING")
    return target if "?" in target or not query else f"{target}?{query}"


def _shown(path: str) -> str:
    """Give the path for people to read."""
    return unquote_to_bytes(path.encode("latin-1")).decode("utf-8", "replace").replace("\0", "?")


def parse_query(raw: str) -> dict[str, str]:
    """Give the parameters of a query, decoded once; the first of a name counts.

    Raises InvalidURI for what is not UTF-8 or badly encoded.

    >>> parse_query("prefix=a%2Bb+c&uploads&x=")
    {'prefix': 'a+b c', 'uploads': '', 'x': ''}
    """
    query: dict[str, str] = {}
    for item in raw.split("&") if raw else ():
        name, _, value = item.replace("+", "%20").partition("=")
        if name:
            query.setdefault(decode(name), decode(value))
    return query


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if content_type := environ.get("CONTENT_TYPE"):
        headers["content-type"] = content_type
    # WSGI writes dashes as underscores, so names that have underscores come beside it.
    headers.update(environ.get("forebay.underscored", {}))
    return headers


def _check_host(host: str | None, environ: Mapping[str, Any]) -> None:
    """Refuse a Host that names no single host, and its absence where HTTP wants one."""
    if host is None:
        if environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
            raise S3Error("InvalidRequest", "The Host header is missing.")
    elif not _HOST.fullmatch(host):
        raise S3Error("InvalidRequest", "The Host header is not a host.")


def _content_length(environ: Mapping[str, Any]) -> int | None:
    """Give the length of the body as announced. Raises InvalidArgument."""
    given = environ.get("CONTENT_LENGTH")
    if given is None or given == "":
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 19):
        raise S3Error(
            "InvalidArgument", ArgumentName="Content-Length", ArgumentValue=str(given)[:100]
        )
    return int(given)


def _check_version(version_id: str) -> None:
    """Refuse a version other than ``null``, the only one there is."""
    if version_id == "null":
        return
    if _VERSION.fullmatch(version_id):
        raise S3Error("NoSuchVersion", VersionId=version_id)
    raise S3Error(
        "InvalidArgument",
        "Invalid version id specified" if version_id else "Version id cannot be the empty string",
        ArgumentName="versionId",
        ArgumentValue=version_id[:100],
    )
