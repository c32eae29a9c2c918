import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from forebay.cache import residency
from forebay.cache.residency import Residency
from forebay.cache.room import Counts, FileRoom, RoomCounter
from forebay.cache.tier import Tier
from forebay.errors import NoSpace, StorageError
from forebay.types import PageId
from forebay_eviction.lru import LruPolicy
from forebay_local.pages import DiskPageStore
from forebay_memory.pages import MemoryPageStore

lru = LruPolicy.from_options


class Pins:
    """What the layer above would know: which segments may not go."""

    def __init__(self, *segments):
        self.pinned = set(segments)
        self.asked = []

    def __call__(self, page):
        self.asked.append(page.segment)
        return page.segment not in self.pinned


def memory_tier(capacity, *pinned, store=None, name="MEM"):
    store = store or MemoryPageStore.from_options({})
    return Tier(name, store, lru, capacity=capacity, room=RoomCounter(), evictable=Pins(*pinned))


def disk_tier(path, capacity, *pinned):
    store = DiskPageStore.from_options({"path": str(path)})
    room = FileRoom(path)
    return Tier("SSD", store, lru, capacity=capacity, room=room, evictable=Pins(*pinned))


@pytest.fixture
def tiers():
    made = []
    yield made
    for tier in made:
        tier.close()


@pytest.fixture(params=["memory", "disk"])
def make(request, tmp_path, tiers):
    def make(capacity, *pinned):
        if request.param == "memory":
            tiers.append(memory_tier(capacity, *pinned))
        else:
            tiers.append(disk_tier(tmp_path / "tier", capacity, *pinned))
        return tiers[-1]

    return make


def put(tier, page, content, *, known=True, required=True):
    page = PageId(page) if isinstance(page, str) else page
    writer = tier.writer(page, len(content) if known else None, required=required)
    try:
        writer.write(content)
        writer.commit(sync=False)
    finally:
        writer.abort()


def on_shelves(tier):
    return {page.segment for page, _ in tier.store.pages()}


def check_counts(tier):
    sizes = [size for _, size in tier.store.pages()]
    assert tier._room.counts() == Counts(sum(sizes), 0, len(sizes))


def test_a_page_is_found_after_its_commit_and_not_before(make):
    tier = make(100)
    writer = tier.writer(PageId("a"), 5, required=True)
    writer.write(b"hello")
    assert tier.open(PageId("a")) is None
    writer.commit(sync=True)
    with_page = tier.open(PageId("a"))
    assert with_page.pread(10, 0) == b"hello"
    with_page.close()
    check_counts(tier)


def test_room_is_reserved_before_the_first_byte(make):
    tier = make(100)
    writer = tier.writer(PageId("a"), 60, required=True)
    assert tier.room().used == 60
    with pytest.raises(NoSpace):
        tier.writer(PageId("b"), 41, required=True)
    writer.abort()


def test_commit_corrects_the_reservation_to_the_real_size(make):
    tier = make(100)
    writer = tier.writer(PageId("a"), None, required=True)
    for _ in range(5):
        writer.write(b"x" * 7)
    assert tier.room().used > 35
    writer.commit(sync=False)
    assert (tier.room().used, tier.room().pages) == (35, 1)


def test_abort_gives_the_room_back(make):
    tier = make(100)
    writer = tier.writer(PageId("a"), 60, required=True)
    writer.write(b"x" * 10)
    writer.abort()
    writer.abort()
    assert (tier.room().used, tier.room().pages) == (0, 0)
    assert on_shelves(tier) == set()


def test_a_write_of_unknown_size_takes_room_as_it_grows(make):
    tier = make(100)
    writer = tier.writer(PageId("a"), None, required=True)
    for _ in range(10):
        writer.write(b"0123456789")
        assert 0 < tier.room().used <= 100
    with pytest.raises(NoSpace):
        writer.write(b"!")
    writer.abort()
    assert tier.room().used == 0


def test_a_write_that_grows_evicts(make):
    tier = make(100)
    put(tier, "old", b"x" * 50)
    put(tier, "new", b"y" * 80, known=False)
    assert on_shelves(tier) == {"new"}
    check_counts(tier)


def test_least_recently_used_goes_first(make):
    tier = make(30)
    for segment in "abc":
        put(tier, segment, b"x" * 10)
    tier.open(PageId("a")).close()
    put(tier, "d", b"x" * 10)
    assert on_shelves(tier) == {"a", "c", "d"}
    put(tier, "e", b"x" * 10)
    assert on_shelves(tier) == {"a", "d", "e"}


