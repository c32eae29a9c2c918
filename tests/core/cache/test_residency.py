"""Pages go up when they are hot, down when they are worth it, and out by watermark and quota."""

import logging
import os
import time
from types import SimpleNamespace

import pytest

from forebay.cache import residency as module
from forebay.cache.cache import Cache
from forebay.cache.residency import Residency
from forebay.cache.room import FileRoom, RoomCounter
from forebay.cache.stock import Tally
from forebay.cache.tier import Tier
from forebay.errors import StorageError
from forebay.types import PageId
from forebay_eviction import FACTORIES
from forebay_local.pages import DiskPageStore
from forebay_memory.pages import MemoryPageStore

SIZE = 10


class House:
    """Two tiers, MEM of 10 pages over SSD of 100, their residency and what it told."""

    def __init__(self, *, capacities=(100, 1000), stores=None, rooms=None, policy="s3fifo"):
        self.pinned = set()
        self.only_copies = set()
        self.mounts = {}
        self.quotas = {}
        self.told = []
        stores = stores or [MemoryPageStore.from_options({}) for _ in capacities]
        rooms = rooms or [RoomCounter() for _ in capacities]
        self.tiers = [
            Tier(
                name,
                store,
                FACTORIES[policy],
                capacity=capacity,
                room=room,
                evictable=lambda page: page.segment not in self.only_copies,
                pinned=lambda segment: segment in self.pinned,
            )
            for name, store, capacity, room in zip(
                ("MEM", "SSD"), stores, capacities, rooms, strict=True
            )
        ]
        self.residency = Residency(
            self.tiers,
            mount_of=self.mounts.get,
            quotas=lambda: self.quotas,
            on_corrupt=lambda *what: self.told.append(what),
        )
        self.cache = Cache(self.tiers, page_size=SIZE, residency=self.residency)
        self.mem, self.ssd = self.tiers

    def fill(self, *indices, segment="s"):
        for index in indices:
            writer = self.cache.page_writer(segment, index, SIZE)
            writer.write(bytes([index % 256]) * SIZE)
            writer.commit(sync=False)

    def write(self, segment, size, *, durable=True):
        writer = self.cache.writer(segment, size, durable=durable)
        writer.write(b"x" * size)
        writer.commit(sync=False)

    def use(self, *indices, segment="s"):
        for index in indices:
            self.cache.open_page(segment, index).close()

    def on(self, tier, segment="s"):
        return [page.index for page, _ in sorted_pages(tier) if page.segment == segment]

    def report(self):
        return {one.name: one for one in self.cache.report().tiers}


def sorted_pages(tier):
    return sorted(tier.store.pages(), key=lambda each: (each[0].segment, each[0].index))


@pytest.fixture
def make_house():
    made = []

    def make_house(**how):
        made.append(House(**how))
        return made[-1]

    yield make_house
    for house in made:
        house.cache.close()


@pytest.fixture
def house(make_house):
    return make_house()


# --- down ----------------------------------------------------------------------------


def test_a_lower_tier_that_is_not_full_takes_every_victim(house):
    house.fill(*range(30))
    assert sorted(house.on(house.mem) + house.on(house.ssd)) == list(range(30))
    assert house.report()["SSD"].tally.demoted == 20


def fill_up(house):
    """Fill the lower tier to its low watermark with pages that nobody asks for."""
    for index in range(90):
        writer = house.ssd.writer(PageId("old", SIZE, index), SIZE, required=True)
        writer.write(b"x" * SIZE)
        writer.commit(sync=False)


def test_a_full_one_takes_only_what_was_used(make_house):
    house = make_house(policy="lru")
    fill_up(house)
    house.fill(*range(10))
    house.use(0, 0, 1)
    house.fill(*range(10, 40))
    assert house.on(house.ssd) == [0, 1]


def test_or_what_was_refused_lately(make_house):
    house = make_house(policy="lru")
    fill_up(house)
    house.fill(*range(40))
    assert house.on(house.ssd) == []
    house.fill(*range(100, 140))
    house.fill(5)
    house.fill(*range(200, 230))
    assert house.on(house.ssd) == [5]


