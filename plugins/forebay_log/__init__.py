"""What an operator should read of in the log: starts, stops, and events that want attention."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from forebay.events import (
    BreakerClosed,
    BreakerOpened,
    Event,
    PageCorrupt,
    PersistFailed,
    SyncConflict,
)
from forebay.hookspecs import hookimpl

if TYPE_CHECKING:
    from forebay.runtime import Forebay

log = logging.getLogger("forebay.events")

LEVELS: dict[type[Event], int] = {
    BreakerClosed: logging.WARNING,
    BreakerOpened: logging.WARNING,
    PageCorrupt: logging.ERROR,
    PersistFailed: logging.WARNING,
    SyncConflict: logging.WARNING,
}
"""Events that an operator may have to act upon; every other one is for debugging."""


@hookimpl(trylast=True)
def startup(forebay: Forebay) -> None:
    """Log that a process serves, and what it found in flight."""
    found = forebay.recovered
    if found.owners:
        log.info(
            "recovered from %d dead processes: %d writes in flight, %d of them still held",
            found.owners,
            found.intents,
            found.unsettled,
        )
    log.debug("started with mounts %s", ", ".join(forebay.config.mounts))


@hookimpl(trylast=True)
def shutdown(forebay: Forebay) -> None:
    """Log what still waits for its under store; it is safe and goes on at the next start."""
    backlog = forebay.persist.backlog()
    if backlog.objects:
        log.info("%d objects (%d bytes) wait to be persisted", backlog.objects, backlog.size)


@hookimpl(trylast=True)
def track_event(event: Event) -> None:
    """Log an event at the level that fits it."""
    log.log(LEVELS.get(type(event), logging.DEBUG), "%s", event)
