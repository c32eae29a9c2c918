"""Policies miss as often as oracles do, on traces that are made here from their definition.

Miss counts are those of libcachesim 0.3.5 with its defaults. For `lru`, `sieve` and `arc` a
second implementation, written independently, gives the same ones.
"""

import hashlib
import re
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from itertools import accumulate, count
from pathlib import Path
from typing import NamedTuple

import pytest

from forebay_eviction import FACTORIES

REQUESTS = 1_000_000
PAGES = 100_000
WORD = (1 << 64) - 1


def outputs(seed, number):
    """The first outputs of splitmix64."""
    state = seed
    for _ in range(number):
        state = (state + 0x9E3779B97F4A7C15) & WORD
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & WORD
        yield mixed ^ (mixed >> 31)


def uniform(seed):
    return ((output >> 11) * 2.0**-53 for output in outputs(seed, REQUESTS))


@cache
def zipf(exponent, pages=PAGES):
    """Page r - 1 is asked for as often as r ** -exponent says."""
    sums = list(accumulate(rank**-exponent for rank in range(1, pages + 1)))
    shares = [each / sums[-1] for each in sums]
    return array("Q", (min(bisect_right(shares, u), pages - 1) for u in uniform(1)))


def one_hit(share):
    """Zipf, but a share of the requests is for a page that is never asked for again."""
    fresh = count(10_000_000)
    draws = zip(zipf(1.0), uniform(2), strict=True)
    return array("Q", (next(fresh) if u < share else page for page, u in draws))


