"""What the commands share: which server they ask, and how a refusal is printed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from forebay.errors import ConfigurationError, ForebayError
from forebay_admin.client import find_server

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


TYPED_WRONG = ("InvalidArgument", "ConfigurationError")
"""Errors of the server that only other words can mend."""


class Refused(click.ClickException):
    """What cannot be done, and what to do about it; exit status 1."""

    def show(self, file: Any = None) -> None:
        """Print the reason to standard error."""
        click.echo(f"forebay: {self.message}", err=True)


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
            return command(server=find_server(url, token, config, storage), **rest)
        except ConfigurationError as error:
            raise Mistyped(str(error)) from error
        except ForebayError as error:
            kind = Mistyped if getattr(error, "code", "") in TYPED_WRONG else Refused
            raise kind(str(error)) from error

    wrapped: Any = run
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]  # click keeps the shape of what it decorates


def print_json(answer: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
