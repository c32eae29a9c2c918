import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from forebay.cache import fetch as fetch_module
from forebay.cache.cache import Cache
from forebay.cache.claims import Claims
from forebay.cache.fetch import Fetches, Source
from forebay.cache.room import FileRoom
from forebay.cache.tier import Tier
from forebay.errors import NoSpace, SourceChanged, Unavailable
from forebay.testing.faults import Around, FullPageStore
from forebay_eviction.lru import LruPolicy
from forebay_local.pages import DiskPageStore

PAGE = 16
SEGMENT = bytes(range(256))


def disk_cache(path, wrap=lambda store: store):
    tier = Tier(
        "SSD",
        wrap(DiskPageStore.from_options({"path": str(path)})),
        LruPolicy.from_options,
        capacity=1 << 20,
        room=FileRoom(path),
        evictable=lambda page: False,
    )
    return Cache([tier], page_size=PAGE)


@contextmanager
def opened(path, memory=1 << 20, wrap=lambda store: store):
    """The fetches of one process, over a place that several may share."""
    path.mkdir(exist_ok=True)
    cache = disk_cache(path, wrap)
    fetches = Fetches(cache, Claims(path / "claims"), parallel=4, memory=memory)
    try:
        yield fetches
    finally:
        fetches.close()
        cache.close()


@pytest.fixture
def fetches(tmp_path):
    with opened(tmp_path / "node") as fetches:
        yield fetches


class Origin:
    """Gives a range of the segment when `go_on`, in blocks of 10; counts what it was asked."""

    def __init__(self, *, wait=False, fail=None):
        self.asked = []
        self.go_on = threading.Event()
        self.entered = threading.Event()
        self.fail = fail
        if not wait:
            self.go_on.set()

    def __call__(self, wanted):
        self.asked.append((wanted.start, wanted.stop))
        self.entered.set()
        for at in range(wanted.start, wanted.stop, 10):
            yield SEGMENT[at : min(at + 10, wanted.stop)]
            assert self.go_on.wait(30)
        if self.fail is not None:
            raise self.fail

    def source(self, name="/", segment="a"):
        return Source(name, segment, len(SEGMENT), self)


def take(fetch, at=None, stop=None):
    """Read a fetch to its end; b"" when it is to be looked for anew."""
    at = fetch.start if at is None else at
    stop, got = fetch.end if stop is None else stop, b""
    while at + len(got) < stop and (block := fetch.read(at + len(got), stop, refuse=True)):
        got += block
    return got


def settle(fetches):
    assert fetches.settle(30)


def test_a_page_under_way_is_joined_whatever_range_is_asked_for(fetches):
    origin = Origin(wait=True)
    first = fetches.join(origin.source(), 2, 6)
    assert (first.start, first.end) == (32, 96)
    assert fetches.join(origin.source(), 4, 5) is first
    before = fetches.join(origin.source(), 0, 8)
    assert (before.first, before.stop) == (0, 2)
    other = fetches.join(origin.source(segment="b"), 4, 5)
    assert other is not first
    assert ("a", 5) in fetches._flying
    assert ("a", 6) not in fetches._flying
    origin.go_on.set()
    assert take(first) == SEGMENT[32:96]
    assert take(first, 64, 80) == SEGMENT[64:80]
    settle(fetches)
    assert ("a", 5) not in fetches._flying
    for fetch in (first, first, before, other):
        fetch.detach()
    assert fetches._line.held == 0


def test_a_hundred_readers_of_one_page_are_one_request_even_when_no_tier_has_room(tmp_path):
    origin, got = Origin(wait=True), []

    def full(store):
        return FullPageStore(store, full=True)

    with opened(tmp_path / "node", wrap=full) as fetches:
        joined = threading.Barrier(101, timeout=60)

        def reads():
            fetch = fetches.join(origin.source(), 0, 1)
            joined.wait()
            got.append(take(fetch))
            fetch.detach()

        threads = [threading.Thread(target=reads) for _ in range(100)]
        for thread in threads:
            thread.start()
        joined.wait()
        origin.go_on.set()
        for thread in threads:
            thread.join(30)
        assert got == [SEGMENT[:16]] * 100
        assert origin.asked == [(0, 16)]
        assert list(fetches.cache.segments()) == []


def test_the_last_bytes_wait_for_the_proof_and_the_others_do_not(fetches):
    origin = Origin(wait=True, fail=SourceChanged("other"))
    fetch = fetches.join(origin.source(), 0, 2)
    assert fetch.read(0, 32, refuse=True) == SEGMENT[:10]
    got = []

    def last():
        try:
            got.append(fetch.read(5, 8, refuse=True))
        except SourceChanged as error:
            got.append(error)

    thread = threading.Thread(target=last)
    thread.start()
    thread.join(0.1)
    assert got == [], "these are the last bytes of a shorter answer"
    origin.go_on.set()
    thread.join(30)
    assert isinstance(got[0], SourceChanged)
    assert list(fetches.cache.segments()) == []


