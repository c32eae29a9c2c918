"""``forebay persist``: move what only the cache holds into the under stores, now."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from forebay_admin.asking import Refused, asks, print_json
from forebay_admin.client import Server
from forebay_admin.drawing import size

PAUSE = 0.5
"""Seconds between two looks at what still waits."""


@click.command(
    short_help="Persist now what only the cache holds.",
    epilog="""
\b
Examples:
  forebay persist                         everything that waits, parked jobs too
  forebay persist s3://lake/2024 --wait   and stay until the under store has it
""",
)
@click.argument("path", metavar="[PATH]", default="/")
@click.option("--wait", is_flag=True, help="Stay until all of it is persisted; Ctrl-C leaves.")
@asks
def persist(server: Server, as_json: bool, path: str, wait: bool) -> None:
    """Persist what only the cache holds (MUST_CACHE), and retry failed and parked jobs now.

    PATH is an object and everything below it; without PATH it is everything. With --wait the
    exit status is 1 when something cannot be persisted as things are.
    """
    after, queued, queued_size, hastened = "", 0, 0, 0
    while True:
        answer = server.post("persist", path=path, after=after)
        queued += answer["queued"]
        queued_size += answer["queued_size"]
        hastened += answer["hastened"]
        after = answer["next_after"]
        if not after:
            break
    waiting = server.get("persist", path=path)
    if wait:
        waiting = _follow(server, path, quiet=as_json)
    left = waiting["waiting"]
    if as_json:
        done = {"queued": queued, "queued_size": queued_size, "hastened": hastened}
        print_json({**done, **waiting})
    else:
        click.echo(
            f"queued {queued} objects ({size(queued_size)}), retried {hastened} at once; "
            f"{left['objects']} still wait ({size(left['size'])})"
        )
    if wait and left["objects"]:
        first = waiting["failing"][0]
        raise Refused(
            f"{left['parked']} objects are parked, the first: {first['path']}: {first['reason']}"
        )


def _follow(server: Server, path: str, *, quiet: bool) -> Any:
    """Wait until nothing waits but what is parked, and draw it; give the last look."""
    total = 0
    console = Console(stderr=True, highlight=False, quiet=quiet)
    columns = (TextColumn("persisting"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("persisting", total=None)
        while True:
            answer = server.get("persist", path=path)
            left = answer["waiting"]
            total = max(total, left["objects"])
            progress.update(task, total=total, completed=total - left["objects"])
            if left["objects"] <= left["parked"]:
                return answer
            time.sleep(PAUSE)
