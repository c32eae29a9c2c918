import threading
import time

import pytest

from forebay.config import MountConfig, PersistConfig
from forebay.errors import (
    InvalidKey,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    SlowDown,
    StorageError,
    Unavailable,
)
from forebay.events import ObjectPersisted, PersistFailed
from forebay.hookspecs import hookimpl
from forebay.objects import persist
from forebay.objects.uploads import CompletedPart
from forebay.testing.faults import FailNth, HangingUnderStore, SilentUnderStore, UnderStoreLayer
from forebay.testing.opened import Content, content_of
from forebay.types import Attributes, DeleteType, PersistState, WriteType

on_files = pytest.mark.parametrize("root", ["file"], indirect=True)
both = pytest.mark.parametrize("root", ["memory", "file"], indirect=True)
ASYNC = WriteType.ASYNC_THROUGH


class Listener:
    """A plugin that remembers events."""

    def __init__(self):
        self.events = []

    @hookimpl
    def track_event(self, event):
        self.events.append(event)


def in_store(opened, key="key"):
    try:
        with opened.raw.open(f"bucket/{key}") as reader:
            return b"".join(iter(lambda: reader.read(1 << 20), b""))
    except NotFound:
        return None


@on_files
def test_a_job_survives_a_restart(open_forebay, opened):
    opened.put("key", content_of("x", 50_000), ASYNC)
    opened.forebay.close()
    again = open_forebay()
    assert again.forebay.persist.backlog().objects == 1
    again.persist()
    assert in_store(again) == content_of("x", 50_000)
    assert again.head("key").state is PersistState.PERSISTED


@both
@pytest.mark.parametrize("error", [Unavailable, StorageError, NotFound, OSError])
def test_what_fails_is_tried_again_until_it_is_there(open_forebay, error):
    listener = Listener()
    opened = open_forebay(plugins=[listener])
    opened.forebay.buckets.create("bucket", "tester")
    opened.put("key", b"content", ASYNC)
    opened.fail("start", error)
    for attempt in range(1, 4):
        assert opened.forebay.persist.run_one()
        failed = [e for e in listener.events if isinstance(e, PersistFailed)]
        assert [e.attempts for e in failed] == list(range(1, attempt + 1))
        assert not failed[-1].parked
        assert opened.forebay.persist.backlog().objects == 1
    opened.fail(None)
    opened.persist()
    assert in_store(opened) == b"content"
    assert listener.events[-1] == ObjectPersisted("bucket", "key", 7)
    assert opened.forebay.persist.backlog().objects == 0


def test_pauses_double_up_to_an_hour(opened, monkeypatch):
    monkeypatch.setattr(persist, "FIRST_PAUSE", 1.0)
    opened.put("key", b"content", ASYNC)
    opened.fail("start")
    clock = time.time_ns() // 1_000_000
    monkeypatch.setattr(persist, "now_ms", lambda: clock)
    pauses = []
    for _ in range(15):
        assert opened.forebay.persist.run_one()
        pause = opened.forebay.persist.next_due()
        pauses.append(pause)
        clock += int(pause * 1000) + 1
    for attempt, pause in enumerate(pauses):
        longest = min(2**attempt, 3600)
        assert 0.75 * longest - 0.01 <= pause <= longest + 0.01


@pytest.mark.parametrize("error", [PermissionDenied, InvalidKey])
def test_what_only_an_operator_can_mend_is_parked_and_not_lost(opened, monkeypatch, error):
    opened.put("key", b"content", ASYNC)
    opened.fail("start", error)
    assert opened.forebay.persist.run_one()
    backlog = opened.forebay.persist.backlog()
    assert (backlog.objects, backlog.parked, backlog.size) == (1, 1, 7)
    assert 2000 < opened.forebay.persist.next_due() <= 3600
    assert not opened.forebay.persist.run_one()
    assert opened.get("key") == b"content"
    opened.fail(None)
    now = persist.now_ms() + 3_600_000
    monkeypatch.setattr(persist, "now_ms", lambda: now)
    opened.persist()
    assert in_store(opened) == b"content"


class Hanging:
    """A Forebay in which a persist job hangs at a moment."""

    def __init__(self, open_forebay, at):
        self.release = threading.Event()
        layer = UnderStoreLayer(lambda store: HangingUnderStore(store, self.release, at))
        self.opened = open_forebay(plugins=[layer])
        self.store = layer.stores[0]
        self.store.armed = False
        self.opened.forebay.buckets.create("bucket", "tester")

    def __enter__(self):
        self.opened.put("key", b"older", ASYNC)
        self.store.armed = True
        self.thread = threading.Thread(target=self.opened.forebay.persist.run_one)
        self.thread.start()
        assert self.store.entered.wait(10)
        return self

    def finish(self):
        self.release.set()
        self.thread.join()

    def __exit__(self, *_):
        self.finish()


