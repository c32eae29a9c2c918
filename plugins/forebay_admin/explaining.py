"""``forebay explain`` and ``cache``: why a read is fast or slow, and how the tiers do."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import click

from forebay_admin.asking import asks, print_json
from forebay_admin.client import Server
from forebay_admin.drawing import console, escape, share, size, table, when
from forebay_admin.looking import PLACES

WHY = {
    "room": "others needed the room",
    "quota": "its mount was over its quota",
    "corrupt": "its bytes were not what had been put",
}
"""Why a page was evicted, in words; a new reason is shown as it is."""


@click.command(
    short_help="Where each page is, and what a read would cost.",
    epilog="""
\b
Examples:
  forebay explain s3://lake/2024/jan.parquet
  forebay explain s3://lake/2024/jan.parquet --json | jq .cost
""",
)
@click.argument("path", metavar="s3://BUCKET/KEY")
@asks
def explain(server: Server, as_json: bool, path: str) -> None:
    """Show where every page of an object is, and what reading it would cost.

    Neighbouring pages that are alike are one line. Requests are those to the under store that a
    read of the whole object would make now.
    """
    answer = server.get("explain", path=path, limit=10_000)
    pieces, after = answer["pieces"], answer["next_after"]
    while after:
        more = server.get("explain", path=path, after=after, limit=10_000)
        pieces += more["pieces"]
        after = more["next_after"]
    if as_json:
        return print_json({**answer, "pieces": pieces, "next_after": ""})
    out, stat, cost = console(), answer["stat"], answer["cost"]
    out.print(f"{escape(stat['path'])}: {size(stat['size'])}, {PLACES[stat['held']['place']]}")
    out.print(f"state      {stat['state']}")
    if stat["pinned_by"]:
        out.print(f"pinned     by {escape(stat['pinned_by'])}")
    out.print(f"a read     {_cost(cost, stat)}")
    if pieces:
        rows = table("piece", "bytes", "tier", "hits", "why not", right=("bytes", "hits"))
        for line in _lines(pieces):
            rows.add_row(*line)
        out.print("", rows)
    if not answer["complete"]:
        out.print("\nhits and evictions are not known: the housekeeping process does not answer")
    return None


@click.command(
    short_help="How each tier does, and what each mount has.",
    epilog="""
\b
Examples:
  forebay cache
  forebay cache --json | jq '.tiers[].tally'
""",
)
@asks
def cache(server: Server, as_json: bool) -> None:
    """Show how each tier does and what each mount has of them, counted in pages since the start.

    A tier that is not well says why; reads then go past it.
    """
    answer = server.get("cache")
    if as_json:
        return print_json(answer)
    out = console()
    counts = ("hits", "misses", "hit ratio", "admitted", "rejected", "evicted")
    rows = table("tier", "used", "capacity", "full", "pages", *counts, "promoted", "demoted", "")
    for tier in answer["tiers"]:
        tally = tier["tally"]
        rows.add_row(
            escape(tier["name"]), size(tier["used"]), size(tier["capacity"]),
            share(tier["used"], tier["capacity"]), str(tier["pages"]), *_counts(tally),
            str(tally["promoted"]), str(tally["demoted"]), escape(tier["failure"]),
        )  # fmt: skip
    out.print(rows)
    if answer["mounts"]:
        rows = table("mount", "used", "quota", *counts)
        for mount in answer["mounts"]:
            quota = size(mount["quota"]) if mount["quota"] is not None else "none"
            rows.add_row(
                escape(mount["path"] or "(not known)"), size(mount["used"]), quota,
                *_counts(mount["tally"]),
            )  # fmt: skip
        out.print("", rows)
    if not answer["complete"]:
        out.print("\nonly what one worker can tell: the housekeeping process does not answer")
    return None


def _counts(tally: dict[str, int]) -> Iterator[str]:
    yield str(tally["hits"])
    yield str(tally["misses"])
    yield share(tally["hits"], tally["hits"] + tally["misses"])
    for name in ("admitted", "rejected", "evicted"):
        yield str(tally[name])


def _cost(cost: dict[str, Any], stat: dict[str, Any]) -> str:
    """Say what a read of the whole object would ask of the under store."""
    if cost["left_alone"] and (cost["looks"] or cost["requests"]):
        needs = "would ask the under store first whether it changed"
        if not cost["looks"]:
            needs = f"needs {size(cost['size'])} of the under store"
        then = "the cache's copy is sent, STALE" if cost["stale"] else "it is refused (503)"
        return f"{needs}, which is left alone just now: {then}; {escape(cost['left_alone'])}"
    asked = "asks the under store first whether it changed, then " if cost["looks"] else ""
    if stat["held"]["place"] == "file":
        return "sends the file of the under store itself"
    if not cost["requests"]:
        return f"{asked}needs nothing of it" if asked else "needs nothing of the under store"
    requests = f"{cost['requests']} request{'s' if cost['requests'] != 1 else ''}"
    return f"{asked}fetches {size(cost['size'])} in {requests}"


def _lines(pieces: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, str, str, str]]:
    """Give a line for each stretch of pieces that are alike."""

    def alike(piece: dict[str, Any]) -> tuple[object, ...]:
        return piece["kind"], piece["tiers"], piece["evicted"], piece["evicted_from"]

    for _, group in itertools.groupby(pieces, alike):
        run = list(group)
        first, last = run[0], run[-1]
        name = f"{first['kind']} {first['index']}"
        if len(run) > 1:
            name = f"{first['kind']}s {first['index']}-{last['index']}"
        hits = sorted(one["hits"] for one in run)
        shown = str(hits[0]) if hits[0] == hits[-1] else f"{hits[0]}-{hits[-1]}"
        why = ""
        if first["evicted"]:
            latest = max(one["evicted_at"] for one in run)
            reason = WHY.get(first["evicted"], first["evicted"])
            why = f"left {first['evicted_from']} at {when(int(latest * 1000))} UTC: {reason}"
        yield (
            name, size(sum(one["stop"] - one["start"] for one in run)),
            escape(", ".join(first["tiers"]) or "-"), shown if first["tiers"] else "",
            escape(why),
        )  # fmt: skip
