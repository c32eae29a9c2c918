import threading
from contextlib import contextmanager

import pytest

from forebay.errors import NotFound, Unavailable
from forebay.lanes import Lanes, SlowStore
from forebay.streams import BytesReader
from forebay.types import Attributes, ByteRange
from forebay_memory.under import MemoryUnderStore


class Noted(Lanes):
    def __init__(self, limit):
        self.changes = []
        super().__init__(limit, self.changes.append)


@contextmanager
def request_thread(lanes):
    """Run what is put into the returned function in a thread with a lane."""
    work, done = [], []

    def call(function):
        thread = threading.Thread(target=run, args=(function,))
        thread.start()
        thread.join(30)
        kind, result = done.pop()
        if kind == "raised":
            raise result
        return result

    def run(function):
        lanes.enter()
        try:
            done.append(("gave", function()))
        except Exception as error:
            done.append(("raised", error))

    yield call
    assert not work


def test_a_request_thread_counts_while_it_waits():
    lanes = Noted(4)

    def wait():
        with Lanes.slow("/a"):
            return lanes.waiting()

    with request_thread(lanes) as call:
        assert call(wait) == {"/a": 1}
    assert lanes.waiting() == {}
    assert lanes.changes == [1, -1]


def test_what_waits_inside_of_a_wait_counts_once():
    lanes = Noted(4)

    def wait():
        with Lanes.slow("/a"), Lanes.slow("/b"):
            return lanes.waiting()

    with request_thread(lanes) as call:
        assert call(wait) == {"/a": 1}
    assert lanes.changes == [1, -1]


def test_a_thread_without_a_lane_waits_as_it_likes():
    with Lanes.slow("/a"):
        pass


def test_a_wait_ends_with_an_error_too():
    lanes = Noted(4)

    def wait():
        with Lanes.slow("/a"):
            raise LookupError

    with request_thread(lanes) as call:
        for _ in range(10):
            with pytest.raises(LookupError):
                call(wait)
    assert lanes.waiting() == {}


@pytest.fixture
def crowd():
    """Let threads wait for names until the test ends."""
    go_on = threading.Event()
    threads = []

    def crowd(lanes, *names):
        def wait(name, there):
            lanes.enter()
            with Lanes.slow(name):
                there.set()
                assert go_on.wait(30)

        for name in names:
            there = threading.Event()
            threads.append(threading.Thread(target=wait, args=(name, there)))
            threads[-1].start()
            assert there.wait(30)

    yield crowd
    go_on.set()
    for thread in threads:
        thread.join(30)


def test_one_name_gets_three_quarters_and_all_together_no_more_than_the_limit(crowd):
    lanes = Noted(4)

    def wait(name, refuse=True):
        with Lanes.slow(name, refuse=refuse):
            return lanes.waiting()

    crowd(lanes, "/a", "/a", "/a")
    with request_thread(lanes) as call:
        with pytest.raises(Unavailable, match="3 requests wait for /a already"):
            call(lambda: wait("/a"))
        assert call(lambda: wait("/b")) == {"/a": 3, "/b": 1}
        crowd(lanes, "/b")
        with pytest.raises(Unavailable):
            call(lambda: wait("/c"))
        assert call(lambda: wait("/a", refuse=False)) == {"/a": 4, "/b": 1}
        with pytest.raises(Unavailable):
            call(lambda: wait("/a"))


@pytest.fixture
def store():
    store = MemoryUnderStore()
    store.put("a", BytesReader(b"hello"), size=5, attributes=Attributes())
    store.put("b", BytesReader(b"hello"), size=5, attributes=Attributes())
    return store


def test_every_call_of_a_slow_store_waits_in_its_lane(store):
    lanes = Noted(4)
    slow = SlowStore(store, "/a")

    def use():
        assert slow.capabilities is store.capabilities
        assert lanes.changes == []
        assert slow.head("a").size == 5
        with slow.open("a", ByteRange(1, 3)) as reader:
            assert reader.info.key == "a"
            assert reader.read(10) == b"el"
        slow.put("c", BytesReader(b""), size=0, attributes=Attributes())
        slow.delete("c")
        assert [info.key for info in slow.list()] == ["a", "b"]
        with pytest.raises(NotFound):
            slow.head("c")
        with pytest.raises(NotFound), slow.open("c"):
            pass

    with request_thread(lanes) as call:
        call(use)
    assert lanes.changes == [1, -1] * 10
    assert not hasattr(slow, "copy")


def test_a_store_for_which_too_many_wait_is_not_called(store, crowd):
    lanes = Noted(1)
    slow = SlowStore(store, "/a")
    calls = [
        lambda: slow.head("a"),
        lambda: slow.open("a").__enter__(),
        lambda: next(slow.list()),
        lambda: slow.delete("a"),
    ]
    with request_thread(lanes) as call:
        opened = slow.open("a")
        reader = opened.__enter__()
        crowd(lanes, "/a")
        for refused in calls:
            with pytest.raises(Unavailable):
                call(refused)
        assert call(lambda: reader.read(10)) == b"hello", "what has begun goes on"
        opened.__exit__(None, None, None)
    assert store.head("a").size == 5
