"""The command line: ``forebay serve``, ``check``, ``plugins``, and the commands of plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from forebay import __version__
from forebay.cli.check import check
from forebay.cli.choices import Refusal
from forebay.cli.listing import plugins
from forebay.cli.serve import serve
from forebay.errors import PluginError

_EPILOG = """
\b
Start here:
  forebay serve ./data            every directory below ./data becomes a bucket
  aws --endpoint-url http://127.0.0.1:39999 s3 ls

\b
Then:
  forebay check --config forebay.toml     what would be served, or every fault
  forebay plugins                         what is installed, and what it adds
  forebay ls s3://bucket/                 what is there, and how much of it is close at hand
"""


class Commands(click.Group):
    """Forebay's own commands, and those that plugins add, which are asked for when needed."""

    def __init__(self, *given: Any, own: Sequence[click.Command] = (), **others: Any) -> None:
        super().__init__(*given, **others)
        self._own = {command.name: command for command in own}
        self._asked = False
        for command in own:
            super().add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names of all commands; a plugin that fails is named, and left out."""
        try:
            self._ask()
        except PluginError as error:
            click.echo(f"forebay: {error}", err=True)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Give a command; plugins are loaded only for one that is not Forebay's own."""
        if cmd_name not in self.commands:
            try:
                self._ask()
            except PluginError as error:
                raise Refusal(str(error)) from error
        return super().get_command(ctx, cmd_name)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command; the first plugin to use a name keeps it, Forebay's own are refused."""
        name = name or cmd.name or ""
        if name in self._own:
            raise PluginError(f"a plugin adds a command {name}, which is Forebay's own")
        self.commands.setdefault(name, cmd)

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            # Imported late: serve --help needs no plugin.
            from forebay.plugins import Plugins

            Plugins().hooks.register_commands(cli=self)


@click.group(
    cls=Commands,
    own=(serve, check, plugins),
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="forebay", message="%(prog)s %(version)s")
def main() -> None:
    """Forebay puts an S3 endpoint in front of any storage."""
