"""What the commands share: which server they ask, and how a refusal is printed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from forebay.errors import ConfigurationError, ForebayError
from forebay_admin.client import find_server
from forebay_admin.drawing import visible

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--server", "url", metavar="URL", envvar="FOREBAY_SERVER", help="Ask the server there."
    ),
    click.option(
        "--token",
        metavar="TOKEN",
        envvar="FOREBAY_ADMIN_TOKEN",
        help="Its admin token; on its own machine it is found in its state.",
    ),
    click.option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="FOREBAY_CONFIG",
        help="Ask the server that runs with this forebay.toml.",
    ),
    click.option(
        "--storage", metavar="PATH_OR_URI", help="Ask the server that `forebay serve` gave this."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
)


_NAMES = ("url", "config", "storage")
"""Options that name a server, each for itself."""

TYPED_WRONG = ("InvalidArgument", "ConfigurationError")
"""Errors of the server that only other words can mend."""


class Refused(click.ClickException):
    """What cannot be done, and what to do about it; exit status 1."""

    def show(self, file: Any = None) -> None:
        """Print the reason to standard error."""
        for line in f"forebay: {self.message}".split("\n"):
            click.echo(visible(line), err=True)


class Mistyped(Refused):
    """What was typed cannot be; exit status 2."""

    exit_code = 2


def asks(command: F) -> F:
    """Give a command the options that choose a server; it is called with `server`, `as_json`."""

    @functools.wraps(command)
    def run(
        *, url: str | None, token: str | None, config: str | None, storage: str | None,
        **rest: Any,
    ) -> Any:  # fmt: skip
        try:
            chosen = _choose(url=url, token=token, config=config, storage=storage)
            return command(server=find_server(**chosen), **rest)
        except ConfigurationError as error:
            raise Mistyped(str(error)) from error
        except ForebayError as error:
            kind = Mistyped if getattr(error, "code", "") in TYPED_WRONG else Refused
            raise kind(str(error)) from error

    wrapped: Any = run
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]  # click keeps the shape of what it decorates


def _choose(**given: str | None) -> dict[str, str | None]:
    """Leave out what the environment says where the command line names another server.

    Raises Mistyped where the command line names two.
    """
    context = click.get_current_context()
    typed = {
        name
        for name, value in given.items()
        if value and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    named = [f"--{'server' if name == 'url' else name}" for name in _NAMES if name in typed]
    if len(named) > 1:
        raise Mistyped(f"{' and '.join(named)} each name a server: give one of them")
    if typed & {"config", "storage"}:
        # The token of the environment belongs to the server of the environment.
        others = {"url", "config", "storage"} | ({"token"} if given["url"] else set())
        given |= dict.fromkeys(others - typed)
    return given


def print_json(answer: object) -> None:
    """Print one JSON document."""
    click.echo(json_text(answer, indent=2))


def json_text(answer: object, indent: int | None = None) -> str:
    """Give a JSON document with all that moves a terminal written out."""
    text = json.dumps(answer, indent=indent, ensure_ascii=False)
    return "".join(one if one.isprintable() or one == "\n" else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    # json leaves DEL as it is, whatever it is told.
    return "\\u007f" if one == "\x7f" else json.dumps(one)[1:-1]
