"""Writes: what the matrix does not say."""

from __future__ import annotations

import hashlib

import pytest

from forebay.config import CacheConfig, MountConfig, TierConfig
from forebay.errors import AccessDenied, ConditionFailed, NoSuchKey, StorageError
from forebay.hookspecs import hookimpl
from forebay.objects.write import PLANS, Tee
from forebay.streams import BytesReader
from forebay.testing.opened import Content, content_of
from forebay.types import Attributes, Durability, PersistState, WriteConditions, WriteType

EACH = pytest.mark.parametrize("write_type", list(WriteType))
BOTH = pytest.mark.parametrize("root", ["memory", "file"], indirect=True)


def put(opened, key, content, write_type, **more):
    return opened.forebay.writes.put(
        opened.bucket, key, Content(content),
        attributes=Attributes(), owner="tester", requested=write_type, **more,
    )  # fmt: skip


def test_every_write_type_has_a_plan():
    assert set(WriteType) == set(PLANS)


@EACH
@BOTH
@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 1 << 20, (1 << 20) + 1])
def test_bodies_of_every_length_come_back(opened, write_type, size):
    content = content_of("x", size)
    record = opened.put("k", content, write_type).record
    assert (size, hashlib.md5(content).hexdigest()) == (record.size, record.etag)
    assert content == opened.get("k")


@EACH
@BOTH
def test_conditions_are_decided_before_anything_changes(opened, write_type):
    first = put(opened, "k", b"one", write_type, conditions=WriteConditions(if_none_match="*"))
    with pytest.raises(ConditionFailed):
        put(opened, "k", b"two", write_type, conditions=WriteConditions(if_none_match="*"))
    with pytest.raises(ConditionFailed):
        put(opened, "k", b"two", write_type, conditions=WriteConditions(if_match="other"))
    with pytest.raises(NoSuchKey):
        put(opened, "none", b"two", write_type, conditions=WriteConditions(if_match="other"))
    assert opened.get("k") == b"one"
    put(opened, "k", b"two", write_type, conditions=WriteConditions(if_match=first.record.etag))
    assert opened.get("k") == b"two"


def test_a_plugin_chooses_the_write_type(open_forebay):
    class Chooser:
        @hookimpl
        def write_type(self, mount, key, size, requested):
            return WriteType.MUST_CACHE if key.startswith("tmp/") else None

    opened = open_forebay(plugins=[Chooser()])
    opened.forebay.buckets.create("bucket", "tester")
    assert WriteType.MUST_CACHE is opened.put("tmp/k", b"x", WriteType.THROUGH).write_type
    assert WriteType.THROUGH is opened.put("k", b"x", WriteType.THROUGH).write_type


def test_a_mount_that_allows_no_wishes_keeps_its_own_type(open_forebay, root):
    mount = MountConfig("/", root, allow_requested_types=False, write_type=WriteType.THROUGH)
    opened = open_forebay(mounts={"/": mount})
    opened.forebay.buckets.create("bucket", "tester")
    assert WriteType.THROUGH is opened.put("k", b"x", WriteType.MUST_CACHE).write_type


def test_a_read_only_mount_refuses(open_forebay, root):
    mounts = {
        "/": MountConfig("/", root),
        "/bucket": MountConfig("/bucket", "memory://ro", read_only=True),
    }
    opened = open_forebay(mounts=mounts)
    for write_type in WriteType:
        with pytest.raises(AccessDenied):
            opened.put("k", b"x", write_type)
    with pytest.raises(AccessDenied):
        opened.forebay.deletes.delete(opened.bucket, "k")


@EACH
def test_tags_change_and_nothing_else(opened, write_type):
    before = opened.put("k", b"x", write_type).record
    opened.forebay.writes.set_tags(opened.bucket, "k", {"team": "lake"})
    after = opened.head("k")
    assert ({"team": "lake"}, before.etag) == (after.tags, after.etag)
    opened.persist()
    assert opened.head("k").tags == {"team": "lake"}
    with pytest.raises(NoSuchKey):
        opened.forebay.writes.set_tags(opened.bucket, "none", {})


def test_a_failing_cache_does_not_fail_a_write_through():
    class Broken:
        aborted = False

        def write(self, block):
            raise StorageError("no")

        def abort(self):
            self.aborted = True

    broken = Broken()
    tee = Tee(BytesReader(b"abc"), "segment", broken)
    assert (tee.read(10), tee.read(10)) == (b"abc", b"")
    assert (broken.aborted, tee.writer, tee.size) == (True, None, 3)


def test_the_state_follows_the_type(opened):
    for write_type in WriteType:
        opened.put(write_type, b"x", write_type)
    states = {write_type: opened.head(write_type).state for write_type in WriteType}
    assert states == {write_type: plan.state for write_type, plan in PLANS.items()}
    opened.persist()
    assert PersistState.PERSISTED is opened.head(WriteType.ASYNC_THROUGH).state


@pytest.mark.parametrize("root", ["file"], indirect=True)
@pytest.mark.parametrize("write_type", [WriteType.MUST_CACHE, WriteType.ASYNC_THROUGH])
def test_a_tier_in_memory_promises_no_more_than_it_keeps(open_forebay, write_type):
    tier = TierConfig(name="MEM", kind="memory", capacity=64 << 20)
    opened = open_forebay(cache=CacheConfig(tiers=[tier]))
    opened.forebay.buckets.create("bucket", "tester")
    assert Durability.MEMORY is opened.put("large", b"x" * 100_000, write_type).durability
    assert Durability.PROCESS is opened.put("small", b"x", write_type).durability
