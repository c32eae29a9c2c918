"""``forebay pin``, ``unpin``, ``ttl`` and ``rules``: what stays near, and for how long."""

from __future__ import annotations

from typing import Any

import click

from forebay.units import parse_time
from forebay_admin.asking import Mistyped, asks, print_json
from forebay_admin.client import Server
from forebay_admin.drawing import age, console, escape, size, table, visible


@click.command(
    short_help="Keep what is cached of a path.",
    epilog="""
\b
Examples:
  forebay pin s3://lake/reference
  forebay pin s3://lake/reference && forebay load s3://lake/reference
""",
)
@click.argument("path", metavar="PATH")
@asks
def pin(server: Server, as_json: bool, path: str) -> None:
    """Let the cache keep what it has, or gets, of an object and everything below PATH.

    Pinned objects may take 80 % of the largest tier. Nothing is fetched; `forebay load` does.
    """
    answer = server.post("pin", path=path)
    if as_json:
        return print_json(answer)
    click.echo(f"pinned {visible(answer['path'])}: {_covers(answer)}")
    return None


@click.command(
    short_help="Take a pin back.",
    epilog="""
\b
Examples:
  forebay unpin s3://lake/reference
""",
)
@click.argument("path", metavar="PATH")
@asks
def unpin(server: Server, as_json: bool, path: str) -> None:
    """Take the pin of PATH back; what is cached may go when room is wanted."""
    answer = server.post("unpin", path=path)
    if as_json:
        return print_json(answer)
    click.echo(f"unpinned {visible(answer['path'])}")
    return None


@click.command(
    short_help="Free or delete objects when they are so old.",
    epilog="""
\b
Examples:
  forebay ttl s3://lake/tmp 7d --action delete
  forebay ttl s3://lake/2023 12h
  forebay ttl s3://lake/2023 never
""",
)
@click.argument("path", metavar="PATH")
@click.argument("time", metavar="TIME|never")
@click.option(
    "--action",
    type=click.Choice(["free", "delete"]),
    default="free",
    show_default=True,
    help="Drop the cached copy, or delete the object, also in its under store.",
)
@asks
def ttl(server: Server, as_json: bool, path: str, time: str, action: str) -> None:
    """Free or delete every object at and below PATH when it is TIME old (7d, 12h, 30min).

    Its time begins when it was written, or first seen where it came from outside.
    """
    try:
        seconds = 0.0 if time == "never" else parse_time(time)
    except ValueError as error:
        raise Mistyped(f"{error}, or never") from error
    answer = server.post("ttl", path=path, ttl=seconds, action=action)
    if as_json:
        return print_json(answer)
    if not answer["ttl"]:
        click.echo(f"objects of {visible(answer['path'])} live for ever")
    else:
        done = "freed" if answer["action"] == "free" else "deleted"
        click.echo(
            f"objects of {visible(answer['path'])} are {done} when they are "
            f"{age(answer['ttl'])} old: {_covers(answer)}"
        )
    return None


@click.command(
    short_help="Pins and times to live.",
    epilog="""
\b
Examples:
  forebay rules
  forebay rules --json
""",
)
@asks
def rules(server: Server, as_json: bool) -> None:
    """List pins and times to live, those of the configuration too, and how much they cover."""
    answer = server.get("rules")
    if as_json:
        return print_json(answer)
    rows = table(
        "path", "pinned", "time to live", "objects", "size", "from", right=("objects", "size")
    )
    for rule in answer["rules"]:
        pinned = "" if not rule["pinned"] else "yes" if rule["held"] else "no room"
        lives = f"{age(rule['ttl'])}, then {rule['action']}" if rule["ttl"] else ""
        rows.add_row(
            escape(rule["path"]), pinned, lives, str(rule["objects"]), size(rule["size"]),
            "configuration" if rule["configured"] else "an operator",
        )  # fmt: skip
    console().print(rows)
    return None


def _covers(answer: dict[str, Any]) -> str:
    return f"{answer['objects']} objects known there, {size(answer['size'])}"
