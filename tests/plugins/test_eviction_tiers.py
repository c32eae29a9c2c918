"""Each policy in a tier, which takes victims one by one and gives back what may not go."""

import importlib.util
from pathlib import Path

import pytest

from forebay.cache.cache import Cache
from forebay.cache.residency import Residency
from forebay.cache.room import RoomCounter
from forebay.cache.tier import Tier
from forebay.errors import NoSpace
from forebay.types import PageId
from forebay_eviction import FACTORIES
from forebay_memory.pages import MemoryPageStore

_spec = importlib.util.spec_from_file_location(
    "traces", Path(__file__).with_name("test_eviction_oracles.py")
)
traces = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(traces)

CAPACITY = 8
EVICTING = [kind for kind in FACTORIES if kind != "none"]


class Shelf:
    """A tier of eight pages of one byte; whole segments may not go."""

    def __init__(self, kind):
        self.tier = Tier(
            "MEM",
            MemoryPageStore.from_options({}),
            FACTORIES[kind],
            capacity=CAPACITY,
            room=RoomCounter(),
            evictable=lambda page: False,
        )

    def put(self, page):
        writer = self.tier.writer(page, 1, required=False)
        writer.write(b"x")
        writer.commit(sync=False)

    def read(self, page):
        reader = self.tier.open(page)
        if reader is not None:
            reader.close()
        return reader is not None


@pytest.fixture
def make_shelf():
    made = []

    def make_shelf(kind):
        made.append(Shelf(kind))
        return made[-1]

    yield make_shelf
    for shelf in made:
        shelf.tier.close()


def page(index):
    return PageId("filled", 1, index)


@pytest.mark.parametrize("kind", EVICTING)
def test_a_full_tier_goes_on(kind, make_shelf):
    shelf = make_shelf(kind)
    for index in range(40):
        shelf.put(page(index))
        assert shelf.read(page(index))
        assert shelf.tier.room().used == min(index + 1, CAPACITY)


@pytest.mark.parametrize("kind", EVICTING)
def test_what_may_not_go_does_not_block(kind, make_shelf):
    shelf = make_shelf(kind)
    pinned = [PageId(f"written{each}") for each in range(CAPACITY - 2)]
    for each in pinned:
        shelf.put(each)
    for index in range(40):
        shelf.put(page(index))
        assert shelf.read(page(index))
    assert all(map(shelf.read, pinned))


def test_without_a_policy_a_full_tier_keeps_what_it_has(make_shelf):
    shelf = make_shelf("none")
    for index in range(CAPACITY):
        shelf.put(page(index))
    with pytest.raises(NoSpace):
        shelf.put(page(CAPACITY))
    assert [shelf.read(page(index)) for index in range(CAPACITY + 1)] == [True] * CAPACITY + [False]


# --- two tiers -----------------------------------------------------------------------

# Misses in a thousand, and pages written to the lower tier in a thousand requests, by simulation:
# memory of 1,000 pages over an SSD of 10,000, s3fifo on both, promotion at the second hit below.
TWO_TIERS = {"zipf1.0": (217.3, 39), "mix": (551.2, 11), "ohw60": (719.1, 6)}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", TWO_TIERS)
def test_two_tiers_miss_and_write_as_simulated(name):
    tiers = [
        Tier(
            tier,
            MemoryPageStore.from_options({}),
            FACTORIES["s3fifo"],
            capacity=capacity,
            room=RoomCounter(),
            evictable=lambda page: True,
            watermarks=(1.0, 1.0),
        )
        for tier, capacity in (("MEM", 1_000), ("SSD", 10_000))
    ]
    residency = Residency(tiers)
    cache = Cache(tiers, page_size=1, residency=residency)
    pages = misses = 0
    filled = None
    for number in traces.requests(name):
        pages += 1
        reader = cache.open_page("s", number)
        if reader is None:
            misses += 1
            writer = cache.page_writer("s", number, 1)
            writer.write(b"x")
            writer.commit(sync=False)
        elif residency._up:
            residency.tend()
        if filled is None and tiers[1].stock.noted >= 9_000:
            filled = tiers[1].stock.tally.demoted
    cache.close()
    wanted, written = TWO_TIERS[name]
    ratio = (tiers[1].stock.tally.demoted - filled) * 1000 / pages
    print(f"{name}: {misses * 1000 / pages:.1f} misses (simulated {wanted}), {ratio:.1f} written")
    assert abs(misses * 1000 / pages - wanted) <= 10
    assert ratio <= 1.5 * written + 5
