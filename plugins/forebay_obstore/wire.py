"""Signed HTTP requests to an S3 bucket, on kept connections, tried again where that is safe."""

from __future__ import annotations

import hashlib
import http.client
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyHeaderType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.exceptions import AwsCrtError
from awscrt.http import HttpHeaders, HttpRequest

from forebay.errors import PermissionDenied, Unavailable
from forebay_obstore.options import Patience

_AGAIN = frozenset({429, 500, 502, 503, 504})
_IDLE = 10.0  # seconds; servers close idle connections, and a request may be lost with one
_KEPT = 16
_MOST = 64 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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


def for_library(
    provider: AwsCredentialsProvider, patience: Patience
) -> Callable[[], dict[str, Any]]:
    """Hand the same credentials to the library, when it asks."""

    def credentials() -> dict[str, Any]:
        found = provider.get_credentials().result(patience.timeout)
        return {
            "access_key_id": found.access_key_id,
            "secret_access_key": found.secret_access_key,
            "token": found.session_token,
            "expires_at": found.expiration,
        }

    return credentials


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
        self._secure = parts.scheme == "https"
        self._host = parts.netloc
        self._path = quote(parts.path.rstrip("/"), safe="/~")
        self._patience = patience
        self._tls = tls
        self._region = region
        self._provider = provider
        self._lock = threading.Lock()
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._proxy = ""
        if not proxy_bypass(parts.hostname or ""):
            self._proxy = getproxies().get(parts.scheme, "")

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def send(
        self,
        method: str,
        key: str = "",
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        again: bool = True,
        most: int = _MOST,
    ) -> Answer:
        """Send a request for `key`, or for the bucket, and give the answer, whatever its status.

        Only with `again` a request that may have been carried out is repeated. Of the body no
        more than `most` bytes are read. Raises Unavailable when there is no answer.
        """
        target = self._path + ("/" + quote(key, safe="/~") if key else "")
        if query:
            pairs = (f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query)
            target += "?" + "&".join(pairs)
        target = target or "/"
        began = time.monotonic()
        for attempt in range(self._patience.retries + 1):
            last = (
                not again
                or attempt == self._patience.retries
                or time.monotonic() - began > self._patience.total
            )
            try:
                answer = self._once(method, target, headers or {}, body, again, most)
            except (OSError, http.client.HTTPException) as error:
                if last:
                    raise Unavailable(f"{method} {self._host}: {error!r}") from error
            else:
                if last or answer.status not in _AGAIN:
                    return answer
            time.sleep(min(2.0, 0.1 * 2**attempt) * random.uniform(0.5, 1))
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        again: bool,
        most: int,
    ) -> Answer:
        signed = self._signed(method, target, headers, body)
        while True:
            connection, kept = self._connection(again)
            try:
                connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in signed:
                    connection.putheader(name, value.encode())
                if body or method in ("PUT", "POST"):
                    connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body or None)
                response = connection.getresponse()
                content = response.read(most)
            except BaseException as error:
                connection.close()
                if kept and isinstance(error, ConnectionError):
                    continue  # the server had closed it meanwhile
                raise
            if response.will_close or not (response.isclosed() or response.read(1) == b""):
                connection.close()
            else:
                with self._lock:
                    self._idle.append((time.monotonic(), connection))
                    spare = self._idle.pop(0)[1] if len(self._idle) > _KEPT else None
                if spare is not None:
                    spare.close()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, content)

    def _signed(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> list[tuple[str, str]]:
        plain = [(name, value) for name, value in headers.items() if not name.startswith("x-amz-")]
        own = [(name, value) for name, value in headers.items() if name.startswith("x-amz-")]
        own.insert(0, ("host", self._host))
        if self._provider is None:
            return own + plain
        config = AwsSigningConfig(
            algorithm=AwsSigningAlgorithm.V4,
            signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=self._provider,
            region=self._region,
            service="s3",
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value=hashlib.sha256(body).hexdigest(),
            signed_body_header_type=AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        )
        request = HttpRequest(method, target, HttpHeaders(own))
        try:
            aws_sign_request(request, config).result(self._patience.timeout)
        except AwsCrtError as error:
            raise PermissionDenied(f"no credentials for {self._host}: {error}") from error
        return [*request.headers, *plain]

    def _connection(self, again: bool) -> tuple[http.client.HTTPConnection, bool]:
        """Give a connection, and whether it was used before."""
        while again:
            with self._lock:
                since, connection = self._idle.pop() if self._idle else (0.0, None)
            if connection is None:
                break
            if time.monotonic() - since < _IDLE:
                return connection, True
            connection.close()
        host = urlsplit(self._proxy).netloc if self._proxy and self._secure else self._host
        connection = (
            http.client.HTTPSConnection(host, timeout=self._patience.connect, context=self._tls)
            if self._secure
            else http.client.HTTPConnection(host, timeout=self._patience.connect)
        )
        if host != self._host:
            target = urlsplit(f"//{self._host}")
            connection.set_tunnel(target.hostname or "", target.port or 443)
        connection.connect()
        assert connection.sock is not None
        connection.sock.settimeout(self._patience.timeout)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, False
