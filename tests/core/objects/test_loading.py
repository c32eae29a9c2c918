"""Load jobs at work: all comes, once, whatever fails, stops or dies in between."""

import threading
import time

import pytest

from forebay.config import CacheConfig, TierConfig
from forebay.errors import StorageError, Unavailable
from forebay.events import LoadEnded
from forebay.hookspecs import hookimpl
from forebay.objects import loading
from forebay.streams import BytesReader
from forebay.testing.faults import Around, UnderStoreLayer
from forebay.testing.opened import OpenedForebay, content_of
from forebay.types import Attributes, WriteType

SIZE = 1_500_000


class Watched(Around):
    """Counts how each object is opened; fails and holds back as it is told."""

    def __init__(self, store):
        super().__init__(store)
        self.opened = []
        self.bad = {}
        self.gate = None
        self.lists = 0
        self.list_fails = 0

    def open(self, key, /, byte_range=None, *, if_match=None):
        self.opened.append(key)
        if self.bad.get(key, 0):
            self.bad[key] -= 1
            raise self.bad.get("error", Unavailable)(f"{key} is bad")
        if self.gate is not None:
            assert self.gate.wait(20)
        return self.inner.open(key, byte_range, if_match=if_match)

    def list(self, *given, **options):
        self.lists += 1
        if self.list_fails:
            self.list_fails -= 1
            raise Unavailable("the store is down")
        return self.inner.list(*given, **options)


class Listener:
    def __init__(self):
        self.events = []

    @hookimpl
    def track_event(self, event):
        self.events.append(event)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(loading, "RETRY_AFTER", 0.0)
    monkeypatch.setattr(loading, "SAVE", 0.02)


@pytest.fixture
def store():
    return UnderStoreLayer(Watched)


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def opened(open_forebay, store, listener):
    opened = open_forebay(plugins=[store, listener])
    opened.forebay.buckets.create("bucket", "tester")
    return opened


def outside(opened, *names, size=SIZE):
    """Put objects into the under store behind our back."""
    for name in names:
        body = BytesReader(content_of(name, size))
        opened.raw.put(f"bucket/{name}", body, size=size, attributes=Attributes())


def work(opened):
    while opened.forebay.loading.run_some():
        pass


def counts(job):
    return job.state, job.objects, job.failed, job.fetched, job.present


def test_everything_below_a_path_comes_once(opened, store, listener):
    outside(opened, "a/1", "a/2", "a/deep/3", "ab", "b")
    job = opened.forebay.loads.begin("s3://bucket/a")
    work(opened)
    done = opened.forebay.loads.get(job.id)
    assert counts(done) == ("DONE", 3, 0, 3 * SIZE, 0)
    assert (done.total, done.total_size, done.counted) == (3, 3 * SIZE, True)
    watched = store.stores[0]
    assert set(watched.opened) == {"bucket/a/1", "bucket/a/2", "bucket/a/deep/3"}
    for name in ("a/1", "a/2", "a/deep/3"):
        held = opened.forebay.explain.stat(f"s3://bucket/{name}").held
        assert (held.place, held.size) == ("pages", SIZE)
    watched.opened.clear()
    assert opened.get("a/1") == content_of("a/1", SIZE)
    assert watched.opened == [], "all of it was there"
    assert LoadEnded(job.id, "s3://bucket/a", 3, 0) in listener.events


def test_a_job_that_finds_nothing_says_so(opened):
    jobs = [opened.forebay.loads.begin("s3://bucket/nosuch"), opened.forebay.loads.begin_list()]
    opened.forebay.loads.add(jobs[1].id, [], last=True)
    work(opened)
    for job in jobs:
        done = opened.forebay.loads.get(job.id)
        assert (counts(done), done.reason) == (("DONE", 0, 0, 0, 0), "nothing is there")


