"""``forebay load``, ``loads`` and ``free``: bytes are brought near, and let go."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from forebay_admin.asking import Mistyped, Refused, asks, print_json
from forebay_admin.client import Server
from forebay_admin.drawing import age, console, escape, share, size, table, visible, when

PAUSE = 0.5
"""Seconds between two looks at a job."""
LINE_EVERY = 5.0
"""Seconds between two lines where no bar can be drawn."""
AT_ONCE = 1000
"""Paths of a list that are sent at once."""


class Paused(click.ClickException):
    """Ctrl-C; exit status 130, as shells have it."""

    exit_code = 130

    def show(self, file: Any = None) -> None:
        """Print how to go on."""
        click.echo(f"forebay: {self.message}", err=True)


@click.command(
    short_help="Bring objects into the cache.",
    epilog="""
\b
Examples:
  forebay load s3://lake/2024            bring it, and show how far that is
  forebay load --from-list hot.txt       objects of a file, one path a line
  find-hot | forebay load --from-list -  or of a pipe
  forebay load s3://lake --detach        leave it to the server
  forebay load --resume 7                go on with a paused job, or retry its failures
  forebay load --cancel 7
""",
)
@click.argument("path", metavar="[PATH]", required=False)
@click.option("--from-list", "listed", metavar="FILE", type=click.File("r"), help="Read paths.")
@click.option("--resume", metavar="ID", type=int, help="Go on with this job.")
@click.option("--cancel", metavar="ID", type=int, help="End this job and forget it.")
@click.option("--detach", is_flag=True, help="Begin, and leave the job to the server.")
@asks
def load(
    server: Server, as_json: bool, path: str | None, listed: TextIO | None, resume: int | None,
    cancel: int | None, detach: bool,
) -> None:  # fmt: skip
    """Bring objects into the cache, all below PATH or those of a list.

    The job belongs to the server: Ctrl-C pauses it, and a server that dies goes on with it. With
    failures, and where nothing is there, the exit status is 1.
    """
    if sum(given is not None for given in (path, listed, resume, cancel)) != 1:
        raise Mistyped("give one of PATH, --from-list FILE, --resume ID and --cancel ID")
    if cancel is not None:
        job = server.post("load/cancel", id=cancel)
    elif resume is not None:
        job = server.post("load/resume", id=resume)
    elif listed is not None:
        job = _send(server, _paths(listed))
    else:
        job = server.post("load", path=path)
    if not detach and cancel is None:
        answer = _follow(server, job["id"], quiet=as_json)
        job, failures = answer["load"], answer["failures"]
        if as_json:
            print_json(answer)
        else:
            click.echo(_told(job))
            for failure in failures:
                click.echo(visible(f"  {failure['path']}: {failure['reason']}"), err=True)
        if job["failed"] or job["state"] != "DONE":
            raise Refused(_why(job))
        if not job["objects"]:
            raise Refused(f"there is no object at or below {job['path'] or 'the paths listed'}")
    elif as_json:
        print_json(job)
    else:
        click.echo(f"load {job['id']} is {job['state']}; `forebay loads` shows how far it is")


@click.command(
    short_help="Load jobs, and how far they are.",
    epilog="""
\b
Examples:
  forebay loads
  forebay loads --json
""",
)
@asks
def loads(server: Server, as_json: bool) -> None:
    """List load jobs, the newest first: how far they are, and what failed."""
    answer = server.get("loads")
    if as_json:
        return print_json(answer)
    rows = table(
        "id", "state", "done", "objects", "size", "failed", "begun", "path", "",
        right=("id", "done", "objects", "size", "failed"),
    )  # fmt: skip
    for job in answer["loads"]:
        done = share(job["objects"] + job["failed"], job["total"]) if job["counted"] else ""
        rows.add_row(
            str(job["id"]), job["state"], done, str(job["objects"]), size(job["size"]),
            str(job["failed"]), when(job["created"]), escape(job["path"] or "(a list)"),
            escape(job["reason"]),
        )  # fmt: skip
    console().print(rows)
    return None


@click.command(
    short_help="Drop cached copies at once.",
    epilog="""
\b
Examples:
  forebay free s3://lake/2023
  forebay free s3://lake/2023/jan.parquet
  forebay free /                            everything that is a copy
""",
)
@click.argument("path", metavar="PATH")
@asks
def free(server: Server, as_json: bool, path: str) -> None:
    """Drop cached copies at once, of an object and everything below PATH.

    What is in no under store yet is kept, and counted.
    """
    total = {"objects": 0, "size": 0, "kept": 0, "kept_size": 0}
    after, first_kept = "", ""
    with Console(stderr=True, highlight=False, quiet=as_json).status("freeing …") as shown:
        while True:
            answer = server.post("free", path=path, after=after)
            for name in total:
                total[name] += answer[name]
            first_kept = first_kept or answer["first_kept"]
            after = answer["next_after"]
            if not after:
                break
            shown.update(f"freed {size(total['size'])}, at {escape(after)}")
    if as_json:
        return print_json({**total, "first_kept": first_kept})
    click.echo(f"freed {size(total['size'])} of {total['objects']} objects")
    if total["kept"]:
        click.echo(
            f"kept {total['kept']} objects ({size(total['kept_size'])}) that no under store has "
            f"yet, like {visible(first_kept)}; `forebay persist` moves them"
        )
    return None


# --- a list ------------------------------------------------------------------------------


def _paths(listed: TextIO) -> Iterator[str]:
    """Give the paths of a list: one a line, empty ones and those that begin with # left out."""
    for line in listed:
        path = line.rstrip("\r\n")
        if path and not path.startswith("#"):
            yield path


