import itertools
import logging
import os
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cache import fetch as fetch_module
from forebay.cache import fill
from forebay.cache.cache import Cache
from forebay.cache.claims import Claims
from forebay.cache.fetch import Fetches, Source
from forebay.cache.fill import PageBody
from forebay.cache.room import FileRoom, RoomCounter
from forebay.cache.tier import Tier
from forebay.errors import Corrupt, SourceChanged, StorageError, Unavailable
from forebay.lanes import Lanes
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


@contextmanager
def opened(cache, *, parallel=1, memory=1 << 20):
    fetches = Fetches(cache, Claims(None), parallel=parallel, memory=memory)
    try:
        yield fetches
    finally:
        fetches.close()
        cache.close()


@pytest.fixture
def fetches():
    with opened(memory_cache()) as fetches:
        yield fetches


class Origin:
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


def body(fetches, origin, start=0, stop=None, size=SIZE):
    wanted = ByteRange(start, size if stop is None else stop)
    return PageBody(fetches, Source("/", "a", size, origin), wanted)


def settle(fetches):
    assert fetches.settle(30)


def read_all(reader, block=7):
    return b"".join(iter(lambda: reader.read(block), b""))


def fill_pages(fetches, *indexes):
    for index in indexes:
        content = SEGMENT[index * PAGE : (index + 1) * PAGE]
        writer = fetches.cache.page_writer("a", index, len(content))
        writer.write(content)
        writer.commit(sync=False)


def pages(fetches):
    settle(fetches)
    return sorted(page.index for _, page, _ in fetches.cache.segments())


def used(fetches):
    settle(fetches)
    return fetches.cache.room()[0].used


def test_a_miss_is_fetched_by_whole_pages_and_kept(fetches):
    origin = Origin()
    with body(fetches, origin, 20, 40) as reader:
        assert reader.plan() == "MISS"
        assert origin.asked == []
        assert read_all(reader) == SEGMENT[20:40]
    assert origin.asked == [(16, 48)]
    assert pages(fetches) == [1, 2]
    assert origin.closed == 1


def test_a_hit_asks_the_source_for_nothing(fetches):
    fill_pages(fetches, 1, 2)
    origin = Origin()
    with body(fetches, origin, 20, 40) as reader:
        assert reader.plan() == reader.cache == "HIT"
        assert read_all(reader) == SEGMENT[20:40]
    assert origin.asked == []


def test_neighbours_that_miss_are_joined(fetches, monkeypatch):
    monkeypatch.setattr(fill, "_OVER", 0)
    fill_pages(fetches, 2, 5)
    origin = Origin()
    with body(fetches, origin, 0, 8 * PAGE) as reader:
        assert reader.plan() == "PARTIAL"
        assert read_all(reader) == SEGMENT[: 8 * PAGE]
    assert origin.asked == [(0, 32), (48, 80), (96, 128)]
    assert pages(fetches) == list(range(8))


def test_a_fetch_goes_on_over_a_few_pages_that_are_there(fetches, monkeypatch):
    monkeypatch.setattr(fill, "_OVER", 2 * PAGE)
    fill_pages(fetches, 1, 2, 5, 6, 7, 10, 11)
    origin, written = Origin(), []
    page_writer = fetches.cache.page_writer

    def noted(segment, index, size):
        written.append((index, page_writer(segment, index, size)))
        return written[-1][1]

    monkeypatch.setattr(fetches.cache, "page_writer", noted)
    with body(fetches, origin, 0, 12 * PAGE) as reader:
        assert reader.plan() == "PARTIAL"
        assert read_all(reader) == SEGMENT[: 12 * PAGE]
        # Over two pages, not over three, and not over those at the end.
        assert origin.asked == [(0, 5 * PAGE), (8 * PAGE, 10 * PAGE)]
        assert reader._held == {}
    assert pages(fetches) == list(range(12))
    assert [index for index, writer in written if writer is None] == [1, 2]


