import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.testing.eviction import EvictionPolicyTests
from forebay.types import PageId
from forebay_eviction.sieve import SievePolicy

PAGES = [PageId(f"s{each}", 1, each) for each in range(16)]


class TestSievePolicy(EvictionPolicyTests):
    @pytest.fixture
    def policy(self):
        return SievePolicy.from_options({"capacity": 12 << 20})


class Model:
    """The paper's pseudocode over one list of [page, mark], youngest first, and a hand."""

    def __init__(self):
        self.queue = []
        self.hand = None

    def find(self, page):
        return next((entry for entry in self.queue if entry[0] == page), None)

    def put(self, page):
        if entry := self.find(page):
            entry[1] = True
        else:
            self.queue.insert(0, [page, False])

    def get(self, page):
        if entry := self.find(page):
            entry[1] = True

    def younger(self, entry):
        place = next(i for i, other in enumerate(self.queue) if other is entry)
        return self.queue[place - 1] if place else None

    def delete(self, page):
        if entry := self.find(page):
            if self.hand is entry:
                self.hand = self.younger(entry)
            self.queue.remove(entry)

    def evict(self):
        if not self.queue:
            return None
        entry = self.hand or self.queue[-1]
        while entry[1]:
            entry[1] = False
            entry = self.younger(entry) or self.queue[-1]
        self.hand = self.younger(entry)
        self.queue.remove(entry)
        return entry[0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "get", "get", "delete", "evict"]),
            st.sampled_from(PAGES),
            st.integers(1, 5),
        ),
        min_size=50,
        max_size=200,
    )
)
def test_it_is_exactly_sieve(calls):
    policy, model = SievePolicy(), Model()
    for call, page, number in calls:
        match call:
            case "put":
                policy.on_put(page, number)
                model.put(page)
            case "get":
                policy.on_get(page)
                model.get(page)
            case "delete":
                policy.on_delete(page)
                model.delete(page)
            case "evict":
                taken = list(itertools.islice(policy.victims(), number))
                expected = [page for _ in range(number) if (page := model.evict()) is not None]
                assert taken == expected
                for victim in taken:
                    policy.on_delete(victim)


def test_a_deletion_does_not_move_the_hand():
    policy = SievePolicy()
    for page in PAGES[:6]:
        policy.on_put(page, 1)
    for page in PAGES[:2]:
        policy.on_get(page)
    list(policy.victims())
    policy.on_get(PAGES[4])
    policy.on_delete(PAGES[4])
    # The hand still stands before the marked pages, and an eviction takes their marks.
    assert list(policy.victims()) == [PAGES[2], PAGES[3], PAGES[5], PAGES[0], PAGES[1]]
    policy.on_delete(PAGES[2])
    assert list(policy.victims()) == [PAGES[3], PAGES[5], PAGES[0], PAGES[1]]
    policy.on_put(PAGES[6], 1)
    assert list(policy.victims()) == [PAGES[3], PAGES[5], PAGES[6], PAGES[0], PAGES[1]]
