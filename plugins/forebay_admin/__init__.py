"""Operators' commands: an HTTP API under ``/-/admin`` and the command line that speaks to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.hookspecs import hookimpl

if TYPE_CHECKING:
    import click
    import falcon

    from forebay.runtime import Forebay


@hookimpl(trylast=True)
def register_routes(app: falcon.App[falcon.Request, falcon.Response], forebay: Forebay) -> None:
    """Answer under ``/-/admin``, unless the configuration says no."""
    if forebay.config.admin.enabled:
        from forebay_admin.api import add_to

        add_to(app, forebay)


@hookimpl(trylast=True)
def register_commands(cli: click.Group) -> None:
    """Add ``stat``, ``ls``, ``load`` and the others."""
    from forebay_admin.commands import COMMANDS

    for command in COMMANDS:
        cli.add_command(command)
