"""The command line: ``forebay serve``, ``forebay check``, ``forebay plugins``."""

from __future__ import annotations

import click

from forebay import __version__
from forebay.cli.check import check
from forebay.cli.listing import plugins
from forebay.cli.serve import serve

_EPILOG = """
\b
Start here:
  forebay serve ./data            every directory below ./data becomes a bucket
  aws --endpoint-url http://127.0.0.1:39999 s3 ls

\b
Then:
  forebay check --config forebay.toml     what would be served, or every fault
  forebay plugins                         what is installed, and what it adds
"""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="forebay", message="%(prog)s %(version)s")
def main() -> None:
    """Forebay puts an S3 endpoint in front of any storage."""


for _command in (serve, check, plugins):
    main.add_command(_command)
