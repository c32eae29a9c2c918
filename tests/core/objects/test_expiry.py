import threading
import time

import pytest

from forebay.config import MountConfig
from forebay.errors import Unavailable
from forebay.objects import expiry, shared, write
from forebay.objects.expiry import Expired
from forebay.streams import BytesReader
from forebay.testing.faults import Around, UnderStoreLayer
from forebay.testing.opened import content_of
from forebay.types import Attributes, WriteType

LARGE = content_of("large", 1_500_000)
HOUR = 3600.0


class Gated(Around):
    """Holds deletes back, or fails them, as it is told."""

    def __init__(self, store):
        super().__init__(store)
        self.deleting = threading.Event()
        self.gate = None
        self.down = False

    def delete(self, key, /):
        if self.down:
            raise Unavailable("down")
        self.deleting.set()
        if self.gate is not None:
            assert self.gate.wait(20)
        return self.inner.delete(key)


@pytest.fixture
def store():
    return UnderStoreLayer(Gated)


@pytest.fixture
def opened(open_forebay, store):
    opened = open_forebay(plugins=[store])
    opened.forebay.buckets.create("bucket", "tester")
    return opened


@pytest.fixture
def later(monkeypatch):
    """Let time pass."""
    passed = [0]
    real = shared.now_ms
    for module in (expiry, shared, write):
        monkeypatch.setattr(module, "now_ms", lambda: real() + passed[0])

    def later(seconds):
        passed[0] += int(seconds * 1000)

    return later


def sweep(opened):
    return opened.forebay._expiry.sweep()


def there(opened, key):
    return opened.raw.head(f"bucket/{key}") is not None


def test_what_is_over_is_freed_and_still_there(opened, later):
    opened.put("a/old", LARGE, WriteType.CACHE_THROUGH)
    opened.forebay.pins.set_ttl("s3://bucket/a", HOUR)
    assert sweep(opened) == Expired()
    later(HOUR)
    opened.put("b", LARGE, WriteType.CACHE_THROUGH)
    assert sweep(opened) == Expired(freed=1)
    assert opened.forebay.explain.stat("s3://bucket/a/old").held.place == "nowhere"
    assert opened.forebay.explain.stat("s3://bucket/b").held.place == "segments"
    assert opened.get("a/old") == LARGE
    assert sweep(opened) == Expired(freed=1), "what a reader brought back goes again"
    assert sweep(opened) == Expired()


@pytest.mark.parametrize("root", ["memory", "file"], indirect=True)
@pytest.mark.parametrize("write_type", [WriteType.CACHE_THROUGH, WriteType.MUST_CACHE])
def test_what_is_over_is_deleted_everywhere(opened, later, write_type):
    opened.put("a/old", LARGE, write_type)
    opened.put("b", LARGE, write_type)
    opened.forebay.pins.set_ttl("s3://bucket/a", HOUR, "delete")
    later(HOUR + 1)
    assert sweep(opened) == Expired(deleted=1)
    assert opened.get("a/old") is None
    assert opened.get("b") == LARGE
    assert [info.key for info in opened.raw.list("bucket/a")] == []
    opened.clean()
    assert not {*opened.leavings()} - {"uses of nothing"}


def test_what_is_being_persisted_is_waited_for(opened, later):
    opened.put("a", LARGE, WriteType.ASYNC_THROUGH)
    opened.forebay.pins.set_ttl("s3://bucket", HOUR, "delete")
    later(HOUR)
    assert sweep(opened) == Expired(waiting=1)
    opened.persist()
    assert there(opened, "a")
    assert sweep(opened) == Expired(deleted=1)
    assert opened.get("a") is None


def test_only_a_copy_is_freed_and_a_pinned_one_is_not(opened, later):
    opened.put("kept", LARGE, WriteType.MUST_CACHE)
    opened.put("pinned", LARGE, WriteType.CACHE_THROUGH)
    opened.forebay.pins.set_ttl("s3://bucket", HOUR)
    opened.forebay.pins.pin("s3://bucket/pinned")
    later(HOUR)
    assert sweep(opened) == Expired()
    assert opened.get("kept") == LARGE


def test_an_overwrite_begins_the_time_anew(opened, later):
    opened.put("a", LARGE, WriteType.CACHE_THROUGH)
    opened.forebay.pins.set_ttl("s3://bucket", HOUR, "delete")
    later(HOUR - 10)
    opened.put("a", LARGE, WriteType.CACHE_THROUGH)
    later(20)
    assert sweep(opened) == Expired()
    assert opened.get("a") == LARGE


def test_the_time_of_what_came_from_outside_begins_when_it_was_seen(opened, later):
    """However old it was in the under store."""
    opened.raw.put("bucket/a", BytesReader(b"x"), size=1, attributes=Attributes())
    record = opened.head("a")
    assert abs(record.since - time.time() * 1000) < 60_000
    opened.forebay.pins.set_ttl("s3://bucket", HOUR, "delete")
    assert opened.forebay.pins.for_object("bucket", "a").expires(record) == record.since + 3600_000