def test_no_more_is_evicted_than_needed(make):
    tier = make(100)
    for number in range(10):
        put(tier, f"s{number}", b"x" * 10)
    put(tier, "new", b"y" * 25)
    assert on_shelves(tier) == {"new", *(f"s{number}" for number in range(3, 10))}
    check_counts(tier)


def test_nothing_is_evicted_for_what_can_never_fit(make):
    tier = make(100)
    put(tier, "a", b"x" * 10)
    with pytest.raises(NoSpace):
        tier.writer(PageId("b"), 101, required=True)
    assert on_shelves(tier) == {"a"}
    assert tier.room().used == 10


def test_nothing_is_evicted_when_it_would_not_suffice(make):
    tier = make(100, "pinned")
    put(tier, "pinned", b"x" * 50)
    put(tier, "free", b"x" * 10)
    with pytest.raises(NoSpace):
        tier.writer(PageId("b"), 60, required=True)
    assert on_shelves(tier) == {"pinned", "free"}
    check_counts(tier)


def test_a_segment_that_may_not_go_stays_and_the_next_goes(make):
    tier = make(30, "a", "b")
    for segment in "abc":
        put(tier, segment, b"x" * 10)
    put(tier, "d", b"x" * 10)
    put(tier, "e", b"x" * 10)
    assert on_shelves(tier) == {"a", "b", "e"}
    check_counts(tier)


def test_no_space_when_everything_is_pinned_until_something_is_not(make):
    tier = make(30, "a", "b", "c")
    for segment in "abc":
        put(tier, segment, b"x" * 10)
    with pytest.raises(NoSpace):
        put(tier, "d", b"x" * 10)
    tier._may_go.pinned.remove("b")
    put(tier, "d", b"x" * 10)
    assert on_shelves(tier) == {"a", "c", "d"}


def test_pinned_segments_are_not_asked_for_at_every_eviction(make):
    pinned = [f"p{number}" for number in range(50)]
    tier = make(1000, *pinned)
    for segment in pinned:
        put(tier, segment, b"x" * 10)
    for number in range(80):
        put(tier, f"s{number}", b"x" * 10)
    assert tier._may_go.asked.count("p0") <= 2
    check_counts(tier)


def test_pages_of_fills_always_may_go(make):
    tier = make(10, "a")
    put(tier, PageId("a", 8, 0), b"x" * 8)
    put(tier, "b", b"x" * 10)
    assert on_shelves(tier) == {"b"}


def test_a_fill_gives_up_at_once_for_a_while_after_there_was_nothing_to_evict(make):
    tier = make(10, "a")
    put(tier, "a", b"x" * 10)
    for _ in range(3):
        with pytest.raises(NoSpace):
            tier.writer(PageId("f", 8, 0), 8, required=False)
    assert tier._may_go.asked == ["a"]


def test_a_page_that_was_filled_meanwhile_is_left_and_counted_once(make):
    tier = make(100)
    page = PageId("a", 8, 0)
    one = tier.writer(page, 8, required=False)
    two = tier.writer(page, 8, required=False)
    for writer in (one, two):
        writer.write(b"12345678")
        writer.commit(sync=False)
    check_counts(tier)
    assert tier.room().used == 8


def test_a_segment_written_again_is_counted_once(make):
    tier = make(100)
    put(tier, "a", b"x" * 30)
    put(tier, "a", b"y" * 40)
    assert tier.room().used == 40
    check_counts(tier)


def test_delete_gives_the_room_back_once(make):
    tier = make(100)
    put(tier, "a", b"x" * 30)
    assert tier.delete(PageId("a")) is True
    assert tier.delete(PageId("a")) is False
    assert (tier.room().used, tier.room().pages) == (0, 0)


def test_delete_of_a_page_of_known_size_does_not_open_it(tmp_path, tiers):
    one, two = disk_tier(tmp_path, 100), disk_tier(tmp_path, 100)
    tiers += [one, two]
    put(one, "a", b"x" * 30)
    two.store.open = None
    assert two.delete(PageId("a"), 30) is True
    check_counts(two)


