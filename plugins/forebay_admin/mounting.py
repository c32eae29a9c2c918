"""``forebay mount``, ``unmount`` and ``mounts``: the under stores of a running server."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console

from forebay.units import parse_time, show_time
from forebay_admin.asking import Mistyped, asks, print_json
from forebay_admin.client import Refusal, Server
from forebay_admin.drawing import console, escape, table, when

DRAINED_AT_ONCE = 15.0
"""Seconds that one request waits for what is being persisted."""

_WRITES = click.Choice(["MUST_CACHE", "CACHE_THROUGH", "ASYNC_THROUGH", "THROUGH"])
_DELETES = click.Choice(["ALLUXIO_AND_UFS", "ALLUXIO_ONLY"])


@click.command(
    short_help="Mount an under store.",
    epilog="""
\b
Examples:
  forebay mount /published /srv/published --read-only
  forebay mount /raw s3://lake/raw --option endpoint_url=https://minio.internal
  forebay mount /raw/old sftp://backup/old --option 'password={env = "PASSWORD"}'

\b
The value of an --option is text, unless it is written as TOML: 8, true, "8" (text),
{env = "NAME"} and {file = "path"} for secrets, which the server looks up by itself.
""",
)
@click.argument("path", metavar="/PATH")
@click.argument("under", metavar="DIRECTORY_OR_URI")
@click.option("--option", "-o", "options", metavar="KEY=VALUE", multiple=True, help="Repeatable.")
@click.option("--read-only", is_flag=True, help="Refuse writes and deletes below /PATH.")
@click.option("--write-type", type=_WRITES, help="Where writes go before they are acknowledged.")
@click.option("--delete-type", type=_DELETES, help="Whether deletes reach the under store.")
@click.option("--metadata-sync", metavar="TIME", help="Age, `always` or `never`.")
@click.option("--plugin", metavar="NAME", help="Plugin that makes the store, if several could.")
@click.option("--set", "keys", metavar="KEY=VALUE", multiple=True, help="Any other key of a mount.")
@asks
def mount(
    server: Server, as_json: bool, path: str, under: str, options: tuple[str, ...],
    keys: tuple[str, ...], **given: Any,
) -> None:  # fmt: skip
    """Mount an under store at /PATH: a bucket, or a folder of one.

    The store is opened and asked for its first entry before anything changes.
    """
    named = {name: value for name, value in given.items() if value}
    settings = {"under": under, **_pairs("--set", keys), **named}
    if options:
        settings["options"] = _pairs("--option", options)
    answer = server.post("mount", path=path, table=settings, folder=os.getcwd())
    if as_json:
        return print_json(answer)
    click.echo(f"mounted {answer['path']}")
    _tell_behind(answer)
    return None


@click.command(
    short_help="Take a mount out of the namespace.",
    epilog="""
\b
Examples:
  forebay unmount /published
  forebay unmount /raw --drain 10min      wait for what is being persisted
""",
)
@click.argument("path", metavar="/PATH")
@click.option("--drain", metavar="TIME", default="0", help="Wait so long for persisting to end.")
@click.option("--force", is_flag=True, help="Lose what is in no under store yet.")
@asks
def unmount(server: Server, as_json: bool, path: str, drain: str, force: bool) -> None:
    """Take a mount out of the namespace and the cache; the under store keeps all it has."""
    try:
        end = time.monotonic() + parse_time(drain)
    except ValueError as error:
        raise Mistyped(str(error)) from error
    with Console(stderr=True, highlight=False, quiet=as_json).status("unmounting …"):
        while True:
            began = time.monotonic()
            left = max(0.0, min(end - began, DRAINED_AT_ONCE))
            try:
                answer = server.post("unmount", path=path, force=force, drain=left)
                break
            except Refusal as busy:
                # It comes at once for what no waiting can mend.
                waited = time.monotonic() - began >= left
                if busy.code != "MountBusy" or not waited or time.monotonic() >= end:
                    raise
    if as_json:
        return print_json(answer)
    click.echo(f"unmounted {answer['path']}")
    _tell_behind(answer)
    return None


@click.command(
    short_help="Mounts, and whether they answer.",
    epilog="""
\b
Examples:
  forebay mounts
  forebay mounts --json
""",
)
@asks
def mounts(server: Server, as_json: bool) -> None:
    """List the mounts: what is under each, how it is written to, and whether it answers."""
    answer = server.get("mounts")
    if as_json:
        return print_json(answer)
    rows = table("path", "under store", "writes", "deletes", "asked again after", "since", "state")
    for one in answer["mounts"]:
        sync = one["metadata_sync"]
        rows.add_row(
            escape(one["path"]), escape(one["under"]),
            "refused" if one["read_only"] else one["write_type"],
            "refused" if one["read_only"] else one["delete_type"],
            "never" if sync is None else show_time(sync) if sync else "each time",
            "configuration" if one["configured"] else when(one["since"]),
            "reachable" if one["reachable"] else escape(one["reason"]),
        )  # fmt: skip
    console().print(rows)
    return None


def _pairs(option: str, given: Iterable[str]) -> dict[str, Any]:
    """Read KEY=VALUE; a value that is TOML is what TOML says, any other is text."""
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise Mistyped(f"{option} {one}: write it as KEY=VALUE")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value
    return found


def _tell_behind(answer: dict[str, Any]) -> None:
    for process in answer["behind"]:
        click.echo(f"forebay: {process} has not noticed yet", err=True)