def test_a_version_that_was_overwritten_meanwhile_is_never_deleted(opened, later, store):
    """The new version comes after the sweep has seen the old one as over."""
    opened.put("a", LARGE, WriteType.CACHE_THROUGH)
    old = opened.head("a")
    new = content_of("new", 5000)
    opened.put("a", new, WriteType.CACHE_THROUGH)
    assert not opened.forebay.deletes.expire(opened.bucket, "a", old.object_id)
    assert opened.get("a") == new
    assert there(opened, "a")


@pytest.mark.parametrize("write_type", [WriteType.ASYNC_THROUGH, WriteType.MUST_CACHE])
def test_a_write_that_comes_while_the_old_version_is_deleted_stays(opened, store, write_type):
    opened.put("a", LARGE, WriteType.CACHE_THROUGH)
    gated = store.stores[0]
    gated.gate = threading.Event()
    old = opened.head("a").object_id
    thread = threading.Thread(target=opened.forebay.deletes.expire, args=(opened.bucket, "a", old))
    thread.start()
    assert gated.deleting.wait(20)
    new = content_of("new", 50_000)
    opened.put("a", new, write_type)
    gated.gate.set()
    thread.join(20)
    assert opened.get("a") == new
    opened.forebay.unpersisted.set_going()
    opened.persist()
    assert opened.get("a") == new
    assert there(opened, "a")


def test_a_synchronous_write_waits_for_the_delete_and_stays(opened, store):
    opened.put("a", LARGE, WriteType.CACHE_THROUGH)
    gated = store.stores[0]
    gated.gate = threading.Event()
    old = opened.head("a").object_id
    new = content_of("new", 50_000)
    threads = [
        threading.Thread(target=opened.forebay.deletes.expire, args=(opened.bucket, "a", old)),
        threading.Thread(target=opened.put, args=("a", new, WriteType.THROUGH)),
    ]
    threads[0].start()
    assert gated.deleting.wait(20)
    threads[1].start()
    time.sleep(0.1)
    gated.gate.set()
    for thread in threads:
        thread.join(20)
    assert opened.get("a") == new


def test_what_was_changed_outside_is_another_version(opened):
    opened.put("a", LARGE, WriteType.CACHE_THROUGH)
    old = opened.head("a").object_id
    opened.raw.put("bucket/a", BytesReader(b"other"), size=5, attributes=Attributes())
    assert not opened.forebay.deletes.expire(opened.bucket, "a", old)
    assert opened.get("a") == b"other"


def test_a_store_that_is_down_changes_nothing_and_is_asked_again(opened, store, later):
    opened.put("a", LARGE, WriteType.CACHE_THROUGH)
    opened.forebay.pins.set_ttl("s3://bucket", HOUR, "delete")
    later(HOUR)
    store.stores[0].down = True
    assert sweep(opened) == Expired(failed=1)
    assert opened.get("a") == LARGE
    store.stores[0].down = False
    assert sweep(opened) == Expired(deleted=1)


def test_each_object_is_ended_by_its_nearest_rule(opened, later):
    for key in ("k", "a/k", "a/x/k"):
        opened.put(key, LARGE, WriteType.CACHE_THROUGH)
    pins = opened.forebay.pins
    pins.set_ttl("s3://bucket", 10 * HOUR, "delete")
    pins.set_ttl("s3://bucket/a", HOUR, "delete")
    pins.set_ttl("s3://bucket/a/x", HOUR, "free")
    later(2 * HOUR)
    assert sweep(opened) == Expired(freed=1, deleted=1)
    assert opened.get("a/k") is None
    assert opened.get("k") == opened.get("a/x/k") == LARGE
    later(10 * HOUR)
    assert sweep(opened).deleted == 1
    assert opened.get("k") is None


def test_a_mount_has_a_time_of_its_own(open_forebay, later, root):
    config = MountConfig("/", root, ttl=HOUR, ttl_action="delete")
    opened = open_forebay(mounts={"/": config})
    opened.forebay.buckets.create("bucket", "tester")
    opened.put("a", LARGE, WriteType.CACHE_THROUGH)
    later(HOUR)
    assert sweep(opened) == Expired(deleted=1)


def test_many_objects_go_chunk_by_chunk(opened, later, monkeypatch):
    monkeypatch.setattr(expiry, "CHUNK", 3)
    for number in range(10):
        opened.put(f"k{number}", content_of(str(number), 100), WriteType.THROUGH)
    opened.forebay.pins.set_ttl("s3://bucket", HOUR, "delete")
    later(HOUR)
    assert sweep(opened) == Expired(deleted=10)


def test_passes_run_by_themselves(make_forebay, monkeypatch):
    monkeypatch.setattr(expiry, "EVERY", 0.05)
    forebay = make_forebay()
    bucket = forebay.buckets.create("bucket", "tester")
    from forebay.testing.opened import KEPT, Content

    forebay.writes.put(
        bucket, "a", Content(LARGE), attributes=KEPT, owner=None, requested=WriteType.THROUGH
    )
    forebay.pins.set_ttl("s3://bucket", 0.001, "delete")
    for _ in range(1000):
        if not forebay.listings.objects(bucket).entries:
            break
        time.sleep(0.02)
    assert forebay.listings.objects(bucket).entries == []
