"""An unpersisted object whose predecessor was changed outside: the client's write wins."""

from __future__ import annotations

import threading

import pytest

from forebay.config import MountConfig
from forebay.events import SyncConflict
from forebay.hookspecs import hookimpl
from forebay.streams import BytesReader
from forebay.types import Attributes, DeleteType, PersistState, WriteType

both = pytest.mark.parametrize("root", ["memory", "file"], indirect=True)


class Listening:
    """Keeps the conflicts that it is told of."""

    def __init__(self):
        self.conflicts = []

    @hookimpl
    def track_event(self, event):
        if isinstance(event, SyncConflict):
            self.conflicts.append((event.bucket, event.key))


@pytest.fixture
def listening():
    return Listening()


@pytest.fixture
def opened(open_forebay, root, listening):
    mounts = {"/": MountConfig("/", root, metadata_sync=3600.0)}
    opened = open_forebay(plugins=[listening], mounts=mounts)
    opened.forebay.buckets.create("bucket", "tester")
    return opened


def poke(opened, content, key="key"):
    opened.raw.put(
        f"bucket/{key}", BytesReader(content), size=len(content), attributes=Attributes()
    )


def stored(opened, key="key"):
    with opened.raw.open(f"bucket/{key}") as reader:
        return reader.read(1 << 20)


@both
@pytest.mark.parametrize("outside", ["changed", "deleted"])
def test_a_predecessor_changed_outside_is_a_conflict(opened, listening, outside):
    opened.put("key", b"first", WriteType.THROUGH)
    opened.put("key", b"second", WriteType.ASYNC_THROUGH)
    opened.put("key", b"third", WriteType.ASYNC_THROUGH)
    if outside == "changed":
        poke(opened, b"outside")
    else:
        opened.raw.delete("bucket/key")
    assert opened.get("key") == b"third"
    opened.persist()
    assert listening.conflicts == [("bucket", "key")]
    record = opened.head("key")
    assert (record.state, record.replaced) == (PersistState.PERSISTED, None)
    assert (opened.get("key"), stored(opened)) == (b"third", b"third")


@both
def test_a_predecessor_that_stayed_as_it_was_is_none(opened, listening):
    opened.put("key", b"first", WriteType.THROUGH)
    opened.put("key", b"second", WriteType.ASYNC_THROUGH)
    opened.persist()
    opened.put("key", b"third", WriteType.ASYNC_THROUGH)
    opened.persist()
    assert stored(opened) == b"third"
    assert listening.conflicts == []


@both
def test_an_object_whose_predecessor_nobody_knew_overwrites_it_silently(opened, listening):
    poke(opened, b"outside")
    opened.put("key", b"ours", WriteType.ASYNC_THROUGH)
    opened.persist()
    assert stored(opened) == b"ours"
    assert listening.conflicts == []


@both
def test_an_earlier_attempt_of_our_own_is_no_conflict(opened, listening):
    opened.put("key", b"first", WriteType.THROUGH)
    opened.put("key", b"second", WriteType.ASYNC_THROUGH)
    # Published, and lost before it was written down.
    opened.fail("end")
    opened.forebay.persist.run_one()
    assert stored(opened) == b"second"
    assert opened.head("key").state is PersistState.TO_BE_PERSISTED
    opened.fail(None)
    opened.persist()
    assert opened.head("key").state is PersistState.PERSISTED
    assert listening.conflicts == []


@both
def test_what_a_whiteout_hides_is_known_too(opened, listening):
    opened.put("key", b"first", WriteType.THROUGH)
    for changed in (False, True):
        opened.forebay.deletes.delete(opened.bucket, "key", requested=DeleteType.ALLUXIO_ONLY)
        opened.put("key", b"ours", WriteType.ASYNC_THROUGH)
        if changed:
            poke(opened, b"outside")
        opened.persist()
        assert (listening.conflicts != []) is changed
    assert stored(opened) == b"ours"


@both
@pytest.mark.parametrize(("at_once", "changed"), [(False, False), (False, True), (True, False)])
def test_a_version_of_ours_that_was_overtaken_on_its_way_is_none(
    opened, listening, monkeypatch, at_once, changed
):
    opened.put("key", b"first", WriteType.THROUGH)
    opened.put("key", b"second", WriteType.ASYNC_THROUGH)
    publish, looked = opened.raw.put, threading.Event()
    head = opened.raw.head
    following = threading.Thread(target=opened.forebay.persist.run_one)

    def looks(key):
        info = head(key)
        looked.set()
        return info

    def overtaken(*args, **options):
        monkeypatch.setattr(opened.raw, "put", publish)
        info = publish(*args, **options)
        opened.put("key", b"third", WriteType.ASYNC_THROUGH)
        if at_once:  # the next job looks at the store, which shows what is not written down yet
            monkeypatch.setattr(opened.raw, "head", looks)
            following.start()
            assert looked.wait(5)
        return info

    monkeypatch.setattr(opened.raw, "put", overtaken)
    opened.forebay.persist.run_one()
    if at_once:
        following.join(10)
    if changed:
        poke(opened, b"outside")
    opened.persist()
    assert stored(opened) == b"third"
    assert opened.head("key").state is PersistState.PERSISTED
    assert (listening.conflicts != []) is changed
