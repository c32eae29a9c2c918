"""The table of what operators can ask for: method, name, arguments, and who answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from forebay.runtime import Forebay


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request says: its query for GET, its JSON body for POST."""


class Nothing(Arguments, frozen=True):
    """No arguments."""


class OnePath(Arguments, frozen=True):
    """The path of an object, or of an object and everything below it."""

    path: str


class Pieces(Arguments, frozen=True):
    """The path of an object, and which of its pieces are asked for."""

    path: str
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000


class Listing(Arguments, frozen=True):
    """What to list, and from where."""

    path: str = "/"
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 200
    recursive: bool = False


class Some(Arguments, frozen=True):
    """A path and up to how many of what is below it."""

    path: str = "/"
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Run(Arguments, frozen=True):
    """A path of which a run is worked on, behind the path `after`."""

    path: str
    after: str = ""


class TimeToLive(Arguments, frozen=True):
    """How long what is below a path lives, in seconds (0: for ever), and what happens then."""

    path: str
    ttl: float
    action: str = "free"


class OneLoad(Arguments, frozen=True):
    """The number of a load job."""

    id: int


class NewLoad(Arguments, frozen=True):
    """What to load: everything below a path, or without one the list that follows."""

    path: str = ""


class LoadList(Arguments, frozen=True):
    """A piece of the list of a load job; the `last` one lets it start."""

    id: int
    paths: list[str]
    last: bool = False


class NewMount(Arguments, frozen=True):
    """Where to mount what: `table` as in the configuration, relative paths begin at `folder`."""

    path: str
    table: dict[str, Any]
    folder: str = ""


class OldMount(Arguments, frozen=True):
    """What to unmount; `drain` seconds are waited at most for what is being persisted."""

    path: str
    force: bool = False
    drain: Annotated[float, msgspec.Meta(ge=0, le=30)] = 0.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row: the request, what it takes, who answers, and one sentence."""

    method: str
    name: str
    arguments: type[Arguments]
    answer: Callable[[Forebay, Any], object]
    text: str


def _status(forebay: Forebay, _: Nothing) -> object:
    return forebay.explain.status()


def _stat(forebay: Forebay, asked: OnePath) -> object:
    return forebay.explain.stat(asked.path)


def _explain(forebay: Forebay, asked: Pieces) -> object:
    return forebay.explain.explain(asked.path, after=asked.after, limit=asked.limit)


def _cache(forebay: Forebay, _: Nothing) -> object:
    return forebay.cache.report()


def _ls(forebay: Forebay, asked: Listing) -> object:
    return forebay.explain.listing(
        asked.path, after=asked.after, limit=asked.limit, recursive=asked.recursive
    )


def _waiting(forebay: Forebay, asked: Some) -> object:
    return {
        "waiting": forebay.unpersisted.waiting(asked.path),
        "failing": forebay.unpersisted.failing(asked.path, asked.limit),
    }


def _persist(forebay: Forebay, asked: Run) -> object:
    return forebay.unpersisted.set_going(asked.path, asked.after)


def _free(forebay: Forebay, asked: Run) -> object:
    return forebay.free.free(asked.path, asked.after)


def _mounts(forebay: Forebay, _: Nothing) -> object:
    return {"mounts": [state.shown() for state in forebay.mounting.list()]}


def _mount(forebay: Forebay, asked: NewMount) -> object:
    return forebay.mounting.mount(
        asked.path, asked.table, folder=Path(asked.folder) if asked.folder else None
    )


def _unmount(forebay: Forebay, asked: OldMount) -> object:
    return forebay.mounting.unmount(asked.path, force=asked.force, drain=asked.drain)


def _rules(forebay: Forebay, _: Nothing) -> object:
    return {"rules": forebay.pins.list()}


def _pin(forebay: Forebay, asked: OnePath) -> object:
    return forebay.pins.pin(asked.path)


def _unpin(forebay: Forebay, asked: OnePath) -> object:
    return forebay.pins.unpin(asked.path)


def _ttl(forebay: Forebay, asked: TimeToLive) -> object:
    return forebay.pins.set_ttl(asked.path, asked.ttl, asked.action)


def _loads(forebay: Forebay, _: Nothing) -> object:
    return {"loads": forebay.loads.list()}


def _load(forebay: Forebay, asked: OneLoad) -> object:
    loads = forebay.loads
    return {"load": loads.get(asked.id), "failures": loads.failures(asked.id)}


def _begin_load(forebay: Forebay, asked: NewLoad) -> object:
    return forebay.loads.begin(asked.path) if asked.path else forebay.loads.begin_list()


def _add_to_load(forebay: Forebay, asked: LoadList) -> object:
    return forebay.loads.add(asked.id, asked.paths, last=asked.last)


def _pause_load(forebay: Forebay, asked: OneLoad) -> object:
    return forebay.loads.pause(asked.id)


def _resume_load(forebay: Forebay, asked: OneLoad) -> object:
    return forebay.loads.resume(asked.id)


def _cancel_load(forebay: Forebay, asked: OneLoad) -> object:
    return forebay.loads.cancel(asked.id)


ENDPOINTS = (
    Endpoint("GET", "status", Nothing, _status, "What waits, what fails, how full the tiers are."),
    Endpoint("GET", "stat", OnePath, _stat, "Everything known of one object."),
    Endpoint("GET", "ls", Listing, _ls, "What is at a path, and how much of it is close at hand."),
    Endpoint("GET", "explain", Pieces, _explain, "Where each piece is, and what a read costs."),
    Endpoint("GET", "cache", Nothing, _cache, "How the tiers do, and what each mount has."),
    Endpoint("GET", "persist", Some, _waiting, "What waits for its under store."),
    Endpoint("POST", "persist", Run, _persist, "Persist now what only the cache holds."),
    Endpoint("POST", "free", Run, _free, "Let go of cached bytes that an under store has, too."),
    Endpoint("GET", "loads", Nothing, _loads, "All load jobs, the newest first."),
    Endpoint("GET", "load", OneLoad, _load, "One load job, and what it could not bring."),
    Endpoint("POST", "load", NewLoad, _begin_load, "Begin a load job."),
    Endpoint("POST", "load/paths", LoadList, _add_to_load, "Add to the list of a load job."),
    Endpoint("POST", "load/pause", OneLoad, _pause_load, "Stop a load job where it is."),
    Endpoint("POST", "load/resume", OneLoad, _resume_load, "Let a load job go on, or retry."),
    Endpoint("POST", "load/cancel", OneLoad, _cancel_load, "End a load job and forget it."),
    Endpoint("GET", "rules", Nothing, _rules, "All pins and times to live."),
    Endpoint("POST", "pin", OnePath, _pin, "Let the cache keep what is below a path."),
    Endpoint("POST", "unpin", OnePath, _unpin, "Take a pin back."),
    Endpoint("POST", "ttl", TimeToLive, _ttl, "Give what is below a path a time to live."),
    Endpoint("GET", "mounts", Nothing, _mounts, "All mounts, and which cannot be reached."),
    Endpoint("POST", "mount", NewMount, _mount, "Mount an under store."),
    Endpoint("POST", "unmount", OldMount, _unmount, "Take a mount out of the namespace."),
)
