import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.testing.eviction import EvictionPolicyTests
from forebay.types import PageId
from forebay_eviction.s3fifo import S3FifoPolicy

CAPACITY = 40
PAGES = [PageId(f"s{each}", 1, each) for each in range(24)]


class TestS3FifoPolicy(EvictionPolicyTests):
    @pytest.fixture
    def policy(self):
        return S3FifoPolicy.from_options({"capacity": 12 << 20})


class Model:
    """The paper's pseudocode over lists, oldest first; an entry is [page, size, uses]."""

    def __init__(self):
        self.small, self.main, self.ghosts = [], [], []
        self.filling = True

    def find(self, page):
        return next((entry for entry in self.small + self.main if entry[0] == page), None)

    def put(self, page, size):
        entry = self.find(page)
        ghost = next((entry for entry in self.ghosts if entry[0] == page), None)
        if entry:
            entry[1] = size
            entry[2] = min(entry[2] + 1, 3)
        elif ghost:
            self.ghosts.remove(ghost)
            self.main.append([page, size, 0])
        elif self.filling and weight(self.small) >= CAPACITY / 10:
            self.main.append([page, size, 0])
        else:
            self.small.append([page, size, 0])

    def get(self, page):
        entry = self.find(page)
        if entry:
            entry[2] = min(entry[2] + 1, 3)

    def delete(self, page):
        for queue in (self.small, self.main, self.ghosts):
            queue[:] = [entry for entry in queue if entry[0] != page]

    def evict(self):
        while self.small or self.main:
            if weight(self.small) * 10 >= weight(self.small) + weight(self.main):
                page, size, uses = self.small.pop(0)
                if uses >= 2:
                    self.main.append([page, size, 0])
                    continue
                self.ghosts.append([page, size, 0])
                while weight(self.ghosts) > CAPACITY * 0.9:
                    self.ghosts.pop(0)
            else:
                page, size, uses = self.main.pop(0)
                if uses:
                    self.main.append([page, size, uses - 1])
                    continue
            self.filling = False
            return page
        return None


def weight(queue):
    return sum(size for _, size, _ in queue)


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
def test_it_is_s3fifo(calls):
    policy, model = S3FifoPolicy(CAPACITY), Model()
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
        assert {page for page in PAGES if policy.in_ghost(page)} == {
            page for page, _, _ in model.ghosts
        }


def evict(policy):
    victim = next(policy.victims())
    policy.on_delete(victim)
    return victim


def put(policy, pages):
    for page in pages:
        policy.on_put(page, 1)


def test_a_ghost_comes_back_past_the_trial():
    policy = S3FifoPolicy(CAPACITY)
    put(policy, PAGES[:4])
    assert evict(policy) == PAGES[0]
    assert policy.in_ghost(PAGES[0])
    policy.on_put(PAGES[0], 1)
    assert not policy.in_ghost(PAGES[0])
    put(policy, PAGES[4:])
    assert list(policy.victims())[-1] == PAGES[0]


def test_a_deleted_page_leaves_no_ghost():
    policy = S3FifoPolicy(CAPACITY)
    put(policy, PAGES)
    policy.on_delete(PAGES[0])
    first, second = itertools.islice(policy.victims(), 2)
    next(policy.victims())
    policy.on_get(first)
    policy.on_delete(first)
    policy.on_delete(second)
    assert not any(policy.in_ghost(page) for page in PAGES)


def test_a_ghost_can_be_deleted():
    policy = S3FifoPolicy(CAPACITY)
    put(policy, PAGES)
    victim = evict(policy)
    policy.on_delete(victim)
    assert not policy.in_ghost(victim)


def test_the_order_of_deletions_does_not_matter():
    forth, back = S3FifoPolicy(CAPACITY), S3FifoPolicy(CAPACITY)
    for policy, step in ((forth, 1), (back, -1)):
        put(policy, PAGES)
        for page in PAGES[::3] * 3:
            policy.on_get(page)
        for victim in list(itertools.islice(policy.victims(), 12))[::step]:
            policy.on_delete(victim)
    assert list(forth.victims()) == list(back.victims())


def test_a_scan_does_not_displace_what_is_used():
    policy, used = S3FifoPolicy(100), PAGES[:20]
    put(policy, used)
    for page in used * 2:
        policy.on_get(page)
    scan = [PageId("scan", 1, each) for each in range(1000)]
    put(policy, scan[:80])
    for page in scan[80:]:
        assert evict(policy) not in used
        policy.on_put(page, 1)


def test_a_second_chance_is_looked_at_once():
    # A walk whose moves were forgotten would meet the same pages again for every victim.
    number = 1000
    policy = S3FifoPolicy(number)
    pages = [PageId("old", 1, each) for each in range(number)]
    put(policy, pages)
    for page in pages * 3:
        policy.on_get(page)
    passed = 0
    for each in range(2 * number):
        evict(policy)
        passed += len(policy._passed)
        policy.on_put(PageId("new", 1, each), 1)
    assert passed <= 4 * number


def test_ghosts_are_bounded_by_the_capacity():
    policy = S3FifoPolicy(CAPACITY)
    pages = [PageId("many", 1, each) for each in range(1000)]
    for each, page in enumerate(pages):
        policy.on_put(page, 2 * (each % 2))
        if each >= 20:
            evict(policy)
    # Sizes are 0 and 2 by turns; an empty page weighs a byte.
    assert sum(map(policy.in_ghost, pages)) == CAPACITY * 0.9 / 1.5