def _send(server: Server, paths: Iterable[str]) -> Any:
    """Make a job that goes by a list, sent in pieces. Raises Refused for an empty list."""
    paths = iter(paths)
    first = next(paths, None)
    if first is None:
        raise Refused("the list names no object: nothing to load")
    job = server.post("load")
    piece: list[str] = []
    try:
        for path in itertools.chain([first], paths):
            piece.append(path)
            if len(piece) == AT_ONCE:
                server.post("load/paths", id=job["id"], paths=piece)
                piece = []
        return server.post("load/paths", id=job["id"], paths=piece, last=True)
    except BaseException:
        server.post("load/cancel", id=job["id"])
        raise


# --- a job under way ----------------------------------------------------------------------


def _follow(server: Server, load_id: int, *, quiet: bool) -> Any:
    """Draw a job until it stops; Ctrl-C and SIGTERM pause it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    err = Console(stderr=True, highlight=False, quiet=quiet)
    try:
        if err.is_terminal:
            return _bar(server, load_id, err)
        return _lines(server, load_id, err)
    except KeyboardInterrupt:
        job = server.post("load/pause", id=load_id)
        raise Paused(
            f"load {load_id} is paused after {job['objects']} objects ({size(job['size'])}); "
            f"go on with `forebay load --resume {load_id}`"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _until_it_stops(server: Server, load_id: int, draw: Callable[[Any], None]) -> Any:
    warned = False
    while True:
        answer = server.get("load", id=load_id)
        job = answer["load"]
        draw(job)
        if not warned and job["total_size"] > job["capacity"]:
            warned = True
            click.echo(
                f"forebay: {size(job['total_size'])} do not fit into the largest tier "
                f"({size(job['capacity'])}): no more than that stays, and what comes last pushes "
                "out what came first",
                err=True,
            )
        if job["state"] != "RUNNING":
            return answer
        time.sleep(PAUSE)


def _bar(server: Server, load_id: int, err: Console) -> Any:
    columns = (
        TextColumn("{task.fields[objects]}"), BarColumn(), DownloadColumn(binary_units=True),
        TransferSpeedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[news]}"),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("load", total=None, objects="", news="")

        def draw(job: Any) -> None:
            by_size = job["counted"] and job["total_size"]
            news = f"{job['failed']} failed" if job["failed"] else ""
            progress.update(
                task, objects=_objects(job), completed=job["size"],
                total=max(job["total_size"], job["size"]) if by_size else None,
                news=" ".join(filter(None, [news, escape(job["reason"])])),
            )  # fmt: skip

        return _until_it_stops(server, load_id, draw)


def _lines(server: Server, load_id: int, err: Console) -> Any:
    begun = last = time.monotonic()
    told = ""
    at_first: list[int] = []

    def draw(job: Any) -> None:
        nonlocal last, told
        now = time.monotonic()
        at_first.append(job["size"])
        if now < last + LINE_EVERY:
            return
        done = f"{_objects(job)} {job['size']} {job['failed']} {job['reason']}"
        if done == told:
            return
        last, told = now, done
        rate = (job["size"] - at_first[0]) / (now - begun)
        left = (job["total_size"] - job["size"]) / rate if rate and job["total_size"] else 0
        line = f"load {load_id}: {_objects(job)}, {size(job['size'])}, {size(rate)}/s"
        line += f", about {age(left)} left" if left > 0 else ""
        line += f", {job['failed']} failed" if job["failed"] else ""
        err.print(escape(line + (f", {job['reason']}" if job["reason"] else "")))

    return _until_it_stops(server, load_id, draw)


def _objects(job: Any) -> str:
    done = job["objects"] + job["failed"]
    return f"{done}/{job['total']} objects" if job["counted"] else f"{done} objects"


def _told(job: Any) -> str:
    told = f"load {job['id']} is {job['state']}: {job['objects']} objects, {size(job['size'])}"
    told += f", {size(job['fetched'])} fetched, {job['present']} objects were there"
    if job["unkept"]:
        told += f", {size(job['unkept'])} found no room or had to go again at once"
    return told


def _why(job: Any) -> str:
    again = f"`forebay load --resume {job['id']}`"
    if job["state"] != "DONE":
        return f"load {job['id']} is {job['state']}: {job['reason'] or 'by an operator'}; {again}"
    return f"{job['failed']} objects failed; try them again with {again}"
