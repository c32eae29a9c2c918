import logging
import os
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cache import fill
from forebay.cache.cache import Cache
from forebay.cache.fill import PageBody
from forebay.cache.room import FileRoom, RoomCounter
from forebay.cache.tier import Tier, TierRoom
from forebay.errors import Corrupt, SourceChanged, StorageError, Unavailable
from forebay.types import ByteRange, PageId
from forebay_eviction.lru import LruPolicy
from forebay_local.pages import DiskPageStore
from forebay_memory.pages import MemoryPageStore

PAGE = 16
SEGMENT = bytes(range(256)) * 3
SIZE = len(SEGMENT)


def memory_cache(capacity=1 << 20, store=None, page_size=PAGE):
    tier = Tier(
        "MEM",
        store or MemoryPageStore.from_options({}),
        LruPolicy.from_options,
        capacity=capacity,
        room=RoomCounter(),
        evictable=lambda page: False,
    )
    return Cache([tier], page_size=page_size)


@pytest.fixture
def cache():
    cache = memory_cache()
    yield cache
    cache.close()


class Source:
    """What stands behind: gives `content`, block by block, and remembers what it was asked."""

    def __init__(self, content=SEGMENT, block=10):
        self.content = content
        self.block = block
        self.asked = []
        self.closed = 0

    def __call__(self, wanted):
        self.asked.append((wanted.start, wanted.stop))
        try:
            for at in range(wanted.start, min(wanted.stop, len(self.content)), self.block):
                yield self.content[at : min(at + self.block, wanted.stop)]
        finally:
            self.closed += 1


def body(cache, source, start=0, stop=None, size=SIZE):
    return PageBody(cache, "a", size, ByteRange(start, size if stop is None else stop), source)


def read_all(reader, block=7):
    return b"".join(iter(lambda: reader.read(block), b""))


def fill_pages(cache, *indexes):
    for index in indexes:
        content = SEGMENT[index * PAGE : (index + 1) * PAGE]
        writer = cache.page_writer("a", index, len(content))
        writer.write(content)
        writer.commit(sync=False)


def pages(cache):
    return sorted(page.index for _, page, _ in cache.segments())


def test_a_miss_is_fetched_by_whole_pages_and_kept(cache):
    source = Source()
    with body(cache, source, 20, 40) as reader:
        assert reader.plan() == "MISS"
        assert source.asked == []
        assert read_all(reader) == SEGMENT[20:40]
    assert source.asked == [(16, 48)]
    assert source.closed == 1
    assert pages(cache) == [1, 2]


def test_a_hit_asks_the_source_for_nothing(cache):
    fill_pages(cache, 1, 2)
    source = Source()
    with body(cache, source, 20, 40) as reader:
        assert reader.plan() == reader.cache == "HIT"
        assert read_all(reader) == SEGMENT[20:40]
    assert source.asked == []


def test_neighbours_that_miss_are_joined(cache):
    fill_pages(cache, 2, 5)
    source = Source()
    with body(cache, source, 0, 8 * PAGE) as reader:
        assert reader.plan() == "PARTIAL"
        assert read_all(reader) == SEGMENT[: 8 * PAGE]
    assert source.asked == [(0, 32), (48, 80), (96, 128)]
    assert pages(cache) == list(range(8))


def test_a_fetch_is_no_longer_than_a_run_and_ends_at_its_multiples(cache, monkeypatch):
    monkeypatch.setattr(fill, "RUN", 4 * PAGE)
    source = Source()
    with body(cache, source, 2 * PAGE, 9 * PAGE) as reader:
        assert read_all(reader) == SEGMENT[2 * PAGE : 9 * PAGE]
    assert source.asked == [(32, 64), (64, 128), (128, 144)]


def test_the_last_page_is_as_short_as_the_segment(cache):
    source = Source(SEGMENT[:40])
    with body(cache, source, size=40) as reader:
        assert read_all(reader) == SEGMENT[:40]
    assert source.asked == [(0, 40)]
    assert sorted(size for _, _, size in cache.segments()) == [8, 16, 16]
    with body(cache, source, 33, size=40) as reader:
        assert reader.plan() == "HIT"
        assert read_all(reader) == SEGMENT[33:40]


def test_an_empty_range_has_no_bytes_and_asks_for_none(cache):
    source = Source()
    with body(cache, source, 20, 20) as reader:
        assert reader.plan() == "HIT"
        assert reader.segments() == []
        assert reader.read(10) == b""
    assert source.asked == []


