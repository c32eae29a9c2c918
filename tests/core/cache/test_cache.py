import logging

import pytest

from forebay.cache.cache import Cache
from forebay.cache.room import FileRoom, RoomCounter
from forebay.cache.tier import Tier, TierRoom
from forebay.errors import Corrupt, NoSpace, StorageError
from forebay.types import PageId
from forebay_eviction.lru import LruPolicy
from forebay_local.pages import DiskPageStore
from forebay_memory.pages import MemoryPageStore

PAGE = 16


class Told(list):
    """An `on_corrupt` that remembers."""

    def __call__(self, tier, page, evictable):
        self.append((tier, page, evictable))


class Wild:
    """A memory store whose failures and corruptions a test sets."""

    shared_between_processes = False

    def __init__(self, durable=False):
        self._store = MemoryPageStore.from_options({})
        self.durable = durable
        self.broken = ""
        self.corrupt = set()
        self.delete, self.pages = self._store.delete, self._store.pages
        self.close = self._store.close

    def writer(self, page, /, size):
        if self.broken == "writer":
            raise StorageError("this store is broken")
        inner = self._store.writer(page, size)
        if self.broken:
            return Broken(inner)
        return inner

    def open(self, page, /):
        if page in self.corrupt:
            raise Corrupt("not what was put")
        if self.broken == "open":
            raise StorageError("this store is broken")
        return self._store.open(page)


class Broken:
    """A writer that fails after `good` blocks."""

    good = 0

    def __init__(self, inner):
        self._inner = inner
        self._left = self.good

    def write(self, block, /):
        if not self._left:
            raise StorageError("broken while writing")
        self._left -= 1
        self._inner.write(block)

    def commit(self, *, sync):
        self._inner.commit(sync=sync)

    def abort(self):
        self._inner.abort()


class House:
    """A cache of two tiers, MEM over SSD, whose stores and pins are within reach."""

    def __init__(self, capacities=(100, 200)):
        self.mem, self.ssd = Wild(), Wild(durable=True)
        self.pinned = set()
        self.told = Told()
        self.tiers = [
            Tier(
                name,
                store,
                LruPolicy.from_options,
                capacity=capacity,
                room=RoomCounter(),
                evictable=lambda page: page.segment not in self.pinned,
            )
            for name, store, capacity in zip(
                ("MEM", "SSD"), (self.mem, self.ssd), capacities, strict=True
            )
        ]
        self.cache = Cache(self.tiers, page_size=PAGE, on_corrupt=self.told)


@pytest.fixture
def house():
    house = House()
    yield house
    house.cache.close()


def put(cache, segment, content, *, durable=False):
    writer = cache.writer(segment, len(content), durable=durable)
    writer.write(content)
    writer.commit(sync=False)
    return writer


def put_page(cache, segment, index, content):
    writer = cache.page_writer(segment, index, len(content))
    writer.write(content)
    writer.commit(sync=False)
    return writer


def get(reader):
    content = reader.pread(reader.size + 1, 0)
    reader.close()
    return content


def test_a_segment_goes_to_the_first_tier(house):
    writer = put(house.cache, "a", b"hello")
    assert (writer.tier, writer.durable) == ("MEM", False)
    assert get(house.cache.open("a")) == b"hello"


def test_a_durable_segment_goes_to_the_first_durable_tier(house):
    writer = put(house.cache, "a", b"hello", durable=True)
    assert (writer.tier, writer.durable) == ("SSD", True)
    assert get(house.cache.open("a")) == b"hello"


def test_without_a_durable_tier_the_writer_says_so(house):
    cache = Cache(house.tiers[:1], page_size=PAGE)
    assert put(cache, "a", b"hello", durable=True).durable is False


def test_a_cache_without_tiers_has_no_space_and_finds_nothing():
    cache = Cache([], page_size=PAGE)
    with pytest.raises(NoSpace):
        cache.writer("a", 1, durable=False)
    assert cache.page_writer("a", 0, 1) is None
    assert cache.open("a") is None
    cache.close()


def test_what_is_too_large_for_one_tier_goes_to_the_next(house):
    assert put(house.cache, "a", b"x" * 150).tier == "SSD"