def test_a_page_that_was_there_when_the_reader_looked_ahead_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(fill, "RUN", 4 * PAGE)
    origin = Origin()
    with opened(memory_cache(), parallel=4) as fetches:
        fill_pages(fetches, 2, 3, 4, 5, 6, 7, 10, 11)
        with body(fetches, origin, 0, 12 * PAGE) as reader:
            assert reader.read(1) == SEGMENT[:1]
            for index in (2, 3, 4, 5, 6, 7, 10, 11):
                fetches.cache.drop(PageId("a", PAGE, index), PAGE)
            assert read_all(reader) == SEGMENT[1 : 12 * PAGE]
    assert origin.asked == [(0, 2 * PAGE), (8 * PAGE, 10 * PAGE)]


def test_no_more_pages_are_kept_open_than_may_be(fetches, monkeypatch):
    monkeypatch.setattr(fill, "_OVER", 0)
    monkeypatch.setattr(fill, "_OPENED", 2)
    monkeypatch.setattr(fill, "_FEW", 1)
    fetches.parallel = 4
    fill_pages(fetches, *range(1, 8))
    with body(fetches, Origin()) as reader:
        assert reader.read(1) == SEGMENT[:1]
        assert len(reader._held) == 2
        assert read_all(reader) == SEGMENT[1:]


def test_a_fetch_is_no_longer_than_a_run_and_ends_at_its_multiples(fetches, monkeypatch):
    monkeypatch.setattr(fill, "RUN", 4 * PAGE)
    origin = Origin()
    with body(fetches, origin, 2 * PAGE, 9 * PAGE) as reader:
        assert read_all(reader) == SEGMENT[2 * PAGE : 9 * PAGE]
    assert origin.asked == [(32, 64), (64, 128), (128, 144)]


def test_the_last_page_is_as_short_as_the_segment(fetches):
    origin = Origin(SEGMENT[:40])
    with body(fetches, origin, size=40) as reader:
        assert read_all(reader) == SEGMENT[:40]
    assert origin.asked == [(0, 40)]
    settle(fetches)
    assert sorted(size for _, _, size in fetches.cache.segments()) == [8, 16, 16]
    with body(fetches, origin, 33, size=40) as reader:
        assert reader.plan() == "HIT"
        assert read_all(reader) == SEGMENT[33:40]


def test_an_empty_range_has_no_bytes_and_asks_for_none(fetches):
    origin = Origin()
    with body(fetches, origin, 20, 20) as reader:
        assert reader.plan() == "HIT"
        assert reader.segments() == []
        assert reader.read(10) == b""
    assert origin.asked == []


@given(
    there=st.sets(st.integers(0, 47)),
    ends=st.lists(st.integers(0, SIZE), min_size=2, max_size=2).map(sorted),
    block=st.integers(1, 100),
    capacity=st.sampled_from([0, 10, 40, 200, 1 << 20]),
    parallel=st.sampled_from([1, 3]),
    memory=st.sampled_from([1, 100, 1 << 20]),
)
def test_any_range_is_given_exactly_whatever_is_there(
    there, ends, block, capacity, parallel, memory
):
    with opened(memory_cache(max(capacity, 1)), parallel=parallel, memory=memory) as fetches:
        if capacity == 1 << 20:
            fill_pages(fetches, *there)
        origin = Origin(block=block)
        with body(fetches, origin, *ends) as reader:
            plan = reader.plan()
            assert read_all(reader, 33) == SEGMENT[ends[0] : ends[1]]
        if plan == "HIT":
            assert origin.asked == []
        if plan == "MISS":
            assert origin.asked != []
        settle(fetches)
        assert used(fetches) == sum(size for _, _, size in fetches.cache.segments())
        assert fetches._line.held == 0