@given(
    there=st.sets(st.integers(0, 47)),
    ends=st.lists(st.integers(0, SIZE), min_size=2, max_size=2).map(sorted),
    block=st.integers(1, 100),
    capacity=st.sampled_from([0, 10, 40, 200, 1 << 20]),
)
def test_any_range_is_given_exactly_whatever_is_there(there, ends, block, capacity):
    cache = memory_cache(max(capacity, 1))
    if capacity == 1 << 20:
        fill_pages(cache, *there)
    source = Source(block=block)
    with body(cache, source, *ends) as reader:
        plan = reader.plan()
        assert read_all(reader, 33) == SEGMENT[ends[0] : ends[1]]
    if plan == "HIT":
        assert source.asked == []
    if plan == "MISS":
        assert source.asked != []
    assert cache.room()[0].used == sum(size for _, _, size in cache.segments())
    cache.close()


def test_a_long_range_is_told_by_its_beginning_and_by_what_is_known(cache, monkeypatch):
    monkeypatch.setattr(fill, "_OPENED", 2)
    fill_pages(cache, 0, 1, 2, 3)
    with body(cache, Source(), 0, 4 * PAGE) as reader:
        assert reader.plan() == "HIT"
    with body(cache, Source(), 0, 5 * PAGE) as reader:
        assert reader.plan() == "PARTIAL"
        assert read_all(reader) == SEGMENT[: 5 * PAGE]


@pytest.mark.parametrize(
    ("content", "said"), [(SEGMENT[:100], "short"), (SEGMENT + b"more", "long")]
)
def test_a_source_of_another_length_cuts_the_reader_and_leaves_no_page(cache, content, said):
    def fetch(wanted):
        yield from (content[at : at + 10] for at in range(wanted.start, len(content), 10))

    got = []
    with body(cache, fetch) as reader, pytest.raises(SourceChanged):
        got.extend(iter(lambda: reader.read(50), b""))
    assert len(b"".join(got)) < SIZE
    assert SEGMENT.startswith(b"".join(got))
    assert pages(cache) == []
    assert cache.room()[0].used == 0


def test_a_source_that_fails_at_its_end_never_gives_the_last_bytes(cache):
    def fetch(wanted):
        yield SEGMENT[:100]
        yield SEGMENT[100:]
        raise SourceChanged("it was overwritten meanwhile")

    with body(cache, fetch) as reader:
        assert reader.read(1000) == SEGMENT[:100]
        with pytest.raises(SourceChanged, match="overwritten"):
            reader.read(1000)
    assert pages(cache) == []


def test_the_first_bytes_leave_before_the_rest_arrived(cache):
    def fetch(wanted):
        yield SEGMENT[:100]
        raise Unavailable("gone")

    with body(cache, fetch) as reader:
        assert reader.read(1000) == SEGMENT[:100]


def test_a_source_that_fails_at_once_passes_on(cache):
    def fetch(wanted):
        raise Unavailable("gone")

    with body(cache, fetch) as reader, pytest.raises(Unavailable):
        reader.read(1)
    assert cache.room()[0].used == 0
    source = Source()
    with body(cache, source) as reader:
        assert read_all(reader) == SEGMENT


def test_a_reader_that_leaves_in_the_middle_leaves_no_page_and_no_room_taken(cache):
    source = Source()
    with body(cache, source) as reader:
        assert reader.read(30) == SEGMENT[:10]
    assert source.closed == 1
    assert pages(cache) == []
    assert cache.room() == [TierRoom("MEM", 1 << 20, 0, 0)]
    with body(cache, source) as reader:
        assert read_all(reader) == SEGMENT


def test_without_room_the_bytes_are_given_all_the_same():
    cache = memory_cache(capacity=20)
    with body(cache, Source()) as reader:
        assert read_all(reader) == SEGMENT
    assert cache.room()[0].used <= 20
    cache.close()


class Leaky:
    """A memory store whose writers fail at `write` or `commit`."""

    durable = shared_between_processes = False

    def __init__(self, at):
        self._store = MemoryPageStore.from_options({})
        self._at = at
        self.open, self.delete = self._store.open, self._store.delete
        self.pages, self.close = self._store.pages, self._store.close

    def writer(self, page, /, size):
        inner = self._store.writer(page, size)
        failing = {self._at: self._fail}
        calls = {"write": inner.write, "commit": inner.commit, "abort": inner.abort}
        return SimpleNamespace(**(calls | failing))

    def _fail(self, *args, **named):
        raise StorageError("broken shelf")


