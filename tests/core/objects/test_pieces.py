"""Pieces of objects: found with little looking, however large the object is."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forebay.cache.fill import fetch_stop
from forebay.objects.pieces import Shelves, fetches, page_pieces
from forebay.types import WriteType

MIB = 1 << 20


def by_walking(there, page, size):
    """Count what a reader that goes from page to page would ask for."""
    pages, at, requests, asked = -(-size // page), 0, 0, 0
    while at < pages:
        if at in there:
            at += 1
            continue
        stop = fetch_stop(at, pages, page, lambda index: index in there)
        requests, asked = requests + 1, asked + min(stop * page, size) - at * page
        at = stop
    return requests, asked


@given(
    there=st.sets(st.integers(0, 39), max_size=40),
    page=st.sampled_from([MIB, 3 * MIB, 16 * MIB]),
    last=st.integers(1, MIB),
    pages=st.integers(1, 40),
)
@example(there=set(), page=MIB, last=1, pages=17)
@example(there=set(range(40)), page=MIB, last=1, pages=40)
def test_the_cost_is_that_of_walking(there, page, last, pages):
    there = {index for index in there if index < pages}
    size = (pages - 1) * page + last
    assert fetches(there, page, size) == by_walking(there, page, size)


def test_the_cost_of_a_huge_object_takes_no_walk():
    requests, size = fetches({0, 9_999_999}, MIB, 10_000_000 * MIB)
    assert (requests, size) == (1_250_000, 9_999_998 * MIB)


@pytest.fixture
def opened(open_forebay):
    opened = open_forebay()
    opened.forebay.buckets.create("bucket", "tester")
    return opened


@pytest.fixture
def cache(opened):
    return opened.forebay.cache


def put(cache, segment, *indexes):
    for index in indexes:
        writer = cache.page_writer(segment, index, 3)
        writer.write(b"abc")
        writer.commit(sync=False)


def test_what_is_there_is_found_by_either_way(cache):
    put(cache, "a", 1, 2, 5)
    put(cache, "b", 0)
    put(cache, "other", 7)
    shelves = Shelves(cache, {"a", "b"})
    tier = cache.room()[0].name
    probed = shelves.pages("a", 0, 3)
    assert list(probed) == [1, 2]
    listed = shelves.pages("a", 0, 1 << 40)
    assert listed == {index: [(tier, 3)] for index in (1, 2, 5)}
    assert {index: list(on) for index, on in probed.items()} == {1: listed[1], 2: listed[2]}
    assert list(shelves.pages("a", 2, 5)) == [2]
    assert list(shelves.pages("b", 0, 9)) == [0]


def test_no_more_is_looked_for_than_can_be_there(cache, monkeypatch):
    put(cache, "a", *range(4))
    find, looks = cache.find, []
    monkeypatch.setattr(cache, "find", lambda page: looks.append(page) or find(page))
    assert list(Shelves(cache, {"a"}).pages("a", 0, 1 << 40)) == [0, 1, 2, 3]
    assert not looks


def test_hits_are_counted_of_the_pages_that_are_asked_for(cache):
    put(cache, "a", 0, 1, 700)
    for index in (0, 1, 1, 700):
        cache.open_page("a", index).close()
    size = 800 * cache.page_size
    there = Shelves(cache, {"a"}).pages("a", 1, 701)
    told = list(page_pieces(cache, "a", size, there, 1, 701))
    assert len(told) == 700
    assert {one.index: one.hits for one in told if one.tiers} == {1: 2, 700: 1}


def test_a_run_behind_the_first_looks_at_its_own_pages_alone(opened, monkeypatch):
    opened.put("key", bytes(3 << 20), WriteType.THROUGH)
    opened.get("key")
    huge = msgspec.structs.replace(opened.head("key"), size=1 << 60)
    ask = opened.forebay.explain
    place = ask._known("bucket", "key")
    monkeypatch.setattr(ask, "_known", lambda bucket, key: (*place[:2], huge))
    first = ask.explain("s3://bucket/key", limit=10)
    assert first.cost.requests
    assert first.stat.size == huge.size
    assert len(first.pieces) == 10
    second = ask.explain("s3://bucket/key", after=first.next_after, limit=10)
    assert (second.stat, second.cost) == (None, None)
    assert [one.index for one in second.pieces] == list(range(10, 20))
    last = ask.explain("s3://bucket/key", after=f"page {(1 << 40) - 3}", limit=10)
    assert [one.index for one in last.pieces] == [(1 << 40) - 2, (1 << 40) - 1]
    assert last.next_after == ""