def scanned(ids, fresh):
    """After each 40,000 requests a scan of 10,000 pages; new ones each time, or the same."""
    trace = array("Q")
    for turn in range(REQUESTS // 50_000):
        trace.extend(ids[40_000 * turn : 40_000 * (turn + 1)])
        first = 50_000_000 + 10_000 * turn * fresh
        trace.extend(range(first, first + 10_000))
    return trace


def object_pages():
    """Objects of 1 to 64 pages, each read from its first page to its last."""
    lengths = [1 << output % 7 for output in outputs(77, 20_000)]
    trace = array("Q")
    for number in zipf(0.9, 20_000):
        trace.extend(range(number * 64, number * 64 + lengths[number]))
        if len(trace) >= REQUESTS:
            break
    return trace[:REQUESTS]


def pairs():
    """Zipf, but some pages are asked for twice within 20 requests and never again."""
    trace, free, fresh = array("Q", zipf(1.0)), bytearray(b"\1" * REQUESTS), count(10_000_000)
    for here, u in enumerate(uniform(3)):
        there = here + 20
        if u < 0.1 and there < REQUESTS and free[here] and free[there]:
            trace[here] = trace[there] = next(fresh)
            free[here] = free[there] = 0
    return trace


def drifting(every):
    """Zipf, but who is popular changes after `every` requests."""
    return array("Q", ((page + 1000 * (i // every)) % PAGES for i, page in enumerate(zipf(1.0))))


class Trace(NamedTuple):
    make: Callable[[], array]
    unique: int
    digest: str


TRACES = {
    "zipf0.8": Trace(lambda: zipf(0.8), 96674, "7c92947553f6d6ce"),
    "zipf1.0": Trace(lambda: zipf(1.0), 80962, "c1aa2127b9182ba1"),
    "zipf1.2": Trace(lambda: zipf(1.2), 46699, "d288cc4dd63de85f"),
    "ohw30": Trace(lambda: one_hit(0.30), 371737, "1c5af017adf726aa"),
    "ohw60": Trace(lambda: one_hit(0.60), 655044, "6a3ac760f5c5863d"),
    "scan_fresh": Trace(lambda: scanned(zipf(1.0), True), 275168, "1c14902264bcda03"),
    "scan_same": Trace(lambda: scanned(zipf(1.0), False), 85168, "072da265b6f1efd9"),
    "mix": Trace(lambda: scanned(one_hit(0.25), True), 467199, "8ab96b2c5fd5ba18"),
    "objpages": Trace(object_pages, 211406, "89ffd5d1a00fd8a6"),
    "pair10": Trace(pairs, 166702, "753accce6ba6e7ba"),
    "shift": Trace(lambda: drifting(50_000), 85037, "f8e203f2a0fde263"),
    "shift_fast": Trace(lambda: drifting(5_000), 99450, "00b21a9f4fbbfbd9"),
    "loop12k": Trace(
        lambda: array("Q", (i % 12_000 for i in range(REQUESTS))), 12000, "422b0e75b6e70000"
    ),
}


@cache
def requests(name):
    """The page ids of a trace, once they are known to be the right ones."""
    trace = TRACES[name].make()
    words = trace[:]
    if sys.byteorder == "big":
        words.byteswap()
    assert hashlib.sha256(words.tobytes()).hexdigest()[:16] == TRACES[name].digest
    return trace


class Misses(NamedTuple):
    lru: int
    sieve: int
    arc: int
    s3fifo: int


# Trace and capacity in pages: misses of the million requests.
ORACLE = {
    ("zipf0.8", 100): Misses(932_580, 837_323, 838_097, 834_700),
    ("zipf0.8", 1_000): Misses(796_785, 693_195, 691_523, 685_200),
    ("zipf0.8", 10_000): Misses(534_231, 463_218, 464_931, 454_500),
    ("zipf1.0", 100): Misses(711_091, 586_920, 594_134, 589_300),
    ("zipf1.0", 1_000): Misses(495_006, 403_391, 406_653, 402_400),
    ("zipf1.0", 10_000): Misses(266_357, 225_609, 226_352, 222_100),
    ("zipf1.2", 100): Misses(395_921, 305_433, 315_046, 310_300),
    ("zipf1.2", 1_000): Misses(205_517, 160_235, 163_246, 161_300),
    ("zipf1.2", 10_000): Misses(85_853, 74_963, 73_883, 74_000),
    ("ohw30", 100): Misses(825_044, 714_133, 713_328, 711_900),
    ("ohw30", 1_000): Misses(681_986, 589_437, 582_433, 582_200),
    ("ohw30", 10_000): Misses(536_991, 476_173, 465_390, 466_700),
    ("ohw60", 100): Misses(920_943, 837_193, 834_924, 835_100),
    ("ohw60", 1_000): Misses(841_791, 771_102, 763_259, 764_400),
    ("ohw60", 10_000): Misses(763_079, 718_686, 715_046, 716_000),
    ("scan_fresh", 100): Misses(769_282, 669_356, 675_578, 671_800),
    ("scan_fresh", 1_000): Misses(598_744, 523_671, 525_218, 522_000),
    ("scan_fresh", 10_000): Misses(458_387, 384_717, 379_962, 379_300),
    ("scan_same", 100): Misses(769_282, 669_356, 675_578, 671_800),
    ("scan_same", 1_000): Misses(598_744, 523_671, 525_218, 522_000),
    ("scan_same", 10_000): Misses(458_387, 384_717, 379_962, 379_300),
    ("mix", 100): Misses(846_071, 756_796, 754_813, 753_400),
    ("mix", 1_000): Misses(723_799, 648_023, 642_393, 641_900),
    ("mix", 10_000): Misses(617_904, 553_678, 546_268, 546_800),
    ("objpages", 100): Misses(968_089, 865_839, 874_441, 869_700),
    ("objpages", 1_000): Misses(801_326, 670_331, 672_939, 669_000),
    ("objpages", 10_000): Misses(559_321, 484_437, 477_455, 472_000),
    ("pair10", 100): Misses(683_473, 666_317, 653_628, 690_500),
    ("pair10", 1_000): Misses(509_228, 540_246, 482_408, 419_800),
    ("pair10", 10_000): Misses(331_303, 342_219, 324_067, 276_900),
    ("shift", 100): Misses(711_265, 605_196, 598_038, 594_900),
    ("shift", 1_000): Misses(497_149, 494_818, 431_339, 439_900),
    ("shift", 10_000): Misses(276_838, 330_260, 252_366, 270_000),
    ("shift_fast", 100): Misses(713_051, 692_235, 635_630, 643_900),
    ("shift_fast", 1_000): Misses(517_933, 602_333, 533_552, 557_400),
    ("shift_fast", 10_000): Misses(366_886, 453_160, 380_762, 432_700),
    ("loop12k", 100): Misses(1_000_000, 1_000_000, 1_000_000, 992_500),
    ("loop12k", 1_000): Misses(1_000_000, 1_000_000, 1_000_000, 925_300),
    ("loop12k", 10_000): Misses(1_000_000, 1_000_000, 1_000_000, 444_300),
}

# How far from the oracle a policy may be. ARC learns from a miss before it chooses a victim; a
# tier that does not tell of misses makes it learn one victim later.
ALLOWED = {"lru": 0, "sieve": 0, "arc": 10, "s3fifo": 5_000}
UNTOLD = ALLOWED | {"arc": 150}

# One cell of scans, of pages that never come again and of popular ones; the others take minutes.
QUICK = ("mix", 1_000)
CELLS = [pytest.param(*cell, marks=() if cell == QUICK else pytest.mark.slow) for cell in ORACLE]


def simulate(policy, trace, capacity, *, told):
    """Count the misses of a shelf that holds `capacity` pages of one byte."""
    shelf, misses = set(), 0
    for page in trace:
        if page in shelf:
            policy.on_get(page)
            continue
        misses += 1
        if told:
            policy.on_get(page)
        if len(shelf) == capacity:
            victim = next(policy.victims())
            policy.on_delete(victim)
            shelf.remove(victim)
        policy.on_put(page, 1)
        shelf.add(page)
    return misses


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in TRACES],
)
def test_a_trace_is_as_defined(name):
    trace = requests(name)
    assert len(trace) == REQUESTS
    assert len(set(trace)) == TRACES[name].unique


@pytest.mark.parametrize("kind", Misses._fields)
@pytest.mark.parametrize(("name", "capacity"), CELLS)
def test_a_policy_misses_as_often_as_its_oracle(kind, name, capacity):
    policy = FACTORIES[kind]({"capacity": capacity})
    misses = simulate(policy, requests(name), capacity, told=False)
    expected = getattr(ORACLE[name, capacity], kind)
    assert misses == pytest.approx(expected, rel=0, abs=UNTOLD[kind])


@pytest.mark.parametrize(("name", "capacity"), CELLS)
def test_arc_misses_as_often_as_its_oracle_when_told_of_misses(name, capacity):
    policy = FACTORIES["arc"]({"capacity": capacity})
    misses = simulate(policy, requests(name), capacity, told=True)
    assert misses == pytest.approx(ORACLE[name, capacity].arc, rel=0, abs=ALLOWED["arc"])


def test_the_table_in_the_docs_is_the_oracles():
    page = (Path(__file__).parents[2] / "docs" / "eviction.md").read_text()
    rows = re.findall(r"^\| (\S+) \| ((?:[01]\.\d{4} \| ?){8})$", page, re.MULTILINE)
    expected = {
        name: [
            f"{misses / REQUESTS:.4f}"
            for capacity in (1_000, 10_000)
            for misses in ORACLE[name, capacity]
        ]
        for name in TRACES
    }
    assert {name: re.findall(r"[\d.]+", ratios) for name, ratios in rows} == expected
