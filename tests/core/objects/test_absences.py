"""The memory of what was not there: short, bounded, and never against what a process wrote."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from forebay.config import MountConfig
from forebay.errors import BucketAlreadyOwnedByYou, ConditionFailed, NoSuchBucket, NoSuchKey
from forebay.objects.absences import Absences
from forebay.objects.mounts import Mount
from forebay.runtime import Forebay
from forebay.streams import BytesReader
from forebay.testing.faults import Around
from forebay.testing.opened import Content
from forebay.types import Attributes, WriteConditions, WriteType

on_files = pytest.mark.parametrize("root", ["file"], indirect=True)


class Counting(Around):
    """Counts what is asked of a store."""

    def __init__(self, store):
        super().__init__(store)
        self.heads = self.lists = 0

    def head(self, key, /):
        self.heads += 1
        return self.inner.head(key)

    def list(self, *args, **options):
        self.lists += 1
        return self.inner.list(*args, **options)


def mount(generation=1, sync=60.0, negative=60.0):
    config = MountConfig("/", "memory://", metadata_sync=sync, negative_sync=negative)
    return Mount(config, None, generation, None, "")


def test_an_absence_is_believed_for_its_age():
    absences, now = Absences(), time.monotonic()
    assert not absences.believed(mount(), 1, "key")
    absences.note(mount(), 1, "key", now)
    assert absences.believed(mount(), 1, "key")
    assert not absences.believed(mount(), 2, "key")
    assert not absences.believed(mount(generation=2), 1, "key")
    absences.note(mount(), 1, "key", now - 61)
    assert not absences.believed(mount(), 1, "key")


@pytest.mark.parametrize("never", [mount(sync=0.0), mount(negative=0.0)])
def test_always_and_an_age_of_nothing_believe_nothing(never):
    absences = Absences()
    absences.note(never, 1, "key", time.monotonic())
    assert not absences.believed(never, 1, "key")


def test_the_oldest_answer_goes_first():
    absences, now = Absences(limit=3), time.monotonic()
    for key in "abc":
        absences.note(mount(), 1, key, now)
    absences.note(mount(), 1, "a", now)
    absences.note(mount(), 1, "d", now)
    assert [key for key in "abcd" if absences.believed(mount(), 1, key)] == ["a", "c", "d"]


# --- in a Forebay ---------------------------------------------------------------------------


@pytest.fixture
def with_ages(make_config, root):
    """Open Forebays of one catalog whose store is asked again after so many seconds."""
    with ExitStack() as stack:

        def with_ages(sync, negative):
            config = MountConfig("/", root, metadata_sync=sync, negative_sync=negative)
            forebay = Forebay(make_config(mounts={"/": config}))
            stack.callback(forebay.close)
            store = Counting(forebay.mounts.root.store)
            object.__setattr__(forebay.mounts.root, "store", store)
            return forebay, store

        yield with_ages


def head(forebay, key):
    try:
        return forebay.reads.head(forebay.buckets.get("bucket"), key)
    except NoSuchKey:
        return None


def put(forebay, key, content=b"bytes", write_type=WriteType.MUST_CACHE, **more):
    forebay.writes.put(
        forebay.buckets.get("bucket"), key, Content(content),
        attributes=Attributes(), owner="tester", requested=write_type, **more,
    )  # fmt: skip


def poke(store, key, content=b"outside"):
    store.inner.put(
        f"bucket/{key}", BytesReader(content), size=len(content), attributes=Attributes()
    )


def test_a_store_is_asked_once_for_what_it_does_not_have(with_ages):
    forebay, store = with_ages(3600.0, 3600.0)
    forebay.buckets.create("bucket", "tester")
    for _ in range(5):
        assert head(forebay, "key") is None
    assert store.heads == 1


def test_what_was_added_outside_shows_when_the_age_ran_out(with_ages):
    forebay, store = with_ages(3600.0, 0.2)
    forebay.buckets.create("bucket", "tester")
    assert head(forebay, "key") is None
    asked = time.monotonic()
    poke(store, "key")
    while head(forebay, "key") is None:
        assert time.monotonic() - asked < 60
        time.sleep(0.01)
    assert time.monotonic() - asked >= 0.15


def test_always_shows_at_once_what_was_added_outside(with_ages):
    forebay, store = with_ages(0.0, 3600.0)
    forebay.buckets.create("bucket", "tester")
    assert head(forebay, "key") is None
    poke(store, "key")
    assert head(forebay, "key").size == 7


@on_files
@pytest.mark.parametrize("write_type", [WriteType.MUST_CACHE, WriteType.THROUGH])
def test_what_any_process_writes_is_seen_at_once(with_ages, write_type):
    first, _ = with_ages(3600.0, 3600.0)
    second, _ = with_ages(3600.0, 3600.0)
    first.buckets.create("bucket", "tester")
    assert head(first, "key") is None
    assert head(second, "key") is None
    put(first, "key", write_type=write_type)
    assert head(second, "key") is not None
    assert head(first, "key") is not None


def test_who_must_be_certain_asks_again(with_ages):
    forebay, store = with_ages(3600.0, 3600.0)
    forebay.buckets.create("bucket", "tester")
    for key in ("conditional", "deleted"):
        assert head(forebay, key) is None
        poke(store, key)
    with pytest.raises(ConditionFailed):
        put(forebay, "conditional", conditions=WriteConditions(if_none_match="*"))
    forebay.deletes.delete(forebay.buckets.get("bucket"), "deleted")
    assert [e.key for e in store.inner.list("bucket/", start_after="bucket/")] == [
        "bucket/conditional"
    ]


def test_a_bucket_that_is_not_there_costs_one_question(with_ages):
    forebay, store = with_ages(3600.0, 3600.0)
    for _ in range(5):
        with pytest.raises(NoSuchBucket):
            forebay.buckets.get("nothing")
    assert store.lists == 1
    poke(store, "key")
    assert forebay.buckets.get("bucket").name == "bucket"
    store.inner.put("nothing/key", BytesReader(b""), size=0, attributes=Attributes())
    # Whoever creates it must know.
    with pytest.raises(BucketAlreadyOwnedByYou):
        forebay.buckets.create("nothing", "tester")
