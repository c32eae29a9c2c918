"""Signed HTTP requests to an S3 bucket, tried again where that is safe."""

from __future__ import annotations

import hashlib
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, cast
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyHeaderType,
    AwsSignedBodyValue,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.exceptions import AwsCrtError
from awscrt.http import HttpHeaders, HttpRequest
from urllib3.exceptions import HTTPError

from forebay.errors import PermissionDenied, Unavailable
from forebay.streams import BLOCK
from forebay_obstore.options import Patience

_AGAIN = frozenset({429, 500, 502, 503, 504})
_KEPT = 128
"""Connections that are kept; more are opened and closed as they are needed."""
_MOST = 64 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Open:
    """The begin of an answer; `close` lets go of it.

    Either `blocks` gives its body as it arrives, or `into` fills memory with it; what is not
    filled is the end of the answer.
    """

    answer: Answer
    blocks: Iterator[bytes]
    into: Callable[[memoryview], int]
    close: Callable[[], object]


class Blocks:
    """A body of `size` bytes that is sent as it comes, once; its payload is not signed.

    Remembers in `failure` what the blocks raised, whatever becomes of that on the way.
    """

    def __init__(self, blocks: Iterator[bytes], size: int) -> None:
        self._blocks = blocks
        self._size = size
        self.failure: BaseException | None = None

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._blocks
        except Exception as failure:
            self.failure = failure
            raise


def provider_of(options: Mapping[str, Any]) -> AwsCredentialsProvider | None:
    """Give what provides credentials: the options, else the usual places; None: anonymous."""
    if options.get("anonymous"):
        return None
    if "access_key_id" in options:
        return AwsCredentialsProvider.new_static(
            options["access_key_id"], options["secret_access_key"], options.get("session_token")
        )
    if "profile" in options:
        return AwsCredentialsProvider.new_profile(profile_name=options["profile"])
    return AwsCredentialsProvider.new_default_chain()


