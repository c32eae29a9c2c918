import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.testing.eviction import EvictionPolicyTests
from forebay.types import PageId
from forebay_eviction.arc import ArcPolicy

CAPACITY = 30
PAGES = [PageId(f"s{each}", 1, each) for each in range(24)]


class TestArcPolicy(EvictionPolicyTests):
    @pytest.fixture
    def policy(self):
        return ArcPolicy.from_options({"capacity": 12 << 20})


class Model:
    """The paper's four lists of (page, size), oldest first, weighed in bytes."""

    def __init__(self):
        self.t1, self.t2, self.b1, self.b2 = [], [], [], []
        self.p = 0
        self.learned = set()

    def take(self, page):
        """Remove a page from the list it is in; give the list and the size."""
        for queue in (self.t1, self.t2, self.b1, self.b2):
            for entry in queue:
                if entry[0] == page:
                    queue.remove(entry)
                    return queue, entry[1]
        return None, 0

    def where(self, page):
        for queue in (self.t1, self.t2, self.b1, self.b2):
            for entry in queue:
                if entry[0] == page:
                    return queue, entry[1]
        return None, 0

    def get(self, page):
        queue, size = self.where(page)
        if queue is self.t1 or queue is self.t2:
            self.take(page)
            self.t2.append((page, size))
        elif queue is not None and page not in self.learned:
            self.learned.add(page)
            if queue is self.b1:
                self.p = min(CAPACITY, self.p + size * max(1, weight(self.b2) / weight(self.b1)))
            else:
                self.p = max(0, self.p - size * max(1, weight(self.b1) / weight(self.b2)))

    def put(self, page, size):
        self.get(page)
        queue, _ = self.take(page)
        self.learned.discard(page)
        (self.t1 if queue is None else self.t2).append((page, size))
        while self.b1 and weight(self.t1) + weight(self.b1) > CAPACITY:
            self.learned.discard(self.b1.pop(0)[0])
        while self.b2 and weight(self.t1 + self.t2 + self.b1 + self.b2) > 2 * CAPACITY:
            self.learned.discard(self.b2.pop(0)[0])

    def delete(self, page):
        self.take(page)
        self.learned.discard(page)

    def evict(self):
        if self.t1 and (weight(self.t1) > self.p or not self.t2):
            self.b1.append(self.t1.pop(0))
            return self.b1[-1][0]
        if self.t2:
            self.b2.append(self.t2.pop(0))
            return self.b2[-1][0]
        return None


def weight(queue):
    return sum(size for _, size in queue)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "get", "get", "delete", "evict"]),
            st.sampled_from(PAGES),
            st.integers(1, 6),
        ),
        min_size=50,
        max_size=200,
    )
)
def test_it_is_arc(calls):
    policy, model = ArcPolicy(CAPACITY), Model()
    for call, page, number in calls:
        match call:
            case "put":
                policy.on_put(page, number)
                model.put(page, number)
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
        ghosts = {page for page, _ in model.b1 + model.b2}
        assert {page for page in PAGES if policy.in_ghost(page)} == ghosts


def evict(policy):
    victim = next(policy.victims())
    policy.on_delete(victim)
    return victim


def test_it_follows_the_ghosts_that_are_asked_for():
    policy = ArcPolicy(4)
    for page in PAGES[:4]:
        policy.on_put(page, 1)
    for page in PAGES[:2]:
        policy.on_get(page)
    assert evict(policy) == PAGES[2]
    # Its ghost is asked for: pages seen once get room, and one of the others goes.
    policy.on_get(PAGES[2])
    policy.on_get(PAGES[2])
    policy.on_put(PAGES[2], 1)
    assert evict(policy) == PAGES[0]
    # That one is asked for too: they lose the room again.
    policy.on_put(PAGES[0], 1)
    assert evict(policy) == PAGES[3]


def test_a_deleted_page_leaves_no_ghost():
    policy = ArcPolicy(CAPACITY)
    for page in PAGES:
        policy.on_put(page, 1)
    first, second = itertools.islice(policy.victims(), 2)
    next(policy.victims())
    policy.on_get(first)
    policy.on_delete(first)
    policy.on_delete(second)
    assert not any(policy.in_ghost(page) for page in PAGES)


def test_a_ghost_can_be_deleted():
    policy = ArcPolicy(CAPACITY)
    policy.on_put(PAGES[0], 1)
    evict(policy)
    assert policy.in_ghost(PAGES[0])
    policy.on_delete(PAGES[0])
    assert not policy.in_ghost(PAGES[0])
