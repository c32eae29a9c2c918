"""Reading ahead in ranges: how much is under way, and what comes of an answer that does not fit."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from forebay.errors import NotFound, NotSupported, PreconditionFailed, SourceChanged, Unavailable
from forebay.streams import BLOCK
from forebay_obstore import reader as ranges
from forebay_obstore.carrier import Fetched, told
from forebay_obstore.reader import ALONE, FIRST, RANGE, WINDOW, Budget, ObstoreReader, RangesReader

INFO = told("key", 1 << 40, datetime.now(UTC), "etag", strong=True)


class Source:
    """Answers with zeros once `gate` is open, and notes what it was asked for."""

    def __init__(self):
        self.asked, self.gate, self.error, self.short = [], threading.Event(), {}, set()
        self.gate.set()

    def __call__(self, start, stop):
        self.asked.append((start, stop))
        if start:
            assert self.gate.wait(10)
        if start in self.error:
            raise self.error[start]
        return Fetched(INFO, memoryview(bytes(stop - start - (start in self.short))))


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def make(source):
    with ThreadPoolExecutor(16) as pool:
        made = []

        def make(start, stop, budget=None, opening=FIRST):
            made.append(
                RangesReader(
                    source,
                    start,
                    stop,
                    pool=pool,
                    budget=budget or Budget(1 << 40),
                    opening=opening,
                )
            )
            return made[-1]

        yield make
        source.gate.set()
        for one in made:
            one.close()


def drain(reader):
    return sum(len(block) for block in iter(lambda: reader.read(BLOCK), b""))


def settled(condition):
    """Wait for what threads are about to do."""
    for _ in range(2000):
        if condition():
            return True
        time.sleep(0.005)
    return False


def test_small_range_comes_first_and_large_ones_with_it(source, make):
    source.gate.clear()
    reader = make(0, 64 * BLOCK)
    assert len(reader.read(10)) == 10, "the first bytes wait for nothing else"
    assert settled(lambda: len(source.asked) == 9)
    assert sorted(source.asked) == [
        (0, FIRST),
        *((at, min(at + RANGE, 64 * BLOCK)) for at in range(FIRST, 64 * BLOCK, RANGE)),
    ]
    source.gate.set()
    assert drain(reader) == 64 * BLOCK - 10


def test_short_range_is_one_request():
    assert ranges.first_length(ALONE) == ALONE
    assert ranges.first_length(ALONE + 1) == FIRST


def test_window_bounds_what_is_under_way(source, make):
    source.gate.clear()
    reader = make(0, 1 << 40)
    reader.read(10)
    settled(lambda: len(source.asked) == 8)
    asked = max(stop for _, stop in source.asked)
    assert WINDOW - RANGE < asked <= WINDOW
    source.gate.set()
    reader.read(FIRST)
    for _ in range(20):  # a slow client: nothing is asked for that it made no room for
        reader.read(BLOCK)
    assert max(stop for _, stop in source.asked) <= FIRST + 20 * BLOCK + WINDOW + RANGE


def test_budget_of_the_store_bounds_all_its_readers(source, make):
    budget = Budget(4 * RANGE)
    source.gate.clear()
    first, second = make(0, 1 << 30, budget), make(0, 1 << 30, budget)
    assert settled(lambda: len(source.asked) == 6), "two first ranges, and four ahead"
    source.gate.set()
    second.read(FIRST)
    second.read(1)
    assert (FIRST, FIRST + ALONE) in source.asked, "what is needed now is allowed, but small"
    first.read(FIRST)
    for _ in range(40):
        first.read(BLOCK)
    ahead = max(stop for _, stop in source.asked)
    assert ahead <= FIRST + 40 * BLOCK + 2 * RANGE, "one of two has half of it"
    first.close()
    first.close()
    second.close()
    budget.join(1)
    assert settled(lambda: budget.take(4 * RANGE, 0)), "everything was given back"


def test_drained_reader_gave_everything_back(make):
    budget = Budget(3 * RANGE)
    assert drain(make(5, 40 * BLOCK, budget)) == 40 * BLOCK - 5
    assert budget.take(3 * RANGE, 0)


@pytest.mark.parametrize("error", [NotFound("gone"), PreconditionFailed("other")])
def test_version_that_goes_midway_is_source_changed(source, make, error):
    source.error[FIRST] = error
    reader = make(0, 64 * BLOCK)
    assert len(reader.read(FIRST)) == FIRST
    with pytest.raises(SourceChanged):
        reader.read(1)


@pytest.mark.parametrize("error", [NotFound("gone"), PreconditionFailed("other"), Unavailable("-")])
def test_error_of_the_first_range_is_the_openers(source, make, error):
    source.error[0] = error
    with pytest.raises(type(error)) as caught:
        make(0, 64 * BLOCK)
    assert caught.value is error


def test_store_that_goes_away_midway_is_unavailable(source, make):
    source.error[FIRST] = Unavailable("down")
    reader = make(0, 64 * BLOCK)
    reader.read(FIRST)
    with pytest.raises(Unavailable):
        reader.read(1)


@pytest.mark.parametrize("at", [0, FIRST])
def test_answer_that_is_too_short_is_never_taken_for_the_end(source, make, at):
    source.short.add(at)
    with pytest.raises(SourceChanged):
        drain(make(0, 64 * BLOCK))


def test_nothing_is_asked_for_where_there_is_nothing_to_read(source, make):
    assert make(7, 7).read(10) == b""
    assert source.asked == []


def test_reader_has_no_file():
    with pytest.raises(NotSupported):
        ObstoreReader(INFO, None).fileno()