def test_readers_keep_what_was_evicted(make):
    tier = make(10)
    put(tier, "a", b"0123456789")
    reader = tier.open(PageId("a"))
    put(tier, "b", b"x" * 10)
    assert on_shelves(tier) == {"b"}
    assert reader.pread(10, 0) == b"0123456789"
    reader.close()


def test_an_empty_segment_is_a_page_without_bytes(make):
    tier = make(10)
    put(tier, "a", b"")
    reader = tier.open(PageId("a"))
    assert reader.size == 0
    reader.close()
    check_counts(tier)


def test_two_users_of_one_disk_share_room_and_evict_each_others_pages(tmp_path, tiers):
    one, two = disk_tier(tmp_path, 100), disk_tier(tmp_path, 100)
    tiers += [one, two]
    for number in range(10):
        put(one, f"s{number}", b"x" * 10)
    assert two.room().used == 100
    put(two, "new", b"y" * 20)
    assert len(on_shelves(one)) == 9
    check_counts(one)
    check_counts(two)
    # The first still believes in pages that are gone: they must not be counted twice.
    for number in range(5):
        put(one, f"t{number}", b"x" * 10)
    check_counts(one)
    assert one.room().used <= 100


def test_a_deletion_by_another_user_is_not_given_back_twice(tmp_path, tiers):
    one, two = disk_tier(tmp_path, 100), disk_tier(tmp_path, 100)
    tiers += [one, two]
    put(one, "a", b"x" * 10)
    assert two.delete(PageId("a")) is True
    assert one.delete(PageId("a")) is False
    assert one.room().used == 0
    assert one.open(PageId("a")) is None
    assert not one.knows(PageId("a"))


def test_a_warm_start_counts_and_knows_what_is_there(tmp_path, tiers):
    first = disk_tier(tmp_path, 30)
    for segment in "abc":
        put(first, segment, b"x" * 10)
        time.sleep(0.01)
    first.close()
    tiers.append(disk_tier(tmp_path, 30))
    assert (tiers[0].room().used, tiers[0].room().pages) == (30, 3)
    tiers[0].prime()
    assert tiers[0].knows(PageId("a"))
    put(tiers[0], "d", b"x" * 10)
    assert on_shelves(tiers[0]) == {"b", "c", "d"}


def test_what_was_found_by_listing_goes_before_what_was_used(tmp_path, tiers):
    first = disk_tier(tmp_path, 30)
    for segment in "abc":
        put(first, segment, b"x" * 10)
    first.close()
    tiers.append(disk_tier(tmp_path, 30))
    tiers[0].open(PageId("a")).close()
    put(tiers[0], "d", b"x" * 20)
    assert on_shelves(tiers[0]) == {"a", "d"}


def test_notes_of_pages_that_others_deleted_do_not_pile_up(tmp_path, tiers):
    reads, writes = disk_tier(tmp_path, 100), disk_tier(tmp_path, 100)
    tiers += [reads, writes]
    for number in range(100):
        put(writes, f"s{number}", b"x" * 10)
        reads.open(PageId(f"s{number}")).close()
    assert len(reads.stock.residents()) <= 20


class Failing:
    """A memory store that fails where it is told to."""

    def __init__(self, *at):
        self._store = MemoryPageStore.from_options({})
        self._at = at
        self.durable = False
        self.shared_between_processes = False
        self.open, self.delete = self._store.open, self._store.delete
        self.pages, self.close = self._store.pages, self._store.close

    def _check(self, where):
        if where in self._at:
            raise StorageError(f"failed at {where}")

    def writer(self, page, /, size):
        self._check("writer")
        inner = self._store.writer(page, size)

        def write(block):
            self._check("write")
            inner.write(block)

        def commit(*, sync):
            self._check("before commit")
            inner.commit(sync=sync)
            self._check("after commit")

        return SimpleNamespace(write=write, commit=commit, abort=inner.abort)


@pytest.mark.parametrize("where", ["writer", "write", "before commit", "after commit"])
def test_a_failing_store_keeps_neither_page_nor_room(where, tiers):
    tiers.append(memory_tier(100, store=Failing(where)))
    with pytest.raises(StorageError, match=where):
        put(tiers[0], "a", b"x" * 10)
    assert tiers[0].open(PageId("a")) is None
    check_counts(tiers[0])