@both
@pytest.mark.parametrize("at", ["start", "middle", "end"])
@pytest.mark.parametrize("write_type", list(WriteType))
def test_an_older_object_is_never_published_over_a_newer_one(open_forebay, at, write_type):
    with Hanging(open_forebay, at) as hanging:
        opened = hanging.opened
        writer = threading.Thread(target=opened.put, args=("key", b"newer", write_type))
        writer.start()
        if at == "start" or write_type in (WriteType.MUST_CACHE, ASYNC):
            writer.join()
            assert opened.get("key") == b"newer"
        hanging.finish()
        writer.join()
        assert opened.get("key") == b"newer"
        opened.persist()
        assert opened.get("key") == b"newer"
        if write_type is not WriteType.MUST_CACHE:
            assert in_store(opened) == b"newer"
        assert opened.forebay.persist.backlog().objects == 0
        assert opened.leavings() == {}


@both
@pytest.mark.parametrize("at", ["start", "middle", "end"])
@pytest.mark.parametrize("delete_type", list(DeleteType))
def test_a_delete_is_not_undone_by_a_job_under_way(open_forebay, at, delete_type):
    with Hanging(open_forebay, at) as hanging:
        opened = hanging.opened

        def delete():
            opened.forebay.deletes.delete(opened.bucket, "key", requested=delete_type)

        deleter = threading.Thread(target=delete)
        deleter.start()
        if at == "start" or delete_type is DeleteType.ALLUXIO_ONLY:
            deleter.join()
            assert opened.head("key") is None
        hanging.finish()
        deleter.join()
        assert opened.head("key") is None
        assert opened.listed() == {}
        opened.persist()
        assert opened.head("key") is None
        if delete_type is DeleteType.ALLUXIO_AND_UFS:
            assert in_store(opened) is None
        assert opened.leavings() == {}
        assert opened.forebay.persist.backlog().objects == 0


@pytest.mark.parametrize("at", ["middle", "end"])
def test_a_job_that_fails_after_a_delete_does_not_bring_the_object_back(open_forebay, at):
    with Hanging(open_forebay, at) as hanging:
        opened = hanging.opened
        opened.fail(at)
        opened.forebay.deletes.delete(opened.bucket, "key", requested=DeleteType.ALLUXIO_ONLY)
        hanging.finish()
        opened.fail(None)
        assert opened.head("key") is None
        opened.persist()
        assert opened.head("key") is None
        assert opened.listed() == {}
        assert opened.leavings() == {}


def test_every_call_of_the_catalog_may_fail_once(open_forebay, monkeypatch):
    from forebay.testing.faults import MetadataStoreLayer

    monkeypatch.setattr(persist, "LEASE", 0)
    n = 0
    while True:
        n += 1
        layer = MetadataStoreLayer(lambda store: FailNth(store, "write", 10**9, StorageError))
        opened = open_forebay(plugins=[layer])
        opened.forebay.buckets.create("bucket", "tester")
        opened.put("key", b"content", ASYNC)
        failing = layer.stores[0]
        failing.calls, failing._n = 0, n
        for _ in range(5):
            try:
                while opened.forebay.persist.run_one():
                    pass
            except StorageError:
                pass
            time.sleep(0.002)
        assert in_store(opened) == b"content", n
        assert opened.head("key").state is PersistState.PERSISTED, n
        assert opened.forebay.persist.backlog().objects == 0, n
        opened.forebay.housekeeping.settle_late()
        assert opened.leavings() == {}, n
        if failing.calls < n:
            break
    assert n > 3


def test_over_the_limit_writes_are_told_to_slow_down(open_forebay):
    opened = open_forebay(persist=PersistConfig(max_dirty=100))
    opened.forebay.buckets.create("bucket", "tester")
    opened.put("a", b"x" * 60, ASYNC)
    with pytest.raises(SlowDown):
        opened.put("b", b"x" * 60, ASYNC)
    assert opened.head("b") is None
    opened.put("a", b"x" * 100, ASYNC)
    opened.put("c", b"x" * 60, WriteType.CACHE_THROUGH)
    opened.put("d", b"x" * 60, WriteType.MUST_CACHE)
    with pytest.raises(SlowDown):
        opened.put("b", b"x", ASYNC)
    opened.persist()
    opened.put("b", b"x" * 60, ASYNC)
    opened.forebay.deletes.delete(opened.bucket, "b")
    opened.put("b", b"x" * 100, ASYNC)
    assert opened.leavings() == {}


