from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import ConfigurationError
from forebay.testing.eviction import EvictionPolicyTests
from forebay.types import PageId
from forebay_eviction import eviction_policy_factory
from forebay_eviction.lru import LruPolicy

PAGES = [PageId(f"s{each}") for each in range(6)]


class TestLruPolicy(EvictionPolicyTests):
    @pytest.fixture
    def policy(self):
        return LruPolicy.from_options({"capacity": 12 << 20})


def test_the_hook_answers_for_its_kind_only():
    assert eviction_policy_factory(kind="lru") == LruPolicy.from_options
    assert eviction_policy_factory(kind="clock") is None


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigurationError, match=r"'capacty'.*'capacity'"):
        LruPolicy.from_options({"capacty": 1})


@given(st.lists(st.tuples(st.sampled_from(["put", "get", "delete"]), st.sampled_from(PAGES))))
def test_it_is_exactly_least_recently_used(calls):
    policy, model = LruPolicy(), deque()
    for call, page in calls:
        known = page in model
        if known:
            model.remove(page)
        if call == "put" or (call == "get" and known):
            model.append(page)
        match call:
            case "put":
                policy.on_put(page, 1)
            case "get":
                policy.on_get(page)
            case "delete":
                policy.on_delete(page)
    assert list(policy.victims()) == list(model)