def test_every_reader_gets_the_failure_and_the_next_asks_again(fetches):
    bad = Origin(wait=True, fail=Unavailable("down"))
    one = fetches.join(bad.source(), 0, 1)
    two = fetches.join(bad.source(), 0, 1)
    bad.go_on.set()
    for fetch in (one, two):
        with pytest.raises(Unavailable, match="down"):
            take(fetch)
        fetch.detach()
    good = Origin()
    fetch = fetches.join(good.source(), 0, 1)
    assert take(fetch) == SEGMENT[:16]
    fetch.detach()
    settle(fetches)
    assert fetches._line.held == 0


def test_a_fetch_that_nobody_read_is_broken_off_and_one_that_somebody_did_is_not(fetches):
    origin = Origin(wait=True)
    left = fetches.join(origin.source(), 0, 2)
    assert origin.entered.wait(30)
    left.detach()
    assert ("a", 0) not in fetches._flying
    read = fetches.join(origin.source(), 2, 4)
    assert read.read(32, 64, refuse=True) == SEGMENT[32:42]
    read.detach()
    alone = fetches.try_join(origin.source(), 4, 6, attach=False)
    assert alone is not None
    origin.go_on.set()
    settle(fetches)
    held = sorted(page.index for _, page, _ in fetches.cache.segments())
    assert held == [2, 3, 4, 5]
    assert fetches._line.held == 0


def test_ahead_is_refused_where_memory_is_short_but_what_flies_is_joined(tmp_path):
    origin = Origin(wait=True)
    with opened(tmp_path / "node", memory=64) as fetches:
        first = fetches.join(origin.source(), 0, 2)
        assert fetches.try_join(origin.source(), 4, 6, attach=True) is None
        assert ("a", 4) not in fetches._flying
        assert fetches.try_join(origin.source(), 1, 2, attach=True) is first
        origin.go_on.set()


def test_a_page_that_another_process_brought_is_not_asked_for(tmp_path):
    origin = Origin()
    with opened(tmp_path / "node") as one, opened(tmp_path / "node") as two:
        fetch = one.join(origin.source(), 0, 2)
        assert take(fetch) == SEGMENT[:32]
        settle(one)
        again = two.join(origin.source(), 0, 2)
        assert take(again) == b"", "look at the pages"
        again.detach()
        sure = two.join(origin.source(), 0, 2, sure=True)
        assert take(sure) == SEGMENT[:32]
    assert origin.asked == [(0, 32)] * 2


def test_a_page_that_another_process_fetches_is_waited_for(tmp_path):
    slow, never = Origin(wait=True), Origin()
    with opened(tmp_path / "node") as one, opened(tmp_path / "node") as two:
        one.join(slow.source(), 0, 4)
        assert slow.entered.wait(30)
        waits = two.join(never.source(), 2, 3)
        elsewhere = two.join(never.source(), 4, 5)
        assert take(elsewhere) == SEGMENT[64:80]
        slow.go_on.set()
        assert take(waits) == b""
        assert two.cache.holds_page("a", 2)
    assert never.asked == [(64, 80)]


def test_pages_that_another_process_waits_for_go_to_their_shelf_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "_TURN", 30.0)
    monkeypatch.setattr(fetch_module, "PAGE_WAIT", 30.0)
    monkeypatch.setattr(fetch_module, "CLAIM_WAIT", 30.0)
    slow, never = Origin(wait=True), Origin()
    with opened(tmp_path / "node") as one, opened(tmp_path / "node") as two:
        fetch = one.join(slow.source(), 0, 4)
        assert slow.entered.wait(30)
        waits = two.join(never.source(), 2, 3)
        slow.go_on.set()
        assert take(waits) == b"", "though somebody is still fed"
        assert not never.asked
        fetch.detach()


def test_a_page_by_itself_is_not_waited_for_as_long_as_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "PAGE_WAIT", 0.02)
    monkeypatch.setattr(fetch_module, "CLAIM_WAIT", 30.0)
    slow, origin = Origin(wait=True), Origin()
    with opened(tmp_path / "node") as one, opened(tmp_path / "node") as two:
        one.join(slow.source(), 0, 4)
        assert slow.entered.wait(30)
        run = two.join(origin.source(), 0, 2)
        assert take(two.join(origin.source(), 2, 3)) == SEGMENT[32:48]
        slow.go_on.set()
        assert take(run) == b""
    assert origin.asked == [(32, 48)]


def test_who_is_attached_has_a_moment_to_read_what_came(fetches, monkeypatch):
    monkeypatch.setattr(fetch_module, "_GRACE", 30.0)
    fetch = fetches.join(Origin().source(), 0, 1)
    assert take(fetch) == SEGMENT[:16]
    settle(fetches)
    assert not fetch.shed()
    monkeypatch.setattr(fetch_module, "_GRACE", 0.0)
    assert fetch.shed()
    fetch.detach()