def test_what_is_there_is_not_fetched_again(opened, store):
    outside(opened, "a/1", "a/2")
    opened.put("a/own", content_of("own", SIZE), WriteType.CACHE_THROUGH)
    opened.put("a/kept", content_of("kept", 100), WriteType.MUST_CACHE)
    assert opened.get("a/1")
    store.stores[0].opened.clear()
    job = opened.forebay.loads.begin("s3://bucket/a")
    work(opened)
    done = opened.forebay.loads.get(job.id)
    assert counts(done) == ("DONE", 4, 0, SIZE, 3)
    assert done.size == 3 * SIZE + 100
    assert set(store.stores[0].opened) == {"bucket/a/2"}


def test_only_missing_pages_of_an_object_are_fetched(opened, store):
    from forebay.types import PageId

    outside(opened, "a", size=5 << 20)
    assert opened.get("a")
    record = opened.head("a")
    for index in (1, 2, 4):
        opened.forebay.cache.drop(PageId(record.object_id, 1 << 20, index))
    job = opened.forebay.loads.begin("s3://bucket/a")
    work(opened)
    assert counts(opened.forebay.loads.get(job.id)) == ("DONE", 1, 0, 3 << 20, 0)
    assert opened.forebay.explain.stat("s3://bucket/a").held.size == 5 << 20


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_files_of_this_machine_are_there_already(opened, store):
    opened.put("a", content_of("a", SIZE), WriteType.CACHE_THROUGH)
    job = opened.forebay.loads.begin("/")
    work(opened)
    assert counts(opened.forebay.loads.get(job.id)) == ("DONE", 1, 0, 0, 1)


def test_a_list_is_loaded_in_its_order_and_what_is_not_there_is_told(opened, store):
    outside(opened, "a", "b", "c")
    loads = opened.forebay.loads
    job = loads.begin_list()
    loads.add(job.id, ["s3://bucket/c", "/bucket/none"], last=False)
    loads.add(job.id, ["s3://bucket/a", "s3://nowhere/x"], last=True)
    work(opened)
    assert counts(loads.get(job.id)) == ("DONE", 2, 2, 2 * SIZE, 0)
    failed = {one.path: one for one in loads.failures(job.id)}
    assert failed["/bucket/none"].reason == "NoSuchKey: there is no object /bucket/none"
    assert "NoSuchBucket" in failed["s3://nowhere/x"].reason
    assert {one.attempts for one in failed.values()} == {2}


def test_what_fails_once_comes_at_the_end(opened, store):
    outside(opened, "a", "b", "c")
    store.stores[0].bad = {"bucket/b": 1, "error": StorageError}
    job = opened.forebay.loads.begin("s3://bucket")
    work(opened)
    assert counts(opened.forebay.loads.get(job.id)) == ("DONE", 3, 0, 3 * SIZE, 0)
    assert opened.forebay.loads.failures(job.id) == []


def test_what_goes_on_failing_is_told_and_comes_when_it_is_asked_for_again(opened, store):
    outside(opened, "a", "b")
    store.stores[0].bad = {"bucket/b": 10**9, "error": StorageError}
    loads = opened.forebay.loads
    job = loads.begin("s3://bucket")
    work(opened)
    assert counts(loads.get(job.id)) == ("DONE", 1, 1, SIZE, 0)
    (failure,) = loads.failures(job.id)
    assert (failure.path, failure.attempts) == ("s3://bucket/b", 2)
    assert "bucket/b is bad" in failure.reason
    store.stores[0].bad = {}
    loads.resume(job.id)
    work(opened)
    assert counts(loads.get(job.id)) == ("DONE", 2, 0, 2 * SIZE, 0)
    assert opened.held(b"F") == []


def test_a_store_that_is_down_pauses_the_job_and_loses_nothing(opened, store, monkeypatch):
    monkeypatch.setattr(loading, "STREAK", 4)
    names = [f"k{n}" for n in range(20)]
    outside(opened, *names, size=100_000)
    store.stores[0].bad = {f"bucket/{name}": 10**9 for name in names}
    loads = opened.forebay.loads
    job = loads.begin("s3://bucket")
    work(opened)
    stopped = loads.get(job.id)
    assert stopped.state == "PAUSED"
    assert "4 objects failed in a row, the last: " in stopped.reason
    store.stores[0].bad = {}
    loads.resume(job.id)
    work(opened)
    assert counts(loads.get(job.id)) == ("DONE", 20, 0, 2_000_000, 0)


