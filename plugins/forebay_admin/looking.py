"""``forebay status``, ``stat`` and ``ls``: they look, and change nothing."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from forebay_admin.asking import asks, json_text, print_json
from forebay_admin.client import Server
from forebay_admin.drawing import age, console, escape, share, size, table, when

RUN = 1000
"""Entries that are asked for at once."""
PLACES = {
    "file": "read from the file of the under store, never cached",
    "catalog": "in the catalog, beside its record",
    "segments": "in the cache, as it was written",
    "pages": "in the cache, page by page",
    "nowhere": "not in the cache",
}


@click.command(
    short_help="What waits, what fails, how full the tiers are.",
    epilog="""
\b
Examples:
  forebay status
  forebay status --json | jq .waiting.parked
""",
)
@asks
def status(server: Server, as_json: bool) -> None:
    """Show what waits for its under store, what fails, and how full the tiers are."""
    answer = server.get("status")
    if as_json:
        return print_json(answer)
    waiting, out = answer["waiting"], console()
    about = Table.grid(padding=(0, 2))
    about.add_row("server", f"{escape(server.url)}, Forebay {escape(answer['version'])}")
    about.add_row("state", escape(answer["state"] or "in memory"))
    about.add_row("durability", answer["durability"])
    objects = f"{waiting['objects']} objects, {size(waiting['size'])}"
    if waiting["objects"]:
        objects += f", the oldest {age(waiting['oldest'])} old"
    about.add_row("to be persisted", f"{objects} (limit {size(answer['max_dirty'])})")
    kept = f"{waiting['kept']} objects, {size(waiting['kept_size'])}"
    about.add_row("only in the cache", f"{kept} (MUST_CACHE; `forebay persist` moves them)")
    about.add_row("failing", f"{waiting['failing']}, of them parked {waiting['parked']}")
    out.print(about)
    if answer["failing"]:
        jobs = table("not persisted", "tries", "next", "why", right=("tries", "next"))
        for job in answer["failing"]:
            following = "parked" if job["parked"] else age(job["due_in"])
            jobs.add_row(
                escape(job["path"]), str(job["attempts"]), following, escape(job["reason"])
            )
        out.print("", jobs)
    if answer["breakers"]:
        alone = table("left alone", "what", "since", "processes", "why", right=("processes",))
        for one in answer["breakers"]:
            alone.add_row(
                escape(one["under"]), one["operations"], f"{when(one['since'])} UTC",
                str(one["processes"]), escape(one["reason"]),
            )  # fmt: skip
        out.print("", alone)
    tiers = table("tier", "used", "capacity", "full", "pages", right=("used", "capacity", "full"))
    for tier in answer["tiers"]:
        tiers.add_row(
            escape(tier["name"]), size(tier["used"]), size(tier["capacity"]),
            share(tier["used"], tier["capacity"]), str(tier["pages"]),
        )  # fmt: skip
    out.print("", tiers)
    return None


@click.command(
    short_help="Everything known of one object.",
    epilog="""
\b
Examples:
  forebay stat s3://lake/2024/jan.parquet
  forebay stat /lake/2024/jan.parquet --json
""",
)
@click.argument("path", metavar="s3://BUCKET/KEY")
@asks
def stat(server: Server, as_json: bool, path: str) -> None:
    """Show everything known of one object: where it belongs, and where its bytes are."""
    answer = server.get("stat", path=path)
    if as_json:
        return print_json(answer)
    held = answer["held"]
    about = Table.grid(padding=(0, 2))
    rows = [
        ("object", answer["path"]),
        ("size", f"{answer['size']} ({size(answer['size'])})"),
        ("ETag", answer["etag"]),
        ("modified", f"{when(answer['modified'])} UTC"),
        ("owner", answer["owner"] or "nobody"),
        ("mount", f"{answer['mount']} on {answer['under']}, there {answer['under_key']}"),
        ("state", _state(answer)),
        ("bytes", PLACES[held["place"]]),
    ]
    rows += [(f"  on {tier}", size(count)) for tier, count in held["tiers"].items()]
    if held["place"] == "pages":
        rows.append(("  held", share(held["size"], answer["size"])))
    if answer["pinned_by"]:
        rows.append(("pinned", f"by {answer['pinned_by']}"))
    if answer["expires"]:
        what = {"free": "freed", "delete": "deleted"}[answer["expires_action"]]
        rows.append((what, f"after {when(answer['expires'])} UTC, by {answer['expires_by']}"))
    if answer["parts"]:
        rows.append(("parts", str(answer["parts"])))
    for title, one in (
        ("headers", "header"), ("metadata", "metadata"), ("tags", "tag"), ("checksums", "checksum")
    ):  # fmt: skip
        rows += [(f"{one} {name}", value) for name, value in answer[title].items()]
    for title, value in rows:
        about.add_row(escape(title), escape(value))
    console().print(about)
    return None


def _state(answer: dict[str, Any]) -> str:
    state = answer["state"]
    if answer["write_type"]:
        state += f", written {answer['write_type']}"
    if answer["persist_attempts"]:
        parked = "parked; " if answer["persist_parked"] else ""
        state += f", {parked}{answer['persist_attempts']} tries failed: {answer['persist_reason']}"
    return str(state)


@click.command(
    short_help="Buckets, folders, objects; how much of each is near.",
    epilog="""
\b
Examples:
  forebay ls                          the buckets
  forebay ls s3://lake/2024/          one folder of one
  forebay ls -r s3://lake --json      everything in it, one JSON document a line

\b
HELD is how much of an object is close at hand: in the cache or catalog, or, for
a directory of this machine, in the file itself. STATE is PERSISTED when the under
store has it.
""",
)
@click.argument("path", metavar="[PATH]", default="/")
@click.option("--recursive", "-r", is_flag=True, help="List all below PATH, not one level.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Stop after N lines.")
@asks
def ls(server: Server, as_json: bool, path: str, recursive: bool, limit: int | None) -> None:
    """List buckets, folders and objects, with what is held of them and their persist state."""
    after, left, out = "", limit, console()
    while True:
        run = min(RUN, left) if left else RUN
        answer = server.get("ls", path=path, recursive=recursive, after=after, limit=run)
        entries = answer["entries"]
        if as_json:
            for entry in entries:
                click.echo(_line(entry))
        elif entries:
            out.print(_draw(entries, titles=not after))
        after = answer["next_after"]
        left = left - len(entries) if left else None
        if not after or left == 0:
            return


def _line(entry: dict[str, Any]) -> str:
    return json_text(entry)


def _draw(entries: list[dict[str, Any]], *, titles: bool) -> Table:
    """Draw a run of a listing; the widths are fixed so that runs line up."""
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=titles)
    for title, justify, width in (
        ("modified", "left", 19), ("size", "right", 10), ("held", "right", 4), ("state", "left", 15)
    ):  # fmt: skip
        rows.add_column(title, justify=justify, width=width, no_wrap=True)  # type: ignore[arg-type]
    rows.add_column("path", overflow="fold")
    for entry in entries:
        if entry["folder"]:
            rows.add_row("", "-", "", "", escape(entry["path"]))
            continue
        held = share(entry["held"], entry["size"])
        if entry["place"] == "file":
            held = "file"
        rows.add_row(
            when(entry["modified"]), size(entry["size"]), held, entry["state"],
            escape(entry["path"]),
        )  # fmt: skip
    return rows
