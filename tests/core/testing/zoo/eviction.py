"""Eviction policies with one lie each; every one is honest in all the rest."""

from __future__ import annotations

import os

import pytest

from forebay.testing import EvictionPolicyTests
from forebay.types import PageId
from forebay_eviction.lru import LruPolicy


class Honest(LruPolicy):
    """The least recently used page goes."""


class TestHonest(EvictionPolicyTests):
    policy_class = Honest

    @pytest.fixture
    def policy(self):
        return self.policy_class()


class OffersWhatIsGone(Honest):
    caught_by = "test_a_deleted_page_is_forgotten"

    def on_delete(self, page):
        """Keep it."""


class OffersTwice(Honest):
    caught_by = "test_every_page_is_a_victim_once"

    def victims(self):
        found = list(super().victims())
        return iter(found + found[:1])


class LearnsFromReads(Honest):
    caught_by = "test_an_unknown_page_is_ignored"

    def on_get(self, page):
        self.on_put(page, 0)


class StumblesOverUnknown(Honest):
    caught_by = "test_an_unknown_page_is_ignored"

    def on_delete(self, page):
        del self._order[page]


class EvictsByLooking(Honest):
    caught_by = "test_looking_for_victims_changes_nothing"

    def victims(self):
        while self._order:
            yield self._order.popitem(last=False)[0]


class OffersOneOnly(Honest):
    caught_by = "test_victims_may_be_skipped"

    def victims(self):
        return iter(list(self._order)[:1])


class OffersAGhost(Honest):
    caught_by = "test_nothing_goes_when_nothing_is_there"

    def victims(self):
        return iter(list(super().victims()) or [PageId("ghost")])


class KeepsALog(Honest):
    caught_by = "test_it_does_no_io"

    def on_get(self, page, /):
        with open(os.devnull, "a") as log:
            log.write(f"{page}")
        super().on_get(page)


class ForgetsTheSecondPut(Honest):
    caught_by = "test_it_knows_what_is_on_the_shelf"

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_put(self, page, size, /):
        if page in self.seen[-3:]:  # it has just been here
            return
        self.seen.append(page)
        super().on_put(page, size)


LIARS = [found for found in list(vars().values()) if "caught_by" in getattr(found, "__dict__", ())]
for _liar in LIARS:
    _name = f"Test{_liar.__name__}"
    globals()[_name] = type(_name, (TestHonest,), {"policy_class": _liar})