def test_a_listing_that_fails_is_waited_for(opened, store, monkeypatch):
    outside(opened, "a", "b")
    store.stores[0].list_fails = 2
    job = opened.forebay.loads.begin("s3://bucket")
    work(opened)
    assert counts(opened.forebay.loads.get(job.id)) == ("DONE", 2, 0, 2 * SIZE, 0)


def test_a_bucket_that_is_deleted_meanwhile_stops_the_job_with_the_reason(opened):
    job = opened.forebay.loads.begin("s3://bucket")
    opened.forebay.buckets.delete(opened.bucket)
    work(opened)
    stopped = opened.forebay.loads.get(job.id)
    assert (stopped.state, stopped.reason) == ("PAUSED", "NoSuchBucket: there is no bucket bucket")


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come")


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_a_job_stops_when_it_is_told_to_and_goes_on_where_it_was(opened, store, how):
    names = [f"k{n:02}" for n in range(40)]
    outside(opened, *names, size=100_000)
    watched, loads = store.stores[0], opened.forebay.loads
    job = loads.begin("s3://bucket")
    watched.gate = threading.Event()
    thread = threading.Thread(target=opened.forebay.loading.run_some)
    thread.start()
    until(lambda: len(watched.opened) >= 8)
    getattr(loads, how)(job.id)
    watched.gate.set()
    thread.join(20)
    assert not thread.is_alive()
    stopped = len(set(watched.opened))
    assert stopped < 40
    if how == "cancel":
        work(opened)
        assert loads.list() == []
        assert [opened.held(kind) for kind in (b"J", b"K", b"F")] == [[], [], []]
        return
    assert loads.get(job.id).state == "PAUSED"
    assert not opened.forebay.loading.run_some(), "it is paused"
    loads.resume(job.id)
    work(opened)
    done = loads.get(job.id)
    assert (done.state, done.objects, done.failed) == ("DONE", 40, 0)
    assert len(watched.opened) == len(set(watched.opened)) == 40, "nothing was fetched twice"


def test_a_job_goes_on_in_the_next_process(opened, open_forebay, store, listener):
    """The counters of the process that ended are kept; what it brought is not fetched again."""
    names = [f"k{n:02}" for n in range(40)]
    outside(opened, *names, size=100_000)
    watched, loads = store.stores[0], opened.forebay.loads
    job = loads.begin("s3://bucket")
    watched.gate = threading.Event()
    opened.forebay.loading.start()
    until(lambda: len(watched.opened) >= 8)
    stopping = threading.Thread(target=opened.forebay.loading.stop)
    stopping.start()
    watched.gate.set()
    stopping.join(20)
    let_go = loads.get(job.id)
    assert let_go.state == "RUNNING"
    assert loads._shared.catalog.read(lambda s: module_get(s, job.id)).owner == 0
    loading.Loading(
        loads._shared, opened.forebay.buckets, opened.forebay.listings, opened.forebay.reads
    ).run_some()
    done = loads.get(job.id)
    assert (done.state, done.objects, done.failed) == ("DONE", 40, 0)
    assert len(watched.opened) == len(set(watched.opened)) == 40


def module_get(snapshot, load_id):
    from forebay.objects.loads import _get

    return _get(snapshot, load_id)


