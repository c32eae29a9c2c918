import itertools

import pytest

from forebay.errors import ConfigurationError
from forebay.types import PageId
from forebay_eviction import FACTORIES, eviction_policy_factory
from forebay_eviction.options import capacity_of

PAGES = [PageId(f"s{each}", 1, each) for each in range(8)]


@pytest.mark.parametrize("kind", FACTORIES)
def test_the_hook_answers_for_its_kinds(kind):
    assert eviction_policy_factory(kind=kind) is FACTORIES[kind]


def test_the_hook_is_silent_about_other_kinds():
    assert list(FACTORIES) == ["s3fifo", "lru", "sieve", "arc", "none"]
    assert eviction_policy_factory(kind="clock") is None


def test_the_capacity_is_read():
    assert capacity_of("arc", {"capacity": 1 << 40}) == 1 << 40


@pytest.mark.parametrize("kind", FACTORIES)
@pytest.mark.parametrize("options", [{}, {"capacity": 0}, {"capacity": "1 GiB"}])
def test_a_capacity_is_needed(kind, options):
    with pytest.raises(ConfigurationError, match=f"'{kind}' needs a capacity"):
        FACTORIES[kind](options)


@pytest.mark.parametrize("kind", FACTORIES)
def test_an_unknown_option_is_refused(kind):
    with pytest.raises(ConfigurationError, match=f"'capacty' of eviction '{kind}'"):
        FACTORIES[kind]({"capacity": 1, "capacty": 1})


@pytest.mark.parametrize("kind", [kind for kind in FACTORIES if kind != "none"])
def test_a_skipped_page_keeps_its_place(kind):
    policy = FACTORIES[kind]({"capacity": 8})
    for page in PAGES:
        policy.on_put(page, 1)
    first, second, *others = policy.victims()
    for page in others[:3]:
        policy.on_delete(page)
        assert next(policy.victims()) == first
    assert list(itertools.islice(policy.victims(), 2)) == [first, second]