class Wire:
    """Requests to the bucket at `base`, signed with the credentials of `provider` if any."""

    def __init__(
        self,
        base: str,
        region: str,
        provider: AwsCredentialsProvider | None,
        patience: Patience,
        tls: ssl.SSLContext,
    ) -> None:
        parts = urlsplit(base)
        self._host = parts.netloc
        self._path = quote(parts.path.rstrip("/"), safe="/~")
        self._patience = patience
        self._region = region
        self._provider = provider
        proxy = ""
        if parts.scheme == "https" and not proxy_bypass(parts.hostname or ""):
            proxy = getproxies().get("https", "")
        usual: dict[str, Any] = {"maxsize": _KEPT, "ssl_context": tls, "retries": False}
        usual["timeout"] = urllib3.Timeout(connect=patience.connect, read=patience.timeout)
        ways = urllib3.ProxyManager(proxy, **usual) if proxy else urllib3.PoolManager(**usual)
        self._pool = ways.connection_from_url(base)
        kind = self._pool.ConnectionCls
        self._pool.ConnectionCls = type("Connection", (kind,), {"response_class": _WholeHeader})

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._pool.close()

    def send(
        self,
        method: str,
        key: str = "",
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | Blocks = b"",
        *,
        again: bool = True,
        most: int = _MOST,
    ) -> Answer:
        """Send a request for `key`, or for the bucket, and give the answer, whatever its status.

        Only with `again` a request that may have been carried out is repeated. Of the body no
        more than `most` bytes are read. Raises Unavailable when there is no answer.
        """

        def whole() -> Answer:
            got = self._once(method, key, query, headers or {}, body)
            return _read(got, most)

        return self._tried(method, whole, again=again)

    def open(self, key: str, headers: Mapping[str, str]) -> Open:
        """Send a GET and give the answer as soon as it begins; the body of a bad one is whole.

        Raises Unavailable when there is no answer.
        """
        got: list[urllib3.BaseHTTPResponse] = []

        def begun() -> Answer:
            response = self._once("GET", key, (), headers, b"")
            if response.status >= 300:
                return _read(response, _MOST)
            got[:] = [response]
            return Answer(response.status, _headers(response), b"")

        answer = self._tried("GET", begun, again=True)

        def close() -> None:
            for response in got:
                response.close()

        return Open(answer, self._blocks(got), partial(self._into, got), close)

    def _into(self, got: Sequence[urllib3.BaseHTTPResponse], room: memoryview) -> int:
        for response in got:
            # urllib3's own readinto makes new memory and copies out of it.
            body = cast(urllib3.HTTPResponse, response)._original_response
            assert body is not None, "it was made by urllib3 itself"
            try:
                count = body.readinto(room)
            except (OSError, HTTPException) as error:
                raise Unavailable(f"GET {self._host}: {error!r}") from error
            if body.isclosed():
                (response.close if body.length else response.release_conn)()
            return count
        return 0

    def _blocks(self, got: Sequence[urllib3.BaseHTTPResponse]) -> Iterator[bytes]:
        for response in got:
            try:
                while block := response.read1(BLOCK):
                    yield block
            except (OSError, HTTPError) as error:
                raise Unavailable(f"GET {self._host}: {error!r}") from error

    def _tried(self, method: str, once: Callable[[], Answer], *, again: bool) -> Answer:
        began = time.monotonic()
        for attempt in range(self._patience.retries + 1):
            last = (
                not again
                or attempt == self._patience.retries
                or time.monotonic() - began > self._patience.total
            )
            try:
                answer = once()
            except (OSError, HTTPError) as error:
                if last:
                    hint = "; the option `ca_file` names more authorities"
                    told = f"{error!r}{hint if 'CERTIFICATE_VERIFY' in repr(error) else ''}"
                    raise Unavailable(f"{method} {self._host}: {told}") from error
            else:
                if last or answer.status not in _AGAIN:
                    return answer
            time.sleep(min(2.0, 0.1 * 2**attempt) * random.uniform(0.5, 1))
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self,
        method: str,
        key: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        body: bytes | Blocks,
    ) -> urllib3.BaseHTTPResponse:
        target = self._path + ("/" + quote(key, safe="/~") if key else "")
        if query:
            pairs = (f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query)
            target += "?" + "&".join(pairs)
        target = target or "/"
        # The pool, not the manager: that one would take the dots out of a path.
        return self._pool.urlopen(
            method,
            target,
            body=body or (b"" if method in ("PUT", "POST") else None),
            headers=self._signed(method, target, headers, body),
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )

    def _signed(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | Blocks
    ) -> dict[str, str]:
        # What is not signed may be changed on the way: proxies do.
        plain = {name: text for name, text in headers.items() if not name.startswith("x-amz-")}
        own = {name: text for name, text in headers.items() if name.startswith("x-amz-")}
        own["host"] = self._host
        if self._provider is None:
            return own | plain
        config = AwsSigningConfig(
            algorithm=AwsSigningAlgorithm.V4,
            signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=self._provider,
            region=self._region,
            service="s3",
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value=(
                AwsSignedBodyValue.UNSIGNED_PAYLOAD
                if isinstance(body, Blocks)
                else hashlib.sha256(body).hexdigest()
            ),
            signed_body_header_type=AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        )
        request = HttpRequest(method, target, HttpHeaders(own.items()))
        try:
            aws_sign_request(request, config).result(self._patience.timeout)
        except AwsCrtError as error:
            raise PermissionDenied(f"no credentials for {self._host}: {error}") from error
        return dict(request.headers) | plain


class _WholeHeader(HTTPResponse):
    """An answer whose header came to its end; Python takes one that was cut off for a whole one."""

    def begin(self) -> None:
        """Read the header. Raises IncompleteRead."""
        if self.headers is not None:
            return
        plain = self.fp
        self.fp = lines = _Lines(plain)
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = plain
        if lines.last not in (b"\r\n", b"\n"):
            raise IncompleteRead(lines.last)


class _Lines:
    """Gives the lines of a file and remembers the last one."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        """Give the next line."""
        self.last = self._file.readline(limit)
        return self.last

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _headers(response: urllib3.BaseHTTPResponse) -> dict[str, str]:
    return {name.lower(): text for name, text in response.headers.items()}


def _read(response: urllib3.BaseHTTPResponse, most: int) -> Answer:
    try:
        body = response.read(most)
        if response.read(1):
            response.close()  # there is more than was to be read
        return Answer(response.status, _headers(response), body)
    finally:
        response.release_conn()