def test_refusals_are_forgotten_in_the_end(make_house):
    house = make_house(capacities=(100, 200), policy="lru")
    for index in range(18):
        writer = house.ssd.writer(PageId("old", SIZE, index), SIZE, required=True)
        writer.write(b"x" * SIZE)
        writer.commit(sync=False)
    house.fill(*range(10))
    house.fill(*range(1000, 1060))
    house.fill(3)
    house.fill(*range(2000, 2030))
    assert house.on(house.ssd) == []


def test_what_lies_below_already_is_not_written_again(house):
    house.fill(*range(10))
    writer = house.ssd.writer(PageId("s", SIZE, 0), SIZE, required=True)
    writer.write(bytes(SIZE))
    writer.commit(sync=False)
    house.fill(*range(10, 30))
    assert house.ssd.stock.tally.admitted == house.ssd.stock.tally.demoted + 1
    assert 0 in house.on(house.ssd)


def test_a_lower_tier_that_fails_loses_nothing_but_the_copy(house, caplog):
    house.fill(*range(10))
    house.ssd.store.writer = _fails
    with caplog.at_level(logging.ERROR):
        house.fill(*range(10, 30))
    assert len(house.on(house.mem)) == 10
    assert house.on(house.ssd) == []
    assert caplog.text.count("SSD fails") == 1, "said once"
    assert house.report()["SSD"].failure == "no such disk"


def _fails(*_, **__):
    raise StorageError("no such disk")


# --- up ------------------------------------------------------------------------------


def test_a_second_hit_below_brings_a_page_up_and_leaves_its_copy(house):
    house.fill(*range(30))
    below = house.on(house.ssd)[0]
    house.use(below)
    house.residency.tend()
    assert below not in house.on(house.mem)
    house.use(below)
    house.residency.tend()
    assert below in house.on(house.mem)
    assert below in house.on(house.ssd)
    assert house.report()["MEM"].tally.promoted == 1
    reader = house.cache.open_page("s", below)
    assert reader.pread(SIZE, 0) == bytes([below]) * SIZE
    reader.close()
    assert house.report()["MEM"].tally.hits == 1


def test_what_was_pushed_out_again_comes_up_after_two_more(house):
    house.fill(*range(30))
    below = house.on(house.ssd)[0]
    for _ in range(2):
        house.use(below, below)
        house.residency.tend()
        assert below in house.on(house.mem)
        house.mem.delete(PageId("s", SIZE, below))


def test_an_only_copy_stays_where_it_is(house):
    house.only_copies.add("mine")
    house.write("mine", 20)
    for _ in range(5):
        house.cache.open("mine").close()
        house.residency.tend()
    assert [tier for tier, page, _ in house.cache.segments()] == ["MEM"]
    assert house.cache.free("mine", 20) == 0


def test_a_corrupt_page_goes_neither_up_nor_down(make_house, tmp_path):
    stores = [DiskPageStore.from_options({"path": str(tmp_path / n)}) for n in ("MEM", "SSD")]
    rooms = [FileRoom(tmp_path / n) for n in ("MEM", "SSD")]
    house = make_house(stores=stores, rooms=rooms)
    house.fill(*range(10))
    for path in (tmp_path / "MEM" / "data").rglob("s.10.*"):
        path.write_bytes(b"not it    ")
    house.fill(*range(10, 20))
    assert not set(house.on(house.ssd)) & set(range(10))
    assert {page.index for tier, page, expendable in house.told if expendable} <= set(range(10))
    assert house.told
    page = PageId("s", SIZE, house.told[0][1].index)
    assert house.cache.evictions("s")[page].why == "corrupt"


# --- out -----------------------------------------------------------------------------


def test_over_the_high_watermark_room_is_made_ahead_down_to_the_low_one(house):
    house.fill(*range(9))
    house.residency.tend()
    assert house.mem.room().used == 90
    house.fill(9)
    house.residency.tend()
    assert house.mem.room().used == 90


def test_room_that_was_asked_for_is_made(house):
    house.fill(*range(9))
    house.residency.need(0, 40)
    house.residency.tend()
    assert house.mem.room().used == 60
    house.residency.tend()
    assert house.mem.room().used == 60


def test_what_is_pinned_stays(house):
    house.pinned.add("s")
    house.fill(*range(5))
    house.fill(*range(30), segment="t")
    assert house.on(house.mem) == list(range(5))


