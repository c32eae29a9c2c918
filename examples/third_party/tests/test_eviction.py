"""The eviction policy, held against Forebay's conformance kit."""

from __future__ import annotations

import itertools

import pytest

from forebay.errors import ConfigurationError
from forebay.testing import EvictionPolicyTests
from forebay.types import PageId
from forebay_example.eviction import ClockPolicy

A, B, C, D = (PageId(name) for name in "abcd")


class TestClockPolicy(EvictionPolicyTests):
    """Every sentence of the contract."""

    @pytest.fixture
    def policy(self):
        return ClockPolicy.from_options({"capacity": 12 << 20})


def test_a_used_page_has_a_second_chance():
    policy = ClockPolicy()
    for page in (A, B, C):
        policy.on_put(page, 1)
    policy.on_get(A)
    assert list(policy.victims()) == [B, C, A]
    policy.on_delete(next(policy.victims()))
    policy.on_put(D, 1)
    assert list(policy.victims()) == [C, A, D], "the hand has passed A"


def test_it_is_the_clock_of_the_book():
    """Compare with a ring of marked pages and a hand, over a long walk."""
    policy, ring, marked = ClockPolicy(), [], set()
    walk = itertools.accumulate(range(4000), lambda at, step: (at * 31 + step) % 97 % 41)
    for page in (PageId(str(at)) for at in walk):
        if page in ring:
            policy.on_get(page)
            marked.add(page)
            continue
        if len(ring) == 16:
            while ring[0] in marked:
                marked.discard(ring[0])
                ring.append(ring.pop(0))
            victim = next(policy.victims())
            assert victim == ring.pop(0)
            policy.on_delete(victim)
        policy.on_put(page, 1)
        ring.append(page)


def test_another_option_is_refused():
    with pytest.raises(ConfigurationError, match="'colour' is no option"):
        ClockPolicy.from_options({"capacity": 1, "colour": "blue"})
