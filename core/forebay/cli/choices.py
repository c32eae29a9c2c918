"""What the commands share: how a configuration is chosen, and how a refusal is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from forebay.config import Config, read
from forebay.errors import ConfigurationError, ForebayError, PluginError

F = TypeVar("F", bound=Callable[..., Any])

_CHOICES = (
    click.argument("storage", required=False, metavar="[PATH_OR_URI]"),
    click.option(
        "--config",
        "-c",
        "path",
        metavar="FILE",
        envvar="FOREBAY_CONFIG",
        help="Read this forebay.toml.",
    ),
    click.option("--listen", metavar="HOST:PORT", help="Listen here instead of 127.0.0.1:39999."),
    click.option(
        "--workers", metavar="N", type=click.IntRange(1, 256), help="Serve by this many processes."
    ),
    click.option(
        "--property",
        "-p",
        "properties",
        metavar="KEY=VALUE",
        multiple=True,
        help="Set a property, like alluxio.proxy.s3.writetype=THROUGH. May be repeated.",
    ),
)


class Refusal(click.ClickException):
    """What the operator has to change; exit status 2, no traceback."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the reasons, one a line, to standard error."""
        click.echo(f"forebay: {self.message}", err=True)


def chooses_config(command: F) -> F:
    """Give a command the argument and options that `chosen` takes."""
    for choice in reversed(_CHOICES):
        command = choice(command)
    return command


def chosen(
    storage: str | None,
    path: str | None,
    listen: str | None,
    workers: int | None,
    properties: tuple[str, ...],
) -> Config:
    """Load the configuration that the command line describes. Raises ConfigurationError."""
    config, faults = described(storage, path, listen, workers, properties)
    if faults:
        raise ConfigurationError(*faults)
    return config


def described(
    storage: str | None,
    path: str | None,
    listen: str | None,
    workers: int | None,
    properties: tuple[str, ...],
) -> tuple[Config, list[str]]:
    """Give what could be read of the configuration that the command line describes, and its faults.

    Raises ConfigurationError where there is nothing to read.
    """
    if storage is None and path is None:
        raise ConfigurationError(
            "nothing to serve: name a directory or URI (`forebay serve ./data`), "
            "or a configuration (`forebay serve --config forebay.toml`)"
        )
    pairs = [one.partition("=") for one in properties]
    odd = [f"--property {name}: write it as KEY=VALUE" for name, equals, _ in pairs if not equals]
    given = {name.strip(): value.strip() for name, equals, value in pairs if equals}
    config, faults = read(path, storage=storage, listen=listen, workers=workers, properties=given)
    return config, odd + faults


@contextmanager
def plainly() -> Iterator[None]:
    """Turn what Forebay raises on purpose into a sentence and an exit status."""
    try:
        yield
    except ConfigurationError as error:
        title = "this cannot be served" if len(error.faults) > 1 else ""
        lines = [f"  {fault}" for fault in error.faults] if title else list(error.faults)
        raise Refusal("\n".join(filter(None, [title and f"{title}:", *lines]))) from error
    except PluginError as error:
        raise Refusal(str(error)) from error
    except ForebayError as error:
        raise click.ClickException(f"{type(error).__name__}: {error}") from error