def test_no_space_when_no_tier_can_take_it(house):
    with pytest.raises(NoSpace):
        house.cache.writer("a", 201, durable=False)


def test_a_durable_segment_never_falls_to_a_tier_that_is_not(house):
    house.pinned = {"a"}
    put(house.cache, "a", b"x" * 180, durable=True)
    with pytest.raises(NoSpace):
        house.cache.writer("b", 50, durable=True)
    assert house.cache.room()[0].used == 0


@pytest.mark.parametrize("at", ["writer", "first block"])
def test_a_failing_tier_leaves_the_write_to_the_next(house, at):
    house.mem.broken = at
    writer = put(house.cache, "a", b"hello")
    assert (writer.tier, writer.durable) == ("SSD", True)
    assert get(house.cache.open("a")) == b"hello"
    assert [room.used for room in house.cache.room()] == [0, 5]


@pytest.mark.parametrize("at", ["writer", "first block"])
def test_a_durable_write_fails_with_the_only_durable_tier(house, at):
    house.ssd.broken = at
    with pytest.raises(StorageError, match="broken"):
        put(house.cache, "a", b"hello", durable=True)
    assert [room.used for room in house.cache.room()] == [0, 0]


def test_a_failure_in_the_middle_passes_on(house, monkeypatch):
    monkeypatch.setattr(Broken, "good", 1)
    house.mem.broken = "second block"
    writer = house.cache.writer("a", 10, durable=False)
    writer.write(b"hello")
    with pytest.raises(StorageError, match="broken"):
        writer.write(b"world")
    writer.abort()
    assert [room.used for room in house.cache.room()] == [0, 0]
    assert house.cache.open("a") is None


def test_pages_are_found_by_index(house):
    put_page(house.cache, "a", 3, b"x" * PAGE)
    assert get(house.cache.open_page("a", 3)) == b"x" * PAGE
    assert house.cache.open_page("a", 2) is None
    assert house.cache.open("a") is None


def test_holds_page_asks_the_shelf_for_what_it_does_not_know(house):
    writer = house.ssd.writer(PageId("a", PAGE, 0), 3)
    writer.write(b"abc")
    writer.commit(sync=False)
    assert house.cache.holds_page("a", 0)
    assert not house.cache.holds_page("a", 1)


def test_page_writer_is_none_when_there_is_no_room(house):
    house.pinned = {"a", "b"}
    put(house.cache, "a", b"x" * 100)
    put(house.cache, "b", b"x" * 200)
    assert house.cache.page_writer("c", 0, PAGE) is None


def test_page_writer_is_none_for_a_page_that_is_there(house):
    put_page(house.cache, "a", 0, b"x" * PAGE)
    assert house.cache.page_writer("a", 0, PAGE) is None
    assert house.cache.page_writer("a", 1, PAGE) is not None


def test_page_writer_is_none_when_every_tier_fails(house, caplog):
    house.mem.broken = house.ssd.broken = "writer"
    with caplog.at_level(logging.WARNING):
        assert house.cache.page_writer("c", 0, PAGE) is None
    assert "broken" in caplog.text


def test_a_page_of_a_fill_evicts(house):
    put(house.cache, "a", b"x" * 100)
    assert put_page(house.cache, "b", 0, b"y" * PAGE).tier == "MEM"
    assert [page.segment for _, page, _ in house.cache.segments()] == ["b", "a"], "a went down"


def test_delete_removes_whole_and_pages_from_every_tier(house):
    put(house.cache, "a", b"x" * 40)
    put(house.cache, "a", b"x" * 40, durable=True)
    for index in range(3):
        put_page(house.cache, "a", index, b"y" * (PAGE if index < 2 else 8))
    put(house.cache, "b", b"z" * 5)
    house.cache.delete("a", 40)
    assert [(tier, page.segment, size) for tier, page, size in house.cache.segments()] == [
        ("MEM", "b", 5)
    ]
    assert house.cache.room() == [TierRoom("MEM", 100, 5, 1), TierRoom("SSD", 200, 0, 0)]


def test_drop_removes_one_page_and_says_whether_it_was_there(house):
    put_page(house.cache, "a", 0, b"x" * PAGE)
    put_page(house.cache, "a", 1, b"x" * PAGE)
    assert house.cache.drop(PageId("a", PAGE, 0)) is True
    assert house.cache.drop(PageId("a", PAGE, 0)) is False
    assert house.cache.holds_page("a", 1)