@both
def test_large_objects_of_parts_are_persisted_whole(opened, monkeypatch):
    from forebay.objects import uploads

    monkeypatch.setattr(uploads, "SMALLEST_PART", 1)
    made = opened.forebay.uploads.create(
        opened.bucket, "key", attributes=Attributes(), owner=None, requested=ASYNC
    ).upload_id
    contents = [content_of(str(number), 300) for number in range(1, 81)]
    for number, content in enumerate(contents, 1):
        opened.forebay.uploads.put_part(opened.bucket, "key", made, number, Content(content))
    opened.forebay.uploads.complete(
        opened.bucket, "key", made, [CompletedPart(n) for n in range(1, 81)]
    )
    etag = opened.head("key").etag
    opened.persist()
    assert in_store(opened) == b"".join(contents)
    assert opened.head("key").etag == etag
    assert opened.get("key") == b"".join(contents)
    assert opened.leavings() == {}


def test_jobs_are_done_oldest_first(opened):
    for key in ("c", "a", "b"):
        opened.put(key, b"x", ASYNC)
        time.sleep(0.002)
    done = []
    while opened.forebay.persist.run_one():
        done += [k for k in "abc" if in_store(opened, k) and k not in done]
    assert done == ["c", "a", "b"]


def test_the_workers_do_what_is_written(open_forebay):
    opened = open_forebay()
    opened.forebay.buckets.create("bucket", "tester")
    opened.put("before", b"x", ASYNC)
    opened.forebay.start()
    for number in range(20):
        opened.put(str(number), b"x", ASYNC)
    assert opened.forebay.persist.drain(20)
    assert all(in_store(opened, str(number)) == b"x" for number in range(20))
    assert in_store(opened, "before") == b"x"


def test_held_keys_of_a_mount_that_is_down_delay_no_other_mount(open_forebay):
    layer, listener = UnderStoreLayer(SilentUnderStore), Listener()
    mounts = {
        "/": MountConfig("/", "memory://root"),
        "/bucket/q": MountConfig("/bucket/q", "memory://q"),
    }
    opened = open_forebay(plugins=[layer, listener], mounts=mounts)
    layer.stores[1].down = True
    for number in range(12):
        with pytest.raises(ServiceUnavailable):
            opened.put(f"q/{number}", b"held", WriteType.THROUGH)
        opened.put(f"q/{number}", b"later", ASYNC)
        assert opened.forebay.persist.run_one()
    failed = [event for event in listener.events if isinstance(event, PersistFailed)]
    assert len(failed) == 12
    assert {event.reason for event in failed} == {
        "ServiceUnavailable: the under store of /bucket/q is down"
    }
    opened.forebay.start()
    began = time.monotonic()
    opened.put("healthy", b"x", ASYNC)
    while in_store(opened, "healthy") is None:
        assert time.monotonic() - began < 5
        time.sleep(0.01)
    layer.stores[1].down = False
    assert opened.forebay.persist.drain(20)
    assert all(opened.get(f"q/{number}") == b"later" for number in range(12))
    with layer.stores[1].open("0") as reader:
        assert reader.read(100) == b"later"


def test_a_drain_gives_up_when_its_time_is_over(opened):
    opened.put("key", b"x", ASYNC)
    assert not opened.forebay.persist.drain(0.05)


@on_files
def test_an_object_is_not_persisted_into_another_store_than_it_was_written_for(
    open_forebay, opened, tmp_path
):
    opened.put("key", b"content", ASYNC)
    opened.forebay.close()
    other = open_forebay(mounts={"/": MountConfig("/", (tmp_path / "other").as_uri())})
    other.persist()
    backlog = other.forebay.persist.backlog()
    assert (backlog.objects, backlog.parked) == (1, 1)
    assert other.forebay.housekeeping.sweep_void() == 0
    other.forebay.close()
    assert not (tmp_path / "other" / "bucket" / "key").exists()
    again = open_forebay()
    assert again.forebay.persist.backlog().objects == 1


@on_files
def test_two_processes_share_the_queue(open_forebay, opened):
    other = open_forebay()
    for number in range(40):
        opened.put(str(number), b"x", ASYNC)
    counts = []

    def work(one):
        count = 0
        while one.forebay.persist.run_one():
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=work, args=(one,)) for one in (opened, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 40
    assert opened.forebay.persist.backlog().objects == 0
    assert opened.leavings() == {}


@on_files
def test_jobs_of_a_dead_process_are_due_at_once(open_forebay, opened):
    opened.put("key", b"x", ASYNC)
    other = open_forebay()
    assert other.forebay.persist._claim() is not None
    assert not opened.forebay.persist.run_one()
    owner = other.forebay._shared.owner
    owner.close()
    persist.requeue(opened.forebay._shared, owner.number)
    assert opened.forebay.persist.run_one()
    assert in_store(opened) == b"x"
