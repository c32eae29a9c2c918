import pytest

from forebay.types import PageId
from forebay_eviction.queues import Entry, Queue

PAGES = [PageId("s", 1, each) for each in range(3)]


@pytest.fixture
def queue():
    return Queue()


def test_entries_stand_in_order_of_arrival(queue):
    first, second, third = (Entry(page, 5, queue) for page in PAGES)
    assert list(queue) == [first, second, third]
    first.move(queue)
    assert list(queue) == [second, third, first]
    assert queue.oldest() is second
    assert queue.size == 15


def test_an_entry_is_in_one_queue_and_begins_there_anew(queue):
    entry, other = Entry(PAGES[0], 7, queue), Queue()
    entry.uses = 3
    entry.move(other)
    assert (list(queue), queue.size) == ([], 0)
    assert (list(other), other.size) == ([entry], 7)
    assert (entry.queue, entry.uses) == (other, 0)
    entry.move(other, uses=2)
    assert entry.uses == 2


def test_who_leaves_takes_the_size_along(queue):
    one, other = Entry(PAGES[0], 7, queue), Entry(PAGES[1], 2, queue)
    one.resize(9)
    assert queue.size == 11
    one.leave()
    assert (list(queue), queue.size) == ([other], 2)
    other.leave()
    assert not queue
    with pytest.raises(StopIteration):
        queue.oldest()


def test_an_empty_page_takes_a_place(queue):
    entry = Entry(PAGES[0], 0, queue)
    assert queue.size == 1
    entry.resize(0)
    assert queue.size == 1