def test_a_failing_answer_about_what_may_go_leaves_everything(tiers):
    tier = memory_tier(20)
    tiers.append(tier)
    put(tier, "a", b"x" * 10)
    put(tier, "b", b"x" * 10)

    def fails(page):
        raise StorageError("no answer")

    may_go, tier._may_go = tier._may_go, fails
    with pytest.raises(StorageError, match="no answer"):
        put(tier, "c", b"x" * 10)
    tier._may_go = may_go
    check_counts(tier)
    assert on_shelves(tier) == {"a", "b"}
    put(tier, "c", b"x" * 10)
    assert "c" in on_shelves(tier)


def hammer(tier, seed, until):
    choose = random.Random(seed)
    number = 0
    while time.monotonic() < until:
        number += 1
        size = choose.randrange(1, 400)
        page = PageId(f"{seed}-{number}")
        if choose.random() < 0.5:
            # A page of a fill has the same size whoever fills it.
            page, size = PageId("shared", 400, number % 20), 20 + number % 20 * 17
        try:
            writer = tier.writer(page, choose.choice([size, None]), required=choose.random() < 0.5)
        except NoSpace:
            continue
        try:
            writer.write(b"x" * size)
            if choose.random() < 0.8:
                writer.commit(sync=False)
        except NoSpace:
            pass
        finally:
            writer.abort()
        if choose.random() < 0.2:
            tier.delete(PageId(f"{seed}-{choose.randrange(1, number + 1)}"))
        if reader := tier.open(page):
            reader.close()


def sample(tier, until):
    """Look until then; return the most that was ever counted."""
    most = 0
    while time.monotonic() < until:
        most = max(most, tier.room().used)
        time.sleep(0.001)
    return most


def test_capacity_holds_under_eight_threads(make):
    tier = make(2000, "pinned")
    put(tier, "pinned", b"x" * 300)
    until = time.monotonic() + 1.0
    threads = [threading.Thread(target=hammer, args=(tier, n, until)) for n in range(8)]
    for thread in threads:
        thread.start()
    counted = sample(tier, until)
    for thread in threads:
        thread.join(timeout=30)
    assert 1000 < counted <= 2000
    assert "pinned" in on_shelves(tier)
    check_counts(tier)


