"""A client of the admin API: finds the server of this machine, asks it, and reads its refusals."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from forebay.config import load
from forebay.errors import ForebayError
from forebay.places import states
from forebay_admin.token import NAME

TIMEOUT = 300.0
"""Seconds that one answer may take."""


class Unreachable(ForebayError):
    """No server can be asked; the text says what to do."""


class Refusal(ForebayError):
    """The server says no; `code` is the name of its error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Server:
    """A server to ask: its URL, and the token it wants."""

    url: str
    token: str = field(repr=False)

    def get(self, name: str, **query: Any) -> Any:
        """Ask for something. Raises Unreachable, Refusal."""
        given = {key: _plain(value) for key, value in query.items() if value is not None}
        return self._ask("GET", f"{name}?{urlencode(given)}" if given else name)

    def post(self, name: str, **body: Any) -> Any:
        """Have something done. Raises Unreachable, Refusal."""
        return self._ask("POST", name, json.dumps(body).encode())

    def _ask(self, method: str, target: str, body: bytes | None = None) -> Any:
        parts = urlsplit(self.url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, f"{parts.path}/-/admin/{target}", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"no answer from {self.url} ({error or type(error).__name__}): is `forebay serve` "
                "running? Name another server by --server"
            ) from error
        finally:
            connection.close()
        return _answer(self.url, answer.status, text)


def find_server(
    url: str | None, token: str | None, config: str | None, storage: str | None
) -> Server:
    """Find the server that a command means, in this order: its URL, its configuration, its storage.

    Without any, it is the one server that runs on this machine with its state in the usual
    place. Raises Unreachable, ConfigurationError.
    """
    if url:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise Unreachable(f"{url!r} is no URL: write --server http://HOST:PORT")
        if not token and not config and not storage:
            raise Unreachable(
                f"--server {url} wants a token: --token or FOREBAY_ADMIN_TOKEN "
                f"(it is in {NAME} in the server's state directory)"
            )
    if url and token:
        return Server(url.rstrip("/"), token)
    if config or storage:
        chosen = load(config, storage=storage)
        state = chosen.state
        listening = f"http://{chosen.server.host}:{chosen.server.port}"
        found = url or _read(state, "endpoint") or listening
        return Server(found.rstrip("/"), token or chosen.admin.token or _token(state))
    return _running(token)


def _running(token: str | None) -> Server:
    """Give the one server that runs, among those that wrote down where they are."""
    found = {
        state: url
        for state in sorted(states().glob("*"))
        if (url := _read(str(state), "endpoint")) and _lives(url)
    }
    if not found:
        raise Unreachable(
            "no server was found on this machine: start one (`forebay serve ./data`), or say "
            "which is meant by --config FILE, --storage PATH_OR_URI or --server URL"
        )
    if len(found) > 1:
        raise Unreachable(
            f"several servers run on this machine: {', '.join(found.values())}; say which is "
            "meant by --config FILE, --storage PATH_OR_URI or --server URL"
        )
    [(state, url)] = found.items()
    return Server(url, token or _token(str(state)))


def _token(state: str) -> str:
    token = _read(state, NAME)
    if not token:
        raise Unreachable(
            f"there is no token in {Path(state, NAME)} that you may read: run this as the user "
            "of the server, or give --token or FOREBAY_ADMIN_TOKEN"
        )
    return token


def _read(state: str, name: str) -> str:
    try:
        return Path(state, name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _lives(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", "/-/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _answer(url: str, status: int, text: bytes) -> Any:
    try:
        answer = json.loads(text)
    except ValueError as error:
        raise Unreachable(
            f"{url} answers {status} without JSON: is it Forebay, and its [admin] enabled?"
        ) from error
    if status == 200:
        return answer
    said: Mapping[str, str] = answer.get("error", {}) if isinstance(answer, dict) else {}
    raise Refusal(said.get("code", str(status)), said.get("message", f"{url} answers {status}"))


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