def test_segments_gives_everything_on_the_shelves(house):
    put(house.cache, "a", b"x" * 10, durable=True)
    put_page(house.cache, "b", 2, b"y" * PAGE)
    assert list(house.cache.segments()) == [
        ("MEM", PageId("b", PAGE, 2), PAGE),
        ("SSD", PageId("a"), 10),
    ]


def test_prime_makes_a_policy_meet_what_was_there_before(house):
    writer = house.ssd.writer(PageId("a"), 3)
    writer.write(b"abc")
    writer.commit(sync=False)
    house.cache.prime()
    assert house.tiers[1].knows(PageId("a"))


def test_a_corrupt_page_that_may_go_is_a_miss_and_dropped(house):
    put(house.cache, "a", b"hello")
    house.mem.corrupt = {PageId("a")}
    assert house.cache.open("a") is None
    assert house.told == [("MEM", PageId("a"), True)]
    house.mem.corrupt = set()
    assert house.cache.open("a") is None
    assert house.cache.room()[0] == TierRoom("MEM", 100, 0, 0)


def test_a_corrupt_page_with_a_good_copy_below_is_read_from_there(house):
    house.pinned = {"a"}
    put(house.cache, "a", b"hello")
    put(house.cache, "a", b"hello", durable=True)
    house.mem.corrupt = {PageId("a")}
    assert get(house.cache.open("a")) == b"hello"


def test_a_corrupt_only_copy_is_raised_and_kept(house):
    house.pinned = {"a"}
    put(house.cache, "a", b"hello", durable=True)
    house.ssd.corrupt = {PageId("a")}
    with pytest.raises(Corrupt):
        house.cache.open("a")
    assert house.told == [("SSD", PageId("a"), False)]
    house.ssd.corrupt = set()
    assert get(house.cache.open("a")) == b"hello"


def test_a_tier_that_cannot_be_read_is_a_miss_for_what_may_go(house, caplog):
    put(house.cache, "a", b"hello")
    put(house.cache, "a", b"hello", durable=True)
    house.mem.broken = "open"
    with caplog.at_level(logging.WARNING):
        assert get(house.cache.open("a")) == b"hello"
    assert "MEM" in caplog.text


def test_a_tier_that_cannot_be_read_is_an_error_for_what_may_not_go(house):
    house.pinned = {"a"}
    house.mem.broken = "open"
    with pytest.raises(StorageError, match="broken"):
        house.cache.open("a")
    assert house.told == []


def flip(tmp_path, content):
    """Change one byte of the file under `tmp_path` that holds `content`."""
    (path,) = [
        path for path in tmp_path.rglob("*") if path.is_file() and content in path.read_bytes()
    ]
    raw = bytearray(path.read_bytes())
    raw[raw.index(content) + 1] ^= 0x20
    path.write_bytes(raw)


@pytest.mark.parametrize("pinned", [False, True])
def test_a_flipped_byte_on_disk_is_never_served(tmp_path, pinned):
    def cache():
        store = DiskPageStore.from_options({"path": str(tmp_path)})
        tier = Tier(
            "SSD",
            store,
            LruPolicy.from_options,
            capacity=1 << 20,
            room=FileRoom(tmp_path),
            evictable=lambda page: not pinned,
        )
        told = Told()
        return Cache([tier], page_size=PAGE, on_corrupt=told), told

    first, _ = cache()
    put(first, "a", b"what was put")
    first.close()
    flip(tmp_path, b"what was put")
    second, told = cache()
    if pinned:
        with pytest.raises(Corrupt):
            second.open("a")
        assert second.room()[0].pages == 1
    else:
        assert second.open("a") is None
        assert second.room()[0] == TierRoom("SSD", 1 << 20, 0, 0)
    assert told == [("SSD", PageId("a"), not pinned)]
    second.close()


def test_corruption_is_logged_where_nobody_asked_for_it(house, caplog):
    cache = Cache(house.tiers, page_size=PAGE)
    put(cache, "a", b"hello")
    house.mem.corrupt = {PageId("a")}
    assert cache.open("a") is None
    assert "corrupt" in caplog.text
