"""The log plugin: hooks startup, shutdown and track_event."""

from __future__ import annotations

import logging

import pytest

import forebay_log
from forebay.events import BucketCreated, PageCorrupt, PersistFailed


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (PersistFailed("b", "k", 1, "why", False), logging.WARNING),
        (PageCorrupt("SSD", "0a", True), logging.ERROR),
        (BucketCreated("b", None), logging.DEBUG),
    ],
)
def test_track_event_logs_at_the_level_that_fits(caplog, event, level):
    caplog.set_level(logging.DEBUG, "forebay.events")
    forebay_log.track_event(event)
    assert [(level, str(event))] == [(r.levelno, r.getMessage()) for r in caplog.records]


def test_startup_is_called_once_a_life(make_forebay, caplog):
    caplog.set_level(logging.DEBUG, "forebay.events")
    make_forebay()
    started = [r for r in caplog.records if "started with mounts" in r.getMessage()]
    assert len(started) == 1


def test_shutdown_tells_what_still_waits(make_forebay, caplog):
    caplog.set_level(logging.INFO, "forebay.events")
    forebay = make_forebay()
    with pytest.MonkeyPatch.context() as patch:
        backlog = forebay.persist.backlog()
        waiting = type(backlog)(objects=3, size=42, oldest=1.0, parked=0)
        patch.setattr(forebay.persist, "backlog", lambda: waiting)
        forebay_log.shutdown(forebay)
    assert [r.getMessage() for r in caplog.records if "wait to be" in r.getMessage()] == [
        "3 objects (42 bytes) wait to be persisted"
    ]
