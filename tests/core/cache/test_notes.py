"""What is told over the line arrives, what is lost costs little, and questions are answered."""

import os
import threading
import time

import pytest

from forebay.cache.cache import Cache
from forebay.cache.notes import Listener, Messenger
from forebay.cache.residency import Residency, TierReport
from forebay.cache.room import FileRoom
from forebay.cache.tier import Tier
from forebay.errors import NoSpace
from forebay.types import PageId
from forebay_eviction import FACTORIES
from forebay_local.pages import DiskPageStore

SIZE = 10


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


class Node:
    """A worker and the housekeeping of one tier of ten pages, as two processes would have it."""

    def __init__(self, path):
        self.path = path
        self.address = path / "state" / ("x" * 120) / "sock"
        self.address.parent.mkdir(parents=True)
        self.trash = threading.Event()
        self.tier = self.make_tier()
        self.mounts = {"s": "/raw"}
        self.residency = Residency([self.tier], mount_of=self.mounts.get)
        self.listener = Listener(self.address, [self.tier], self.residency, self.trash)
        self.messenger = Messenger(self.address, ["SSD"])
        self.messenger.own = lambda: [TierReport("SSD", 100, 0, 0)]
        worker = self.make_tier(tell=self.messenger.of_tier(0))
        self.cache = Cache([worker], page_size=SIZE, residency=self.messenger)
        self.messenger.start()

    def make_tier(self, tell=None):
        return Tier(
            "SSD",
            DiskPageStore.from_options({"path": str(self.path / "pages")}),
            FACTORIES["lru"],
            capacity=100,
            room=FileRoom(self.path / "pages"),
            evictable=lambda page: True,
            tell=tell,
        )

    def fill(self, *indices):
        for index in indices:
            writer = self.cache.page_writer("s", index, SIZE)
            if writer is not None:
                writer.write(bytes(SIZE))
                writer.commit(sync=False)

    def keep_house(self):
        self.listener.start()
        self.residency.start()

    def close(self):
        self.messenger.stop()
        self.listener.stop()
        self.residency.stop()
        self.cache.close()
        self.tier.close()


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    yield node
    node.close()


def test_what_a_worker_does_is_known_to_the_residency(node):
    node.keep_house()
    node.fill(0, 1, 2)
    for _ in range(3):
        node.cache.open_page("s", 1).close()
    node.cache.drop(PageId("s", SIZE, 2), SIZE)
    until(lambda: [w.hits for w in node.residency.whereabouts("s")] == [0, 3])
    report = node.cache.report()
    assert report.complete
    assert (report.tiers[0].tally.hits, report.tiers[0].tally.misses) == (3, 3)
    assert report.tiers[0].used == 20
    assert [(one.path, one.used) for one in report.mounts] == [("/raw", 20)]
    assert node.cache.whereabouts("s") == node.residency.whereabouts("s")
    assert node.cache.hits("s", SIZE, 0, 1200) == {1: 3}
    assert node.cache.hits("s", SIZE, 2, 1200) == {}


def test_room_is_made_for_a_worker_and_what_must_be_kept_waits_for_it(node):
    node.keep_house()
    node.fill(*range(9))
    for number in range(20):
        writer = node.cache.writer(f"mine{number}", 40, durable=True)
        writer.write(bytes(40))
        writer.commit(sync=False)
        assert node.tier.room().used <= 100
    until(lambda: node.cache.evictions("s"))
    assert all(one.why == "room" for one in node.cache.evictions("s").values())


def test_a_fill_without_room_goes_past_the_cache_at_once(node):
    node.fill(*range(10))
    began = time.monotonic()
    for index in range(10, 40):
        assert node.cache.page_writer("s", index, SIZE) is None
    fills = time.monotonic() - began
    began = time.monotonic()
    with pytest.raises(NoSpace):
        node.cache.writer("mine", 40, durable=True)
    assert fills < time.monotonic() - began, "thirty fills took longer than one patient write"


def test_without_housekeeping_a_worker_tells_what_it_can(node):
    node.fill(0)
    report = node.cache.report()
    assert not report.complete
    assert [tier.name for tier in report.tiers] == ["SSD"]
    assert node.cache.whereabouts("s") == []
    assert node.cache.evictions("s") == {}


def test_what_was_lost_is_met_on_the_shelves(node):
    node.fill(*range(10))
    until(lambda: not node.messenger._notes)
    node.keep_house()
    until(lambda: node.tier.room().used == 90)
    node.fill(100)
    assert node.cache.holds_page("s", 100)


def test_a_worker_does_not_believe_that_what_it_put_is_still_there(node):
    node.keep_house()
    node.fill(1)
    assert node.cache.holds_page("s", 1)
    node.tier.delete(PageId("s", SIZE, 1), SIZE)
    assert not node.cache.holds_page("s", 1)


def test_a_killed_listener_leaves_its_address_to_the_next(node):
    node.listener.start()
    node.listener._stopping = True
    node.listener._socket.close()
    node.listener = Listener(node.address, [node.tier], node.residency, node.trash)
    node.keep_house()
    node.fill(0)
    until(lambda: node.residency.whereabouts("s"))


def test_that_trash_waits_is_passed_on(node):
    node.listener.start()
    node.messenger.trash_waits()
    assert node.trash.wait(30)


def test_long_answers_come_in_pieces(node):
    node.listener.start()
    for index in range(1201):
        node.tier.stock.hit(PageId("s", 1, index), 1)
        node.tier.stock._capacity = 1 << 30
        node.residency._leave(
            0, node.tier, PageId("s", 1, index), node.tier.stock.get(PageId("s", 1, index)), "room"
        )
    assert [w.page.index for w in node.cache.whereabouts("s")] == list(range(1201))
    assert len(node.cache.evictions("s")) == 1201


def test_nonsense_is_not_followed(node, caplog):
    node.listener.start()
    folder = os.open(node.address.parent, os.O_RDONLY | os.O_DIRECTORY)
    node.messenger._socket.sendto(b"\xc1nonsense", f"/proc/self/fd/{folder}/sock")
    os.close(folder)
    node.fill(0)
    until(lambda: node.residency.whereabouts("s"))
    assert "cannot be read" in caplog.text
