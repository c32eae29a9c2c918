"""Each policy in a tier, which takes victims one by one and gives back what may not go."""

import pytest

from forebay.cache.room import RoomCounter
from forebay.cache.tier import Tier
from forebay.errors import NoSpace
from forebay.types import PageId
from forebay_eviction import FACTORIES
from forebay_memory.pages import MemoryPageStore

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