def test_a_long_range_is_told_by_its_beginning_and_by_what_is_known(fetches, monkeypatch):
    monkeypatch.setattr(fill, "_OPENED", 2)
    fill_pages(fetches, 0, 1, 2, 3)
    with body(fetches, Origin(), 0, 4 * PAGE) as reader:
        assert reader.plan() == "HIT"
    with body(fetches, Origin(), 0, 5 * PAGE) as reader:
        assert reader.plan() == "PARTIAL"
        assert read_all(reader) == SEGMENT[: 5 * PAGE]


@pytest.mark.parametrize(
    ("content", "said"), [(SEGMENT[:100], "short"), (SEGMENT + b"more", "long")]
)
def test_a_source_of_another_length_cuts_the_reader_and_leaves_no_page(fetches, content, said):
    def fetch(wanted):
        yield from (content[at : at + 10] for at in range(wanted.start, len(content), 10))

    got = []
    with body(fetches, fetch) as reader, pytest.raises(SourceChanged):
        got.extend(iter(lambda: reader.read(50), b""))
    assert len(b"".join(got)) < SIZE
    assert SEGMENT.startswith(b"".join(got))
    assert pages(fetches) == []
    assert used(fetches) == 0


def test_a_source_that_fails_at_its_end_never_gives_the_last_bytes(fetches):
    read = threading.Event()

    def bring(wanted):
        yield SEGMENT[:100]
        yield SEGMENT[100:]
        assert read.wait(30)
        raise SourceChanged("it was overwritten meanwhile")

    with body(fetches, bring) as reader:
        assert reader.read(1000) == SEGMENT[:100]
        read.set()
        with pytest.raises(SourceChanged, match="overwritten"):
            reader.read(1000)
    assert pages(fetches) == []


def test_the_first_bytes_leave_before_the_rest_arrived(fetches):
    read = threading.Event()

    def bring(wanted):
        yield SEGMENT[:100]
        assert read.wait(30)
        raise Unavailable("gone")

    with body(fetches, bring) as reader:
        assert reader.read(1000) == SEGMENT[:100]
        read.set()


def test_a_source_that_fails_at_once_passes_on(fetches):
    def fetch(wanted):
        raise Unavailable("gone")

    with body(fetches, fetch) as reader, pytest.raises(Unavailable):
        reader.read(1)
    assert used(fetches) == 0
    origin = Origin()
    with body(fetches, origin) as reader:
        assert read_all(reader) == SEGMENT


def test_a_fetch_whose_reader_left_in_the_middle_is_finished_for_the_next(fetches):
    origin = Origin()
    with body(fetches, origin) as reader:
        assert reader.read(30) == SEGMENT[:10]
    assert pages(fetches) == list(range(48))
    assert fetches._line.held == 0
    with body(fetches, origin) as reader:
        assert reader.plan() == "HIT"
        assert read_all(reader) == SEGMENT
    assert (len(origin.asked), origin.closed) == (1, 1)


def test_without_room_the_bytes_are_given_all_the_same():
    with opened(memory_cache(capacity=20)) as fetches:
        with body(fetches, Origin()) as reader:
            assert read_all(reader) == SEGMENT
        assert used(fetches) <= 20


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
    with opened(memory_cache(store=Leaky(at))) as fetches:
        with caplog.at_level(logging.WARNING), body(fetches, Origin()) as reader:
            assert read_all(reader) == SEGMENT
        settle(fetches)
        assert "broken shelf" in caplog.text
        assert used(fetches) == 0


def test_a_page_of_the_wrong_size_is_dropped_and_fetched(fetches):
    writer = fetches.cache.page_writer("a", 0, 5)
    writer.write(b"wrong")
    writer.commit(sync=False)
    with body(fetches, Origin(), 0, PAGE) as reader:
        assert reader.plan() == "MISS"
        assert read_all(reader) == SEGMENT[:PAGE]
    with body(fetches, Origin(), 0, PAGE) as reader:
        assert reader.plan() == "HIT"


