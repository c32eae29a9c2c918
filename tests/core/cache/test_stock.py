"""What a tier's stock knows, and whom it gives up: by what it was told, or met on the shelves."""

import pytest

from forebay.cache.stock import Stock
from forebay.types import PageId
from forebay_eviction import FACTORIES

PAGES = [PageId("filled", 10, index) for index in range(10)]


def always(page):
    return True


@pytest.fixture
def shelves():
    return {}


@pytest.fixture
def stock(shelves):
    return Stock(FACTORIES["lru"], lambda: list(shelves.items()), capacity=100)


@pytest.fixture
def put(stock, shelves):
    def put(page, size):
        shelves[page] = size
        stock.put(page, size)

    return put


def test_it_weighs_what_it_was_told_of(stock):
    stock.put(PAGES[0], 10)
    stock.put(PAGES[1], 7)
    stock.put(PAGES[0], 9)
    assert stock.noted == 16
    assert (stock.size_of(PAGES[0]), stock.size_of(PAGES[2])) == (9, None)
    stock.gone(PAGES[0])
    stock.gone(PAGES[0])
    assert stock.noted == 7
    assert not stock.knows(PAGES[0])


def test_a_use_teaches_a_page_that_nobody_told_of(stock):
    stock.hit(PAGES[0], 10)
    assert stock.get(PAGES[0]).hits == 1
    assert stock.tally.hits == 1
    assert stock.tally.admitted == 0


def test_uses_that_come_together_count_each(stock):
    told = []
    stock.on_hit = lambda page, before, now: told.append((before, now))
    stock.put(PAGES[0], 10)
    stock.hit(PAGES[0], 10, times=5)
    stock.hit(PAGES[0], 10)
    assert stock.get(PAGES[0]).hits == 6 == stock.tally.hits
    assert told == [(0, 5), (5, 6)]


def test_victims_are_claimed_until_they_are_given_up(stock, put):
    for page in PAGES:
        put(page, 10)
    chosen = stock.choose(25, always, required=True)
    assert list(chosen) == PAGES[:3]
    assert stock.claiming
    assert list(stock.choose(10, always, required=True)) == [PAGES[3]]
    stock.done(chosen, list(chosen))
    assert stock.tally.evicted == 3
    assert not stock.knows(PAGES[0])


def test_too_few_victims_are_given_back_or_taken_as_is_wished(stock, put):
    for page in PAGES[:2]:
        put(page, 10)
    assert stock.choose(30, always, required=True) == {}
    assert not stock.claiming
    assert stock.noted == 20
    assert set(stock.choose(30, always, required=True, partly=True)) == set(PAGES[:2])


def test_victims_of_one_mount_leave_the_others_where_they_are(stock, put):
    for number, page in enumerate(PAGES):
        put(page, 10)
        stock.assign(page, "/raw" if number % 2 else "/")
    chosen = stock.choose(20, always, required=True, partly=True, of_mount="/raw")
    assert list(chosen) == [PAGES[1], PAGES[3]]
    stock.done(chosen, list(chosen))
    assert stock.used == {"/": 50, "/raw": 30, None: 0}
    assert stock.mounts["/raw"].evicted == 2
    assert stock.mounts["/"].evicted == 0
    assert list(stock.choose(20, always, required=True)) == [PAGES[0], PAGES[2]]


def test_a_page_that_is_put_anew_while_it_was_claimed_stays_known(stock, put):
    put(PAGES[0], 10)
    chosen = stock.choose(10, always, required=True)
    put(PAGES[0], 10)
    stock.done(chosen, list(chosen))
    assert stock.knows(PAGES[0])


def test_what_is_met_on_the_shelves_goes_before_what_was_used(stock, shelves):
    stock.hit(PAGES[5], 10)
    shelves.update(dict.fromkeys(PAGES[:6], 10))
    stock.list_shelves()
    assert stock.listed
    assert stock.noted == 60
    assert list(stock.choose(60, always, required=True)) == PAGES[:6]


def test_what_is_gone_from_the_shelves_is_forgotten(stock, shelves):
    stock.put(PAGES[0], 10)
    shelves[PAGES[1]] = 10
    stock.list_shelves()
    assert [page for page, _ in stock.residents()] == [PAGES[1]]


def test_a_listing_leaves_hits_and_mounts_as_they_were(stock, shelves):
    stock.put(PAGES[0], 10)
    stock.hit(PAGES[0], 10)
    stock.assign(PAGES[0], "/raw")
    shelves.update(dict.fromkeys(PAGES[:2], 10))
    stock.list_shelves()
    known = stock.get(PAGES[0])
    assert (known.hits, known.mount) == (1, "/raw")
    assert stock.used["/raw"] == 10


def test_the_pages_of_a_segment_are_given_by_index(stock):
    for page in (PAGES[2], PageId("other", 10, 0), PAGES[1]):
        stock.put(page, 10)
    assert [page for page, _ in stock.of_segment("filled")] == [PAGES[1], PAGES[2]]


def test_a_fill_that_finds_nothing_to_evict_looks_again_when_a_copy_came(stock, put):
    assert stock.choose(10, always, required=False) == {}
    put(PAGES[0], 10)
    assert list(stock.choose(10, always, required=False)) == PAGES[:1]


def test_a_fill_that_finds_all_claimed_by_others_looks_again_at_once(stock, put):
    put(PAGES[0], 10)
    claimed = stock.choose(10, always, required=True)
    assert stock.choose(10, always, required=False) == {}
    stock.done(claimed, [])
    stock.hit(PAGES[0], 10)
    assert list(stock.choose(10, always, required=False)) == PAGES[:1]