@pytest.mark.parametrize("at", ["write", "commit"])
def test_a_failing_shelf_never_fails_the_reader(at, caplog):
    cache = memory_cache(store=Leaky(at))
    with caplog.at_level(logging.WARNING), body(cache, Source()) as reader:
        assert read_all(reader) == SEGMENT
    assert "broken shelf" in caplog.text
    assert cache.room()[0].used == 0
    cache.close()


def test_a_page_of_the_wrong_size_is_dropped_and_fetched(cache):
    writer = cache.page_writer("a", 0, 5)
    writer.write(b"wrong")
    writer.commit(sync=False)
    with body(cache, Source(), 0, PAGE) as reader:
        assert reader.plan() == "MISS"
        assert read_all(reader) == SEGMENT[:PAGE]
    with body(cache, Source(), 0, PAGE) as reader:
        assert reader.plan() == "HIT"


def test_a_page_that_vanishes_after_the_plan_is_still_read(cache):
    fill_pages(cache, 0)
    source = Source()
    with body(cache, source, 0, PAGE) as reader:
        assert reader.plan() == "HIT"
        cache.drop(PageId("a", PAGE, 0))
        assert read_all(reader) == SEGMENT[:PAGE]
    assert source.asked == []


def test_many_who_miss_the_same_pages_fetch_once(cache):
    gate, source = threading.Event(), Source()

    def fetch(wanted):
        gate.wait(10)
        yield from source(wanted)

    got = []

    def reads():
        with body(cache, fetch, 10, 200) as reader:
            got.append(read_all(reader))

    threads = [threading.Thread(target=reads) for _ in range(6)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(timeout=30)
    assert got == [SEGMENT[10:200]] * 6
    assert len(source.asked) == 1


def test_nobody_waits_for_ever_for_the_fetch_of_somebody_slow(cache, monkeypatch):
    monkeypatch.setattr(fill, "_WAIT", 0.05)
    slow, source = body(cache, Source()), Source()
    assert slow.read(5) == SEGMENT[:5]
    with body(cache, source) as reader:
        assert read_all(reader) == SEGMENT
    assert source.asked == [(0, SIZE)]
    assert read_all(slow) == SEGMENT[5:]
    slow.close()
    assert cache.room()[0].used == SIZE


def test_a_fetch_that_was_left_is_taken_over(cache):
    left = body(cache, Source())
    left.read(5)
    got = []

    def reads():
        with body(cache, Source()) as reader:
            got.append(read_all(reader))

    waits = threading.Thread(target=reads)
    waits.start()
    left.close()
    waits.join(timeout=30)
    assert got == [SEGMENT]


@pytest.fixture
def disk(tmp_path):
    tier = Tier(
        "SSD",
        DiskPageStore.from_options({"path": str(tmp_path)}),
        LruPolicy.from_options,
        capacity=1 << 20,
        room=FileRoom(tmp_path),
        evictable=lambda page: False,
    )
    cache = Cache([tier], page_size=PAGE)
    yield cache
    cache.close()


def test_a_hit_on_disk_is_pieces_of_files(disk):
    with body(disk, Source()) as reader:
        assert reader.segments() is None
        assert read_all(reader) == SEGMENT
    with body(disk, Source(), 20, 70) as reader:
        assert reader.plan() == "HIT"
        pieces = reader.segments()
        assert [piece.length for piece in pieces] == [12, 16, 16, 6]
        joined = b"".join(os.pread(piece.fd, piece.length, piece.offset) for piece in pieces)
        assert joined == SEGMENT[20:70]


def test_pieces_are_not_given_of_what_is_not_all_there_or_not_in_files(disk, cache):
    fill_pages(disk, 0)
    with body(disk, Source(), 0, 2 * PAGE) as reader:
        assert reader.plan() == "PARTIAL"
        assert reader.segments() is None
    fill_pages(cache, 0)
    with body(cache, Source(), 0, PAGE) as reader:
        assert reader.plan() == "HIT"
        assert reader.segments() is None


def test_a_page_whose_bytes_turn_out_short_is_an_error_not_a_shorter_body(cache, monkeypatch):
    fill_pages(cache, 0)
    with body(cache, Source(), 0, PAGE) as reader:
        reader.plan()
        monkeypatch.setattr(reader._held[0], "pread", lambda length, offset: b"")
        with pytest.raises(Corrupt):
            reader.read(1)