def test_a_mount_over_its_quota_is_brought_under_it(house):
    house.mounts.update(s="/raw", t="/")
    house.quotas = {"/raw": 100}
    house.fill(*range(40))
    house.fill(*range(20), segment="t")
    house.residency.tend()
    reports = {one.path: one for one in house.cache.report().mounts}
    assert 90 <= reports["/raw"].used <= 100
    assert reports["/raw"].quota == 100
    assert reports["/"].used == 200
    assert house.on(house.mem, "t") + house.on(house.ssd, "t")
    why = {one.why for one in house.cache.evictions("s").values()}
    assert "quota" in why


def test_a_page_whose_object_was_not_committed_yet_finds_its_mount_later(house):
    house.fill(0)
    house.residency.tend()
    assert [one.path for one in house.cache.report().mounts] == [""]
    house.mounts["s"] = "/raw"
    house.residency.tend()
    assert [(one.path, one.used) for one in house.cache.report().mounts] == [("/raw", SIZE)]


def used_of(house):
    return {one.path: one.used for one in house.cache.report().mounts}


def test_pages_met_on_the_shelves_later_find_their_mount_too(house, monkeypatch):
    monkeypatch.setattr(module, "_ROUND", 0.0)
    house.mounts["s"] = "/raw"
    for index in range(2):  # as another process does whose notes were lost
        writer = house.mem.store.writer(PageId("s", SIZE, index), SIZE)
        writer.write(b"x" * SIZE)
        writer.commit(sync=False)
    house.use(0)
    assert used_of(house) == {"/raw": SIZE}, "met by a use"
    house.mem.prime()
    house.residency.tend()
    assert used_of(house) == {"/raw": 2 * SIZE}, "and by listing"


def test_an_upload_that_ends_late_finds_its_mount(house, monkeypatch):
    monkeypatch.setattr(module, "_ROUND", 0.0)
    house.write("part", 30)
    for _ in range(2 * module._TRIES):
        house.residency.tend()
    assert used_of(house) == {"": 30}
    house.mounts["part"] = "/raw"
    house.residency.tend()
    report = house.cache.report().mounts
    assert [(one.path, one.used, one.tally.admitted) for one in report] == [("/raw", 30, 1)]


def test_what_is_never_known_keeps_no_other_waiting(make_house, monkeypatch):
    monkeypatch.setattr(module, "_ROUND", 0.0)
    monkeypatch.setattr(module, "_LOOKS", 3)
    monkeypatch.setattr(module, "_TRIES", 0)
    house = make_house(capacities=(1000, 1000))
    for number in range(10):
        house.write(f"unknown-{number}", SIZE)
    house.write("known", SIZE)
    house.residency.tend()
    house.mounts["known"] = "/raw"
    for _ in range(4):
        house.residency.tend()
    assert used_of(house) == {"": 10 * SIZE, "/raw": SIZE}


# --- what is told --------------------------------------------------------------------


def test_the_report_counts_hits_and_misses_of_each_tier(house):
    house.mounts["s"] = "/raw"
    house.fill(*range(30))
    above, below = house.on(house.mem)[0], house.on(house.ssd)[0]
    house.residency.tend()
    house.use(above, above, below)
    report = house.cache.report()
    mem, ssd = report.tiers
    assert (mem.used, mem.capacity, mem.pages) == (90, 100, 9)
    assert mem.tally == Tally(hits=2, misses=31, admitted=30, evicted=21)
    assert (ssd.tally.hits, ssd.tally.misses, ssd.tally.demoted) == (1, 30, 21)
    (raw,) = report.mounts
    assert (raw.path, raw.used) == ("/raw", 300)
    assert (raw.tally.hits, raw.tally.misses) == (3, 30)
    assert report.complete


def test_a_page_that_found_no_room_is_counted(house):
    house.pinned.update("s")
    house.fill(*range(10))
    for index in range(100):
        writer = house.ssd.writer(PageId("s", SIZE, 100 + index), SIZE, required=True)
        writer.write(bytes(SIZE))
        writer.commit(sync=False)
    assert house.cache.page_writer("t", 0, SIZE) is None
    assert house.report()["MEM"].tally.rejected == 1


