"""``forebay serve``: say what is served and how to reach it, then serve."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forebay.cli.check import examined, is_there, place_of
from forebay.cli.choices import chooses_config, chosen, plainly
from forebay.config import Config

log = logging.getLogger("forebay")

_EPILOG = """
\b
Examples:
  forebay serve ./data
  forebay serve ./data --listen 127.0.0.1:8080 --workers 4
  forebay serve memory://scratch
  forebay serve ./data -p alluxio.proxy.s3.writetype=ASYNC_THROUGH
  forebay serve --config forebay.toml
"""


@click.command(epilog=_EPILOG, short_help="Serve a directory, a URI or a configuration as S3.")
@chooses_config
def serve(**choices: Any) -> None:
    """Serve a directory, a URI or a configuration as S3, until Ctrl-C.

    Every directory right below PATH_OR_URI is a bucket, every file below that an object.
    With --config, the file says what is mounted where; PATH_OR_URI then replaces its mount "/".
    """
    log_to_stderr()
    with plainly():
        config = examined(**choices)
        for mount in config.mounts.values():
            if not is_there(mount):
                log.info("%s is not there and is made, for %s", place_of(mount), mount.path)
        # Imported late: --help and check need no web server.
        from forebay.server.workers import serve as run

        console = Console(highlight=False, soft_wrap=True)
        status = run(
            config,
            reload=lambda: chosen(**choices),
            on_ready=lambda url: greet(config, console, url),
        )
    sys.exit(status)


def log_to_stderr() -> None:
    """Send Forebay's own news and everybody's warnings to standard error."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    log.setLevel(logging.INFO)


def greet(config: Config, console: Console, endpoint: str) -> None:
    """Print where the endpoint is, how to speak to it and where the bytes lie."""
    endpoint = escape(endpoint.rstrip("/"))
    about = Table.grid(padding=(0, 2))
    about.add_row("S3", f"[bold]{endpoint}/[/bold]")
    about.add_row("Alluxio's S3", f"{endpoint}{escape(config.s3.base_path)}/")
    about.add_row("credentials", "any access key (it is the user's name), any secret")
    for mount in config.mounts.values():
        about.add_row(f"mount {escape(mount.path)}", escape(place_of(mount)))
    about.add_row("state", escape(config.state or "in memory, gone when the server stops"))
    console.print(about)
    console.print(
        "\nTry it in another terminal:\n"
        "  export AWS_ACCESS_KEY_ID=me AWS_SECRET_ACCESS_KEY=any "
        f"AWS_DEFAULT_REGION={escape(config.server.region)}\n"
        f"  aws --endpoint-url {endpoint} s3 mb s3://hello\n"
        f"  aws --endpoint-url {endpoint} s3 cp README.md s3://hello/\n"
        f"  aws --endpoint-url {endpoint} s3 ls s3://hello/\n"
    )
