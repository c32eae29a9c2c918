"""``forebay plugins``: what is installed, and what it adds."""

from __future__ import annotations

from dataclasses import asdict

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forebay.cli.choices import plainly
from forebay.plugins import Plugins


@click.command(short_help="Installed plugins, and their hooks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def plugins(as_json: bool) -> None:
    """List the installed plugins, the distributions they came with and their hooks."""
    with plainly():
        rows = Plugins().listing()
    if as_json:
        click.echo(msgspec.json.encode([asdict(row) for row in rows]))
        return
    table = Table("plugin", "distribution", "hooks")
    for row in rows:
        origin = escape(f"{row.distribution} {row.version}")
        table.add_row(escape(row.name), origin, "\n".join(row.hooks))
    Console(highlight=False).print(table)