def test_eight_threads_that_each_need_much_do_not_fail_for_each_other(make):
    tier = make(1000)
    failures = []

    def needs_much(seed):
        for number in range(10):
            try:
                put(tier, f"{seed}-{number}", b"x" * 120)
            except NoSpace as error:
                failures.append(error)

    threads = [threading.Thread(target=needs_much, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert failures == []
    check_counts(tier)


HAMMER = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("hammers", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from pathlib import Path
tier = module.disk_tier(Path(sys.argv[2]), 2000, "pinned")
print("ready", flush=True)
sys.stdin.readline()
module.hammer(tier, int(sys.argv[3]), time.monotonic() + 1.0)
tier.close()
"""

HOLD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("hammers", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from pathlib import Path
tier = module.disk_tier(Path(sys.argv[2]), 2000)
module.put(tier, "kept", b"x" * 100)
writer = tier.writer(module.PageId("lost"), 500, required=True)
writer.write(b"x" * 300)
print("ready", flush=True)
sys.stdin.readline()
"""


def child(script, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", script, __file__, *map(str, arguments)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_capacity_holds_between_processes(tmp_path, tiers):
    tier = disk_tier(tmp_path, 2000, "pinned")
    tiers.append(tier)
    put(tier, "pinned", b"x" * 300)
    children = [child(HAMMER, tmp_path, seed) for seed in (1, 2)]
    for each in children:
        assert each.stdout.readline() == "ready\n"
    for each in children:
        each.stdin.write("go\n")
        each.stdin.flush()
    counted = sample(tier, time.monotonic() + 0.9)
    for each in children:
        each.communicate(timeout=30)
        assert each.returncode == 0
    assert 1000 < counted <= 2000
    assert "pinned" in on_shelves(tier)
    check_counts(tier)


def test_what_a_killed_process_reserved_is_counted_anew(tmp_path, tiers):
    holder = child(HOLD, tmp_path)
    assert holder.stdout.readline() == "ready\n"
    beside = disk_tier(tmp_path, 2000)
    assert beside.room().used == 600
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=30)
    assert beside.room().used == 600
    beside.close()
    tiers.append(disk_tier(tmp_path, 2000))
    assert tiers[0].doubtful
    tiers[0].prime()
    assert not tiers[0].doubtful
    assert tiers[0].room().used == 100
    check_counts(tiers[0])


DIE = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("hammers", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from pathlib import Path
from forebay.testing.faults import CRASH, CrashPoint
tier = module.disk_tier(Path(sys.argv[2]), 2000)
tier.store = CrashPoint(tier.store, "pages")
os.environ[CRASH] = sys.argv[3]
writer = tier.writer(module.PageId("new", 500, 0), 500, required=True)
writer.write(b"x" * 500)
writer.commit(sync=False)
tier.delete(module.PageId("old"))
writer = tier.writer(module.PageId("larger"), 1400, required=True)
"""


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("writer.before.1", ["old", "older"]),
        ("writer.after.1", ["old", "older"]),
        ("write.after.1", ["old", "older"]),
        ("commit.before.1", ["old", "older"]),
        ("commit.after.1", ["old", "older", "new"]),
        ("delete.before.1", ["old", "older", "new"]),
        ("delete.after.1", ["older", "new"]),
        ("delete.before.2", ["older", "new"]),
        ("delete.after.2", ["new"]),
    ],
)
def test_wherever_a_process_dies_its_room_is_counted_beside_others_and_then_right(
    tmp_path, tiers, monkeypatch, point, left
):
    tier = disk_tier(tmp_path, 5000)
    tiers.append(tier)
    put(tier, "older", b"x" * 300)
    put(tier, "old", b"x" * 300)
    died = child(DIE, tmp_path, f"pages.{point}")
    died.communicate(timeout=30)
    assert died.returncode == -signal.SIGKILL
    assert on_shelves(tier) == set(left)
    listing = tier.store.pages

    def beside():
        # A page that comes before the shelves are listed, and one that goes after that.
        put(tier, "comes", b"x" * 200)
        put(tier, "went", b"x" * 200)
        listed = list(listing())
        tier.delete(PageId("went"), 200)
        return listed

    monkeypatch.setattr(tier.store, "pages", beside)
    assert tier.doubtful
    tier.prime()
    monkeypatch.undo()
    assert tier.room().used >= sum(size for _, size in tier.store.pages())
    monkeypatch.setattr(residency, "_PRIME", 0.0)
    Residency([tier]).tend()
    check_counts(tier)
    assert not tier.doubtful


class CountedTier(RuleBasedStateMachine):
    """After whatever happens, what is counted is what lies there and what is reserved."""

    pages = Bundle("pages")
    writers = Bundle("writers")

    def __init__(self):
        super().__init__()
        self.tier = memory_tier(100, "s0", "s1")
        self.open = {}

    @rule(target=pages, number=st.integers(0, 9), index=st.none() | st.integers(0, 1))
    def name(self, number, index):
        return PageId(f"s{number}") if index is None else PageId(f"s{number}", 16, index)

    @rule(target=writers, page=pages, size=st.none() | st.integers(0, 110), required=st.booleans())
    def begin(self, page, size, required):
        number = len(self.open)
        try:
            self.open[number] = self.tier.writer(page, size, required=required)
        except NoSpace:
            self.open[number] = None
        return number

    @rule(number=writers, size=st.integers(0, 60))
    def write(self, number, size):
        writer = self.open[number]
        if writer and writer._open:
            try:
                writer.write(b"x" * size)
            except NoSpace:
                writer.abort()

    @rule(number=writers)
    def commit(self, number):
        writer = self.open[number]
        if writer and writer._open:
            # A store may refuse a page that has another size than was announced.
            with suppress(StorageError):
                writer.commit(sync=False)

    @rule(number=writers)
    def abort(self, number):
        if self.open[number]:
            self.open[number].abort()

    @rule(page=pages)
    def delete(self, page):
        self.tier.delete(page)

    @rule(page=pages)
    def look(self, page):
        if reader := self.tier.open(page):
            reader.close()

    @rule()
    def prime(self):
        self.tier.prime()

    @invariant()
    def counts_are_right(self):
        sizes = [size for _, size in self.tier.store.pages()]
        held = sum(w._held for w in self.open.values() if w and w._open)
        assert self.tier._room.counts() == Counts(sum(sizes) + held, held, len(sizes))
        assert sum(sizes) + held <= 100

    def teardown(self):
        for writer in self.open.values():
            if writer:
                writer.abort()
        self.tier.close()


CountedTier.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCountedTier = CountedTier.TestCase