def test_two_jobs_of_one_prefix_fetch_it_once(opened, store):
    names = [f"k{n:02}" for n in range(20)]
    outside(opened, *names, size=100_000)
    loads = opened.forebay.loads
    jobs = [loads.begin("s3://bucket") for _ in range(2)]
    threads = [threading.Thread(target=opened.forebay.loading.run_some) for _ in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    done = [loads.get(job.id) for job in jobs]
    assert [(one.state, one.objects, one.failed) for one in done] == [("DONE", 20, 0)] * 2
    assert len(store.stores[0].opened) == 20, "each page came once"


def test_a_job_that_somebody_works_at_is_not_taken(opened, monkeypatch):
    loads, own = opened.forebay.loads, opened.forebay.loading._shared.owner
    job = loads.begin("s3://bucket")
    claimed = loads._shared.catalog.write(opened.forebay.loading._claim)
    opened.forebay.loading._mine.add(job.id)
    assert claimed.owner == own.number
    assert not opened.forebay.loading.run_some()
    opened.forebay.loading._mine.clear()
    assert opened.forebay.loading.run_some()


def small_tier(open_forebay, store, tmp_path, eviction, capacity=2 << 20):
    tier = TierConfig(
        name="SSD", path=str(tmp_path / "small"), capacity=capacity, eviction=eviction
    )
    opened = open_forebay(plugins=[store], cache=CacheConfig(tiers=[tier], load_workers=1))
    opened.forebay.buckets.create("bucket", "tester")
    return opened


def test_what_finds_no_room_is_told_and_no_failure(open_forebay, store, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "STREAK", 2)
    opened = small_tier(open_forebay, store, tmp_path, "none")
    outside(opened, "a", "b", "c", "d")
    job = opened.forebay.loads.begin("s3://bucket")
    work(opened)
    done = opened.forebay.loads.get(job.id)
    assert counts(done) == ("DONE", 4, 0, 4 * SIZE, 0)
    held = [opened.forebay.explain.stat(f"s3://bucket/{name}").held.size for name in "abcd"]
    assert done.unkept == 4 * SIZE - sum(held)
    assert done.size == 4 * SIZE
    assert done.capacity == 2 << 20
    assert len(store.stores[0].opened) == 4, "and nothing is fetched twice for it"


def test_an_object_larger_than_its_tier_is_loaded_as_far_as_it_goes(open_forebay, store, tmp_path):
    opened = small_tier(open_forebay, store, tmp_path, "s3fifo")
    outside(opened, "a", "c")
    outside(opened, "b", size=20 << 20)
    job = opened.forebay.loads.begin("s3://bucket")
    work(opened)
    done = opened.forebay.loads.get(job.id)
    assert counts(done) == ("DONE", 3, 0, (20 << 20) + 2 * SIZE, 0)
    assert done.unkept >= 18 << 20


def test_what_was_fetched_of_an_object_that_failed_is_told(opened, store):
    from forebay.types import PageId

    outside(opened, "a", size=5 << 20)
    assert opened.get("a")
    record = opened.head("a")
    for index in (0, 4):
        opened.forebay.cache.drop(PageId(record.object_id, 1 << 20, index))
    watched = store.stores[0]
    open_first = watched.open

    def open_once(key, /, byte_range=None, *, if_match=None):
        if byte_range is not None and byte_range.start:
            raise Unavailable("its end is bad")
        return open_first(key, byte_range, if_match=if_match)

    watched.open = open_once
    job = opened.forebay.loads.begin("s3://bucket")
    work(opened)
    done = opened.forebay.loads.get(job.id)
    assert counts(done) == ("DONE", 0, 1, 1 << 20, 0)
    assert (done.size, done.unkept) == (0, 0)
    watched.open = open_first
    opened.forebay.loads.resume(job.id)
    work(opened)
    done = opened.forebay.loads.get(job.id)
    assert counts(done) == ("DONE", 1, 0, 2 << 20, 0)
    assert done.size == 5 << 20


def test_an_overwrite_meanwhile_never_mixes_versions(opened, store):
    """What the job reports as there is the new object, whole."""
    outside(opened, "a", size=3 << 20)
    watched = store.stores[0]
    watched.gate = threading.Event()
    job = opened.forebay.loads.begin("s3://bucket")
    thread = threading.Thread(target=work, args=[opened])
    thread.start()
    until(lambda: watched.opened)
    new = content_of("new", 4 << 20)
    opened.put("a", new, WriteType.THROUGH)
    watched.gate.set()
    thread.join(30)
    assert counts(opened.forebay.loads.get(job.id))[:3] == ("DONE", 1, 0)
    assert opened.get("a") == new


def test_the_kit_opens_without_the_threads_of_loads(opened):
    assert isinstance(opened, OpenedForebay)
    assert not any(thread.is_alive() for thread in opened.forebay.loading._threads)
