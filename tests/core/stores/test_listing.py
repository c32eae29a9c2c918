"""Functions on ordered keys, against a naive model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stores.listing import after_all, merged, name_of, passed_over, roll_up, rolled
from forebay.types import CommonPrefix

KEYS = st.text(alphabet="ab/-é\uffff\U00010000\U0010ffff", max_size=6)
SETS = st.sets(KEYS.filter(bool), max_size=12)
DELIMITERS = st.sampled_from(["", "/", "-", "a", "/a", "ab", "é"])


@dataclass(frozen=True)
class Entry:
    key: str
    origin: int = 0


def naive(keys, prefix, delimiter, start_after):
    found = set()
    for key in keys:
        if key.startswith(prefix):
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            if at < 0:
                if key.encode() > start_after.encode():
                    found.add(key)
            else:
                common = key[: at + len(delimiter)]
                if common.encode() > start_after.encode() and not start_after.startswith(common):
                    found.add(common)
    return sorted(found, key=str.encode)


@given(SETS)
def test_str_order_is_the_order_of_utf8_bytes(keys):
    assert sorted(keys) == sorted(keys, key=str.encode)


@given(SETS, KEYS, DELIMITERS, KEYS)
def test_roll_up_is_what_the_contract_says(keys, prefix, delimiter, start_after):
    entries = roll_up(
        map(Entry, sorted(keys)), prefix=prefix, delimiter=delimiter, start_after=start_after
    )
    listed = list(entries)
    assert [name_of(entry) for entry in listed] == naive(keys, prefix, delimiter, start_after)
    for entry in listed:
        if isinstance(entry, CommonPrefix):
            assert delimiter
            assert entry.prefix.endswith(delimiter)
            assert delimiter not in entry.prefix[len(prefix) : -len(delimiter)]
        else:
            assert entry.key in keys


@given(SETS, KEYS, DELIMITERS, st.integers(1, 3))
def test_pages_of_any_size_give_everything_once(keys, prefix, delimiter, size):
    found, bound = [], ""
    while page := [
        name_of(entry)
        for entry in itertools.islice(
            roll_up(
                map(Entry, sorted(keys)), prefix=prefix, delimiter=delimiter, start_after=bound
            ),
            size,
        )
    ]:
        found += page
        bound = page[-1]
    assert found == naive(keys, prefix, delimiter, "")


def test_roll_up_is_lazy_and_ends_behind_the_prefix():
    taken = []

    def entries():
        for key in ("a", "b/1", "b/2", "c", "d"):
            taken.append(key)
            yield Entry(key)

    listing = roll_up(entries(), prefix="b/")
    assert taken == []
    assert next(listing) == Entry("b/1")
    assert taken == ["a", "b/1"]
    assert list(listing) == [Entry("b/2")]
    assert taken == ["a", "b/1", "b/2", "c"], "it went on behind the prefix"


@given(st.lists(SETS, max_size=4))
def test_merged_is_the_ordered_union_and_the_first_wins(sets):
    listings = [[Entry(key, origin) for key in sorted(keys)] for origin, keys in enumerate(sets)]
    result = list(merged(*listings))
    assert [entry.key for entry in result] == sorted(set().union(*sets))
    for entry in result:
        assert entry.origin == min(n for n, keys in enumerate(sets) if entry.key in keys)


def test_merged_takes_objects_and_common_prefixes_together():
    first = [Entry("a"), CommonPrefix("b/"), Entry("c")]
    second = [Entry("a", 1), CommonPrefix("b/"), Entry("b0", 1)]
    assert list(merged(first, second)) == [
        Entry("a"),
        CommonPrefix("b/"),
        Entry("b0", 1),
        Entry("c"),
    ]


def test_merged_asks_no_further_than_it_must():
    endless = (Entry(f"{n:09}") for n in itertools.count())
    assert list(itertools.islice(merged(endless, [Entry("0")]), 3)) == [
        Entry("0"),
        Entry("000000000"),
        Entry("000000001"),
    ]


@pytest.mark.parametrize(
    ("key", "prefix", "delimiter", "expected"),
    [
        ("a/b/c", "", "/", "a/"),
        ("a/b/c", "a/", "/", "a/b/"),
        ("a/b/c", "a", "/", "a/"),
        ("a/", "a/", "/", None),
        ("a/", "", "/", "a/"),
        ("/", "", "/", "/"),
        ("//a", "/", "/", "//"),
        ("abcabc", "a", "bc", "abc"),
        ("aXX", "", "XX", "aXX"),
        ("a/b", "", "", None),
        ("a", "", "/", None),
    ],
)
def test_rolled_up_to_the_first_delimiter_behind_the_prefix(key, prefix, delimiter, expected):
    assert rolled(key, prefix, delimiter) == expected


@pytest.mark.parametrize(
    ("common", "start_after", "expected"),
    [
        ("a/", "", False),
        ("a/", "a", False),
        ("a/", "a.txt", False),
        ("a/", "a/", True),
        ("a/", "a/b", True),
        ("a/", "a/\U0010ffff", True),
        ("a/", "a0", True),
        ("a/", "Z", False),
    ],
)
def test_common_prefix_is_passed_over_when_a_page_before_gave_it(common, start_after, expected):
    assert passed_over(common, start_after) is expected


@given(KEYS, KEYS)
def test_after_all_is_the_least_bound_of_a_prefix(prefix, other):
    bound = after_all(prefix)
    if bound is None:
        assert prefix.strip("\U0010ffff") == ""
        return
    assert not bound.startswith(prefix)
    assert prefix + other < bound
    if other > prefix and not other.startswith(prefix):
        assert other >= bound


def test_after_all_goes_over_the_surrogates():
    assert after_all("a\ud7ff") == "a\ud800"
    assert after_all("a\U0010ffff") == "b"
    assert after_all("") is None
    assert after_all("\U0010ffff") is None
