"""Conformance kit for eviction policies: each test checks a sentence of the contract."""

# ruff: noqa: D102 - the name of a test is the sentence it checks

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from forebay.stores.eviction import EvictionPolicy
from forebay.types import PageId

PAGES = [PageId(f"s{each}", 1 << 20, each) for each in range(12)]
CALLS = st.lists(
    st.tuples(st.sampled_from(["put", "get", "delete", "victims", "evict"]), st.integers(0, 11)),
    max_size=60,
)


class EvictionPolicyTests:
    """Every eviction policy passes these.

    A subclass gives the fixture `policy`: a new policy of 12 MiB capacity.
    """

    @pytest.fixture
    def policy(self) -> EvictionPolicy:
        """Give a new policy of 12 MiB capacity."""
        raise NotImplementedError("give the fixture `policy`")

    def test_nothing_goes_when_nothing_is_there(self, policy: EvictionPolicy) -> None:
        assert list(policy.victims()) == []

    def test_every_page_is_a_victim_once(self, policy: EvictionPolicy) -> None:
        for page in (*PAGES, *PAGES[:3]):
            policy.on_put(page, 1 << 20)
        for page in PAGES[::2]:
            policy.on_get(page)
        found = list(policy.victims())
        assert len(found) == len(PAGES)
        assert set(found) == set(PAGES)

    def test_an_unknown_page_is_ignored(self, policy: EvictionPolicy) -> None:
        policy.on_get(PAGES[0])
        assert list(policy.victims()) == []
        policy.on_delete(PAGES[0])
        policy.on_put(PAGES[1], 1)
        policy.on_get(PAGES[0])
        assert list(policy.victims()) == [PAGES[1]]
        policy.on_delete(PAGES[0])
        assert list(policy.victims()) == [PAGES[1]]

    def test_a_deleted_page_is_forgotten(self, policy: EvictionPolicy) -> None:
        for page in PAGES:
            policy.on_put(page, 1 << 20)
        policy.on_delete(PAGES[4])
        policy.on_delete(PAGES[4])
        assert set(policy.victims()) == set(PAGES) - {PAGES[4]}
        policy.on_put(PAGES[4], 1 << 20)
        assert set(policy.victims()) == set(PAGES)

    def test_looking_for_victims_changes_nothing(self, policy: EvictionPolicy) -> None:
        for page in PAGES:
            policy.on_put(page, 1 << 20)
        for page in PAGES[3:7]:
            policy.on_get(page)
        first = list(policy.victims())
        next(policy.victims(), None)
        list(itertools.islice(policy.victims(), 5))
        assert list(policy.victims()) == first

    def test_victims_may_be_skipped(self, policy: EvictionPolicy) -> None:
        for page in PAGES:
            policy.on_put(page, 1 << 20)
        pinned = set(itertools.islice(policy.victims(), 4))
        taken = list(itertools.islice((p for p in policy.victims() if p not in pinned), 5))
        for page in taken:
            policy.on_delete(page)
        assert set(policy.victims()) == set(PAGES) - set(taken)

    def test_it_does_no_io(self, policy: EvictionPolicy) -> None:
        with asked_of_the_system() as asked:
            for page in (*PAGES, *PAGES):
                policy.on_put(page, 1 << 20)
                policy.on_get(page)
            for page in list(policy.victims()):
                policy.on_delete(page)
        assert asked == [], "a policy is called under the tier's lock"

    def test_it_knows_what_is_on_the_shelf(self, policy: EvictionPolicy) -> None:
        @given(calls=CALLS)
        @settings(deadline=None, derandomize=True, database=None)
        def holds(calls: list[tuple[str, int]]) -> None:
            for page in PAGES:
                policy.on_delete(page)
            follow(policy, calls)

        holds()


_IO = ("open", "socket.", "os.", "subprocess.", "time.sleep", "sqlite3.")
_watched: dict[int, list[str]] = {}
"""Whom to tell of what a thread asks the system for; hooks of the interpreter stay for good."""


@cache
def _install() -> None:
    def note(event: str, _: object) -> None:
        asked = _watched.get(threading.get_ident())
        if asked is not None and event.startswith(_IO):
            asked.append(event)

    sys.addaudithook(note)


@contextmanager
def asked_of_the_system() -> Iterator[list[str]]:
    """Gather the names of the system calls that this thread makes meanwhile."""
    _install()
    asked = _watched[threading.get_ident()] = []
    try:
        yield asked
    finally:
        del _watched[threading.get_ident()]


def follow(policy: EvictionPolicy, calls: list[tuple[str, int]]) -> None:
    """Make calls of an empty policy, and hold its victims against a set after each."""
    shelf: set[PageId] = set()
    for call, number in calls:
        page = PAGES[number]
        if call == "put":
            policy.on_put(page, number)
            shelf.add(page)
        elif call == "get":
            policy.on_get(page)
        elif call == "delete":
            policy.on_delete(page)
            shelf.discard(page)
        elif call == "evict":
            for victim in list(itertools.islice(policy.victims(), number)):
                assert victim in shelf
                policy.on_delete(victim)
                shelf.remove(victim)
        found = list(policy.victims())
        assert sorted(map(repr, found)) == sorted(map(repr, shelf))