def test_a_page_that_vanishes_after_the_plan_is_still_read(fetches):
    fill_pages(fetches, 0)
    origin = Origin()
    with body(fetches, origin, 0, PAGE) as reader:
        assert reader.plan() == "HIT"
        fetches.cache.drop(PageId("a", PAGE, 0))
        assert read_all(reader) == SEGMENT[:PAGE]
    assert origin.asked == []


def test_many_who_miss_the_same_pages_fetch_once(fetches):
    gate, origin = threading.Event(), Origin()

    def bring(wanted):
        gate.wait(10)
        yield from origin(wanted)

    got = []

    def reads():
        with body(fetches, bring, 10, 200) as reader:
            got.append(read_all(reader))

    threads = [threading.Thread(target=reads) for _ in range(6)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(timeout=30)
    assert got == [SEGMENT[10:200]] * 6
    assert len(origin.asked) == 1


def test_what_is_proved_is_a_hit_before_it_is_on_a_shelf(fetches, monkeypatch):
    shelve, origin = threading.Event(), Origin()
    page_writer = fetches.cache.page_writer

    def late(segment, index, size):
        assert index == 0 or shelve.wait(30)
        return page_writer(segment, index, size)

    monkeypatch.setattr(fill, "_REST", 0.01)
    monkeypatch.setattr(fetches.cache, "page_writer", late)
    for expected in ("MISS", "HIT", "HIT"):
        with body(fetches, origin, 5, 3 * PAGE) as reader:
            assert reader.plan() == expected
            assert reader.segments() is None
            assert read_all(reader) == SEGMENT[5 : 3 * PAGE]
    assert len(origin.asked) == 1
    shelve.set()
    assert pages(fetches) == [0, 1, 2]


def test_the_pages_of_a_short_body_are_there_when_it_is_closed(fetches):
    for _ in range(20):
        with body(fetches, Origin(block=PAGE)) as reader:
            assert read_all(reader) == SEGMENT
        assert len(list(fetches.cache.segments())) == 48
        fetches.cache.delete("a", SIZE)


def test_who_waits_for_a_shelf_stands_aside_for_other_requests(fetches, monkeypatch):
    shelve = threading.Event()
    page_writer = fetches.cache.page_writer

    def late(segment, index, size):
        assert index == 0 or shelve.wait(30)
        return page_writer(segment, index, size)

    monkeypatch.setattr(fill, "_REST", 30.0)
    monkeypatch.setattr(fetches.cache, "page_writer", late)
    aside = threading.Event()
    lanes = Lanes(4, lambda more: read.is_set() and aside.set())
    read = threading.Event()

    def request():
        lanes.enter()
        with body(fetches, Origin(), 0, 3 * PAGE) as reader:
            assert read_all(reader) == SEGMENT[: 3 * PAGE]
            read.set()

    thread = threading.Thread(target=request)
    thread.start()
    assert aside.wait(30), "its thread counts as one that waits"
    shelve.set()
    thread.join(30)
    assert not lanes.waiting()


def test_a_slow_reader_holds_nobody_up(fetches):
    origin = Origin()
    slow = body(fetches, origin)
    assert slow.read(5) == SEGMENT[:5]
    with body(fetches, origin) as reader:
        assert read_all(reader) == SEGMENT
    settle(fetches)
    assert read_all(slow) == SEGMENT[5:]
    slow.close()
    assert len(origin.asked) == 1
    assert used(fetches) == SIZE


def test_a_reader_of_many_runs_has_several_of_them_fetched_at_once(monkeypatch):
    monkeypatch.setattr(fill, "RUN", 2 * PAGE)
    together, origin = threading.Barrier(4, timeout=30), Origin()

    def bring(wanted):
        if wanted.start < 8 * PAGE:
            together.wait()  # breaks unless four are under way
        yield from origin(wanted)

    with opened(memory_cache(), parallel=4) as fetches:
        with body(fetches, bring, 0, 16 * PAGE) as reader:
            assert read_all(reader) == SEGMENT[: 16 * PAGE]
        assert sorted(origin.asked) == [(n * 32, n * 32 + 32) for n in range(8)]
        assert pages(fetches) == list(range(16))


def test_the_runs_ahead_are_never_more_than_allowed(monkeypatch):
    monkeypatch.setattr(fill, "RUN", PAGE)
    origin = Origin(block=PAGE)
    with opened(memory_cache(), parallel=3) as fetches:
        with body(fetches, origin) as reader:
            assert reader.read(1) == SEGMENT[:1]
            settle(fetches)
            assert len(origin.asked) == 3
            assert fetches._line.held == 3 * PAGE
        settle(fetches)
        assert fetches._line.held == 0


def test_a_reader_whose_fetch_had_to_give_way_goes_on_with_the_pages(fetches, monkeypatch):
    monkeypatch.setattr(fetch_module, "_GRACE", 0.0)
    origin = Origin()
    with body(fetches, origin) as reader:
        assert reader.read(5) == SEGMENT[:5]
        settle(fetches)
        assert [job.shed() for job in fetches._line._held] == [True]
        assert read_all(reader) == SEGMENT[5:]
    assert len(origin.asked) == 1


def test_a_reader_whose_pages_are_gone_too_asks_again_for_little_and_then_for_more(monkeypatch):
    monkeypatch.setattr(fetch_module, "_GRACE", 0.0)
    origin = Origin()
    with opened(memory_cache(capacity=1)) as fetches, body(fetches, origin) as reader:
        assert reader.read(20) == SEGMENT[:10]
        settle(fetches)
        assert [job.shed() for job in fetches._line._held] == [True]
        assert read_all(reader) == SEGMENT[10:]
        ends = [0, 1, 3, 7, 15, 31, 48]
        asked = [(first * PAGE, stop * PAGE) for first, stop in itertools.pairwise(ends)]
        assert origin.asked == [(0, SIZE), *asked]


def test_a_page_that_comes_and_goes_is_asked_of_the_source(fetches, monkeypatch):
    monkeypatch.setattr(fetches.cache, "holds_page", lambda segment, index: index == 0)
    origin = Origin()
    with body(fetches, origin, 0, PAGE) as reader:
        assert read_all(reader) == SEGMENT[:PAGE]
    assert origin.asked == [(0, PAGE)]


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
    with opened(Cache([tier], page_size=PAGE)) as fetches:
        yield fetches


def test_a_hit_on_disk_is_pieces_of_files(disk):
    with body(disk, Origin()) as reader:
        assert reader.segments() is None
        assert read_all(reader) == SEGMENT
    settle(disk)
    with body(disk, Origin(), 20, 70) as reader:
        assert reader.plan() == "HIT"
        pieces = reader.segments()
        assert [piece.length for piece in pieces] == [12, 16, 16, 6]
        joined = b"".join(os.pread(piece.fd, piece.length, piece.offset) for piece in pieces)
        assert joined == SEGMENT[20:70]


def test_pieces_are_not_given_of_what_is_not_all_there_or_not_in_files(disk, fetches):
    fill_pages(disk, 0)
    with body(disk, Origin(), 0, 2 * PAGE) as reader:
        assert reader.plan() == "PARTIAL"
        assert reader.segments() is None
    fill_pages(fetches, 0)
    with body(fetches, Origin(), 0, PAGE) as reader:
        assert reader.plan() == "HIT"
        assert reader.segments() is None


def test_a_page_whose_bytes_turn_out_short_is_an_error_not_a_shorter_body(fetches, monkeypatch):
    fill_pages(fetches, 0)
    with body(fetches, Origin(), 0, PAGE) as reader:
        reader.plan()
        monkeypatch.setattr(reader._held[0], "pread", lambda length, offset: b"")
        with pytest.raises(Corrupt):
            reader.read(1)
