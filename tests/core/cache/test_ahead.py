import threading

import pytest

from forebay.cache import ahead as ahead_module
from forebay.cache.ahead import ReadAhead
from forebay.cache.cache import Cache
from forebay.cache.claims import Claims
from forebay.cache.fetch import Fetches, Source
from forebay.cache.room import RoomCounter
from forebay.cache.tier import Tier
from forebay.types import ByteRange
from forebay_eviction.lru import LruPolicy
from forebay_memory.pages import MemoryPageStore

PAGE = 16
SEGMENT = bytes(range(256)) * 4


class Origin:
    def __init__(self):
        self.asked = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, wanted):
        self.asked.append((wanted.start // PAGE, -(-wanted.stop // PAGE)))
        assert self.go_on.wait(30)
        yield SEGMENT[wanted.start : wanted.stop]


@pytest.fixture
def house(monkeypatch):
    monkeypatch.setattr(ahead_module, "RUN", 4 * PAGE)
    tier = Tier(
        "MEM",
        MemoryPageStore.from_options({}),
        LruPolicy.from_options,
        capacity=1 << 20,
        room=RoomCounter(),
        evictable=lambda page: False,
    )
    fetches = Fetches(Cache([tier], page_size=PAGE), Claims(None), parallel=4, memory=1 << 20)
    yield House(fetches)
    fetches.close()
    fetches.cache.close()


class House:
    def __init__(self, fetches):
        self.fetches = fetches
        self.ahead = ReadAhead(fetches)
        self.origin = Origin()

    def note(self, start, stop, segment="a"):
        """Take note of pages; give what was asked of the source for it, joined."""
        self.origin.asked.clear()
        source = Source("/", segment, len(SEGMENT), self.origin)
        self.ahead.note(source, ByteRange(start * PAGE, stop * PAGE))
        assert self.fetches.settle(30)
        pages = [page for first, end in self.origin.asked for page in range(first, end)]
        assert len(pages) == len(set(pages))
        return sorted(pages)


def test_each_range_that_goes_on_doubles_what_is_fetched_ahead(house):
    assert house.note(0, 2) == []
    assert house.note(2, 4) == [4]
    assert house.note(4, 6) == [6, 7]
    assert house.note(6, 8) == [8, 9, 10, 11]
    assert house.note(8, 10) == [*range(12, 18)]
    assert house.note(10, 12) == [*range(18, 28)]
    assert house.note(12, 14) == [*range(28, 46)]
    assert house.note(14, 16) == [46, 47], "at most 8 runs"


def test_random_access_fetches_nothing_ahead(house):
    for start in (7, 3, 40, 11, 5, 23):
        assert house.note(start, start + 1) == []


def test_the_end_of_the_object_is_the_end(house):
    house.note(58, 60)
    house.note(60, 61)
    assert house.note(61, 62) == [62, 63]
    assert house.note(62, 64) == []
    assert len(house.ahead._streams) == 0


def test_several_streams_of_one_object_do_not_disturb_each_other(house):
    house.note(0, 2)
    house.note(32, 34)
    house.note(0, 2, "b")
    assert house.note(2, 4) == [4]
    assert house.note(34, 36) == [36]
    assert house.note(2, 4, "b") == [4]


def test_what_is_there_is_not_fetched_again(house):
    writer = house.fetches.cache.page_writer("a", 6, PAGE)
    writer.write(SEGMENT[96:112])
    writer.commit(sync=False)
    house.note(0, 2)
    house.note(2, 4)
    assert house.note(4, 6) == [7]


def test_pages_fetched_in_vain_halve_the_most_and_streams_that_go_on_restore_it(house, monkeypatch):
    assert house.ahead.most == 32
    house.note(0, 2)
    house.note(2, 4)
    monkeypatch.setattr(ahead_module, "_LIFE", -1.0)
    house.note(50, 51, "b")
    assert house.ahead.most == 16
    house.note(50, 51, "c")
    assert house.ahead.most == 16, "a stream that had nothing fetched wasted nothing"
    monkeypatch.setattr(ahead_module, "_LIFE", 30.0)
    house.ahead._most = 1
    for start in range(0, 10, 2):
        house.note(start, start + 2, "d")
    assert house.ahead.most > 1


def test_no_more_streams_are_remembered_than_allowed(house, monkeypatch):
    monkeypatch.setattr(ahead_module, "_STREAMS", 10)
    for number in range(50):
        house.note(0, 1, f"segment-{number}")
    assert len(house.ahead._streams) <= 10


def test_where_there_is_no_room_nothing_is_fetched_ahead(house):
    house.note(0, 2)
    monkey = house.fetches._line
    monkey._memory = 1
    assert house.note(2, 4) == []
    assert house.fetches.settle(30)
