"""Queues keep order and weigh what is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.types import PageId
from forebay_eviction.queues import Entry, Queue


@given(st.lists(st.tuples(st.sampled_from("mlr"), st.integers(0, 9), st.integers(0, 50))))
def test_queues_hold_what_a_list_holds(steps):
    queues, lists = (Queue(), Queue()), ([], [])
    entries = []
    for number in range(10):
        entries.append(Entry(PageId(str(number)), number, queues[0]))
        lists[0].append(number)
    gone = set()
    for what, number, size in steps:
        entry, target = entries[number], size % 2
        if number in gone:
            continue
        here = lists[queues.index(entry.queue)]
        if what == "m":
            here.remove(number)
            entry.move(queues[target], uses=1)
            lists[target].append(number)
        elif what == "r":
            entry.resize(size)
        else:
            here.remove(number)
            entry.leave()
            gone.add(number)
    for queue, expected in zip(queues, lists, strict=True):
        assert expected == [int(entry.page.segment) for entry in queue]
        assert sum(entries[n].size for n in expected) == queue.size
        assert bool(expected) is bool(queue)


def test_the_oldest_is_the_first_that_came():
    queue = Queue()
    with pytest.raises(StopIteration):
        queue.oldest()
    first = Entry(PageId("a"), 0, queue)
    Entry(PageId("b"), 5, queue)
    assert (first, 1, 6) == (queue.oldest(), first.size, queue.size)