def test_it_tells_where_pages_are_and_why_they_went(house, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 15)
    house.fill(*range(10))
    house.use(9, 9)
    house.fill(*range(10, 30))
    assert [w for w in house.cache.whereabouts("s") if w.tier == "MEM" and w.page.index == 9] == [
        module.Whereabouts("MEM", PageId("s", SIZE, 9), SIZE, 2)
    ]
    evictions = house.cache.evictions("s")
    assert len(evictions) == 15
    assert all((one.why, one.tier) == ("room", "MEM") for one in evictions.values())
    assert all(abs(one.at - time.time()) < 600 for one in evictions.values())
    assert house.cache.evictions("t") == {}


# --- soundness -----------------------------------------------------------------------


def test_the_scrubber_finds_what_nobody_reads(make_house, tmp_path):
    stores = [DiskPageStore.from_options({"path": str(tmp_path / n)}) for n in ("MEM", "SSD")]
    rooms = [FileRoom(tmp_path / n) for n in ("MEM", "SSD")]
    house = make_house(stores=stores, rooms=rooms)
    for store in stores:
        store.durable = True
    for tier in house.tiers:
        tier.durable = True
    house.only_copies.add("mine")
    house.write("mine", 20)
    house.fill(*range(3))
    for name in ("s.10.1", "mine.0.0"):
        (path,) = (tmp_path / "MEM" / "data").rglob(name)
        path.write_bytes(b"?" * path.stat().st_size)
    for _ in range(3):
        house.residency.tend()
    assert sorted(house.told, key=str) == [
        ("MEM", PageId("mine"), False),
        ("MEM", PageId("s", SIZE, 1), True),
    ]
    assert house.on(house.mem) == [0, 2]
    assert house.on(house.mem, "mine") == [0]


# --- rounds --------------------------------------------------------------------------


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def test_on_its_thread_it_meets_the_shelves_and_goes_on(make_house, tmp_path):
    def on_disk():
        stores = [DiskPageStore.from_options({"path": str(tmp_path / n)}) for n in ("MEM", "SSD")]
        return House(stores=stores, rooms=[FileRoom(tmp_path / n) for n in ("MEM", "SSD")])

    before = on_disk()
    before.fill(*range(10))
    before.cache.close()
    house = on_disk()
    assert not house.mem.knows(PageId("s", SIZE, 0))
    house.residency.start()
    until(lambda: house.mem.room().used == 90)
    house.residency.stop()
    assert house.cache.report().tiers[0].pages == 9
    house.cache.close()


def test_a_killed_writers_room_comes_back_without_a_restart(make_house, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PRIME", 0.0)
    stores = [DiskPageStore.from_options({"path": str(tmp_path / n)}) for n in ("MEM", "SSD")]
    house = make_house(stores=stores, rooms=[FileRoom(tmp_path / n) for n in ("MEM", "SSD")])
    other = FileRoom(tmp_path / "MEM")
    other.enter(list)
    other.take(50, 100)
    # As when its process is killed: the files are closed, and nobody gives anything back.
    other._clean = False
    while other._open:
        os.close(other._open.pop())
    house.residency.tend()
    assert house.mem.room().used == 0


def test_while_traffic_hides_what_is_right_shelves_are_listed_less_and_less_often(
    make_house, tmp_path, monkeypatch
):
    stores = [DiskPageStore.from_options({"path": str(tmp_path / n)}) for n in ("MEM", "SSD")]
    house = make_house(stores=stores, rooms=[FileRoom(tmp_path / n) for n in ("MEM", "SSD")])
    # Whoever had the page was killed when it lay there, and somebody writes all the time.
    house.fill(0)
    other = FileRoom(tmp_path / "MEM")
    other.enter(list)
    other.take(SIZE, 100)
    while other._open:
        os.close(other._open.pop())
    writer = house.cache.page_writer("s", 1, SIZE)
    with house.mem._room._turn() as counts:
        counts.used -= SIZE
    now, listed, prime = [0.0], [], house.mem.prime
    monkeypatch.setattr(
        module, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0])
    )
    monkeypatch.setattr(house.mem, "prime", lambda: (listed.append(now[0]), prime()))
    for now[0] in range(200):
        house.residency.tend()
    assert listed == [0, 11, 32, 73, 134, 195]
    writer.abort()
    for now[0] in range(200, 260):
        house.residency.tend()
    assert listed[6:] == [256]
    assert house.mem.room().used == SIZE
