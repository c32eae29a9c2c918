"""A store that was down answers again: what waited for it is persisted at once, not in an hour."""

from __future__ import annotations

import time

import pytest

from forebay.config import MountConfig
from forebay.errors import NotFound, PermissionDenied, Unavailable
from forebay.events import PersistFailed
from forebay.hookspecs import hookimpl
from forebay.objects import comeback, persist
from forebay.testing.faults import SilentUnderStore, UnderStoreLayer
from forebay.types import WriteType

ASYNC = WriteType.ASYNC_THROUGH


class Listener:
    def __init__(self):
        self.failed = []

    @hookimpl
    def track_event(self, event):
        if isinstance(event, PersistFailed):
            self.failed.append(event)


@pytest.fixture
def long_pauses(monkeypatch):
    """A job that has failed once would sleep for an hour."""
    monkeypatch.setattr(persist, "FIRST_PAUSE", 3600.0)


def wait_for(what, seconds=20.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def held(store, key="key"):
    try:
        with store.open(key) as reader:
            return reader.read(100)
    except NotFound:
        return None


def test_jobs_are_done_when_their_store_is_back_however_long_their_pause(open_forebay, long_pauses):
    layer, listener = UnderStoreLayer(SilentUnderStore), Listener()
    mounts = {
        "/": MountConfig("/", "memory://root"),
        "/bucket/q": MountConfig("/bucket/q", "memory://q"),
    }
    opened = open_forebay(plugins=[layer, listener], mounts=mounts)
    root, other = layer.stores
    opened.forebay.start()
    root.down = other.down = True
    opened.put("key", b"root", ASYNC)
    for number in range(20):
        opened.put(f"q/{number}", b"other", ASYNC)
    wait_for(lambda: len(listener.failed) == 21)
    assert opened.forebay.persist.next_due() > 1800
    time.sleep(1.2)
    assert opened.forebay.persist.backlog().objects == 21, "a store that is down is not written to"
    assert len(listener.failed) == 21
    other.down = False
    back = time.monotonic()
    wait_for(lambda: all(held(other, str(number)) == b"other" for number in range(20)))
    assert time.monotonic() - back < 10
    assert opened.forebay.persist.backlog().objects == 1, "the other mount is still down"
    root.down = False
    assert opened.forebay.persist.drain(20)


def test_what_another_process_wrote_goes_on_too(open_forebay, long_pauses):
    layer, listener = UnderStoreLayer(SilentUnderStore), Listener()
    opened = open_forebay(plugins=[layer, listener])
    opened.forebay.buckets.create("bucket", "tester")
    opened.put("theirs", b"x", ASYNC)
    layer.stores[0].down = True
    # Its pause began before this process had workers, as that of any other process would.
    assert opened.forebay.persist.run_one()
    opened.forebay.start()
    opened.put("ours", b"x", ASYNC)
    wait_for(lambda: len(listener.failed) == 2)
    layer.stores[0].down = False
    assert opened.forebay.persist.drain(20)


def test_a_store_that_answers_and_takes_nothing_is_asked_more_and_more_rarely(
    open_forebay, long_pauses, monkeypatch
):
    monkeypatch.setattr(comeback, "PAUSE", 0.05)
    listener = Listener()
    opened = open_forebay(plugins=[listener])
    opened.forebay.buckets.create("bucket", "tester")
    opened.forebay.start()
    opened.fail("start", Unavailable)
    opened.put("key", b"x", ASYNC)
    time.sleep(2.0)
    # After 0.05, 0.1, 0.2, 0.4, 0.8 seconds; a fixed pause would have made forty of them.
    assert 3 <= len(listener.failed) <= 8
    opened.fail(None)
    assert opened.forebay.persist.drain(20)


def test_what_an_operator_has_to_mend_stays_parked(open_forebay, long_pauses, monkeypatch):
    monkeypatch.setattr(comeback, "PAUSE", 0.05)
    listener = Listener()
    opened = open_forebay(plugins=[listener])
    opened.forebay.buckets.create("bucket", "tester")
    opened.forebay.start()
    opened.fail("start", PermissionDenied)
    opened.put("key", b"x", ASYNC)
    wait_for(lambda: listener.failed)
    opened.fail("start", Unavailable)
    opened.put("other", b"x", ASYNC)
    wait_for(lambda: len(listener.failed) == 2)
    opened.fail(None)
    wait_for(lambda: opened.forebay.persist.backlog().objects == 1)
    assert opened.forebay.persist.backlog().parked == 1
