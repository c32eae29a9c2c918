"""The kit finds eviction policies that lie: each is caught by the test named after its lie."""

import pytest

from forebay.testing.eviction import EvictionPolicyTests
from forebay_eviction.lru import LruPolicy

KIT = EvictionPolicyTests()


class OffersWhatIsGone(LruPolicy):
    def on_delete(self, page):
        """Keep it."""


class OffersTwice(LruPolicy):
    def victims(self):
        found = list(super().victims())
        return iter(found + found[:1])


class LearnsFromReads(LruPolicy):
    def on_get(self, page):
        self.on_put(page, 0)


class StumblesOverUnknown(LruPolicy):
    def on_delete(self, page):
        del self._order[page]


class EvictsByLooking(LruPolicy):
    def victims(self):
        while self._order:
            yield self._order.popitem(last=False)[0]


class OffersOneOnly(LruPolicy):
    def victims(self):
        return iter(list(self._order)[:1])


@pytest.mark.parametrize(
    ("liar", "caught"),
    [
        (OffersWhatIsGone, KIT.test_a_deleted_page_is_forgotten),
        (OffersTwice, KIT.test_it_knows_what_is_on_the_shelf),
        (OffersTwice, KIT.test_every_page_is_a_victim_once),
        (LearnsFromReads, KIT.test_an_unknown_page_is_ignored),
        (StumblesOverUnknown, KIT.test_an_unknown_page_is_ignored),
        (EvictsByLooking, KIT.test_looking_for_victims_changes_nothing),
        (OffersOneOnly, KIT.test_victims_may_be_skipped),
    ],
)
def test_a_liar_is_caught(liar, caught):
    with pytest.raises((AssertionError, KeyError)):
        caught(liar())