def test_nobody_waits_for_ever_for_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "CLAIM_WAIT", 0.05)
    slow, origin = Origin(wait=True), Origin()
    with opened(tmp_path / "node") as one, opened(tmp_path / "node") as two:
        one.join(slow.source(), 0, 1)
        assert slow.entered.wait(30)
        assert take(two.join(origin.source(), 0, 1)) == SEGMENT[:16]
        slow.go_on.set()
        settle(one)
        settle(two)
        assert [size for _, _, size in one.cache.segments()] == [16]
        assert one.cache.room()[0].used == 16


def test_a_fetch_that_keeps_nothing_lets_the_others_ask(tmp_path):
    slow, origin = Origin(wait=True), Origin()

    def full(store):
        return FullPageStore(store, full=True)

    with opened(tmp_path / "node", wrap=full) as one, opened(tmp_path / "node") as two:
        assert one.join(slow.source(), 0, 1).read(0, 16, refuse=True)
        assert take(two.join(origin.source(), 0, 1)) == SEGMENT[:16]
        slow.go_on.set()


DYING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_fetch import Origin, opened
with opened(Path(sys.argv[1])) as fetches:
    origin = Origin(wait=True)
    fetch = fetches.join(origin.source(), 0, 4)
    fetch.read(0, 64, refuse=True)
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_the_death_of_a_process_in_the_middle_of_a_fetch_frees_its_pages(tmp_path):
    here = str(Path(__file__).parent)
    dying = subprocess.Popen(
        [sys.executable, "-c", DYING.format(here=here), str(tmp_path / "node")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert dying.stdout.readline() == b"holds\n"
    origin, got = Origin(), []
    with opened(tmp_path / "node") as fetches:
        fetch = fetches.join(origin.source(), 0, 4)
        thread = threading.Thread(target=lambda: got.append(take(fetch)))
        thread.start()
        thread.join(0.05)
        assert got == []
        dying.kill()
        dying.communicate(timeout=30)
        thread.join(30)
        assert got == [SEGMENT[:64]]
        settle(fetches)
        assert sorted(page.index for _, page, _ in fetches.cache.segments()) == [0, 1, 2, 3]


def test_a_source_from_which_nothing_comes_is_given_up(fetches, monkeypatch):
    monkeypatch.setattr(fetch_module, "STALL", 0.05)
    origin = Origin(wait=True)
    fetch = fetches.join(origin.source("/far"), 0, 2)
    assert fetch.read(0, 32, refuse=True)
    with pytest.raises(Unavailable, match="/far: no byte came"):
        fetch.read(10, 32, refuse=True)
    origin.go_on.set()


def test_closing_frees_who_waits_and_leaves_the_closed_stores_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "_CLOSE_WAIT", 0.05)
    origin, failed = Origin(wait=True), []
    with opened(tmp_path / "node") as fetches:
        hung = fetches.join(origin.source(), 0, 2)
        assert hung.read(0, 32, refuse=True)

        def reads():
            try:
                hung.read(10, 32, refuse=True)
            except Unavailable as error:
                failed.append(str(error))

        thread = threading.Thread(target=reads)
        thread.start()
    thread.join(30)
    assert failed == ["the gateway is being closed"]
    with pytest.raises(Unavailable):
        fetches.join(origin.source(), 0, 2)
    room = (tmp_path / "node" / "room").read_bytes()
    origin.go_on.set()
    settle(fetches)
    assert (tmp_path / "node" / "room").read_bytes() == room
    with opened(tmp_path / "node") as fetches:
        assert list(fetches.cache.segments()) == []
        fetches.cache.prime()
        assert fetches.cache.room()[0].used == 0


def test_an_empty_block_is_nothing(fetches):
    def bring(wanted):
        yield b""
        yield SEGMENT[wanted.start : wanted.stop]
        yield b""

    fetch = fetches.join(Source("/", "a", len(SEGMENT), bring), 0, 2)
    assert take(fetch) == SEGMENT[:32]


def test_a_page_that_finds_no_room_is_left_out(tmp_path):
    class Crowded(FullPageStore):
        def writer(self, page, /, size):
            if page.index == 1:
                raise NoSpace("full")
            return self.inner.writer(page, size)

    with opened(tmp_path / "node", wrap=Crowded) as fetches:
        fetch = fetches.join(Origin().source(), 0, 3)
        assert take(fetch) == SEGMENT[:48]
        settle(fetches)
        found = {page.index for _, page, _ in fetches.cache.segments()}
        assert 0 in found
        assert 1 not in found


def test_pages_have_landed_when_they_are_on_their_shelf(tmp_path):
    shelf = threading.Event()

    class SlowWriter(Around):
        def commit(self, **options):
            assert shelf.wait(20)
            self.inner.commit(**options)

    class Slow(Around):
        def writer(self, page, size, /):
            return SlowWriter(self.inner.writer(page, size))

    with opened(tmp_path / "node", wrap=Slow) as fetches:
        fetch = fetches.join(Source("m", "s" * 32, 64, Origin()), 0, 4)
        fetch.prove()
        assert not fetches.landed("s" * 32, 0.05)
        assert fetches.landed("other", 0.0)
        shelf.set()
        assert fetches.landed("s" * 32, 20)
        assert fetches.cache.holds_page("s" * 32, 3)
        fetch.detach()
