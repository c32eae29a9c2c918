import threading

import pytest

from forebay.errors import NotFound, Unavailable
from forebay_guard.breaker import Breaker, LeftAlone


class House:
    """A breaker with a clock of its own and a note of its changes."""

    def __init__(self, failures=3):
        self.now = 0.0
        self.changes = []
        self.breaker = Breaker(
            "reading from far",
            failures=failures,
            pause=5.0,
            patience=60.0,
            changed=self.changes.append,
            clock=lambda: self.now,
        )

    def call(self, error=None, **how):
        with self.breaker.call(**how):
            if error is not None:
                raise error

    def fail(self, times=1):
        for _ in range(times):
            with pytest.raises(Unavailable):
                self.call(Unavailable("no route"))

    def refused(self):
        with pytest.raises(LeftAlone) as caught:
            self.call()
        return str(caught.value)


@pytest.fixture
def house():
    return House()


def test_failures_in_a_row_open_it_and_calls_are_refused_at_once(house):
    house.fail(2)
    house.call()
    house.fail(2)
    assert not house.breaker.is_open
    house.fail()
    assert house.breaker.is_open
    assert house.changes == ["no route"]
    house.now = 3.0
    assert house.refused() == "reading from far fails: no route; it is tried again in 2.0 seconds"


def test_other_errors_are_answers(house):
    house.fail(2)
    with pytest.raises(NotFound):
        house.call(NotFound("key"))
    house.fail(2)
    assert not house.breaker.is_open


def test_an_error_that_is_not_the_stores_says_nothing_of_it(house):
    house.fail(2)
    with pytest.raises(ValueError, match="body"):
        house.call(ValueError("body"))
    house.fail()
    assert house.breaker.is_open
    house.now = 5.0
    with pytest.raises(ValueError, match="body"):
        house.call(ValueError("body"))
    assert house.breaker.is_open
    house.call()
    assert not house.breaker.is_open


def test_after_the_pause_one_call_tries_and_its_success_closes_it(house):
    house.fail(3)
    house.now = 5.0
    with house.breaker.call():
        assert "0.0 seconds" in house.refused()
    assert not house.breaker.is_open
    house.call()
    assert house.changes == ["no route", None]


def test_a_probe_that_fails_begins_the_pause_anew(house):
    house.fail(3)
    house.now = 5.0
    house.fail()
    house.now = 9.0
    house.refused()
    house.now = 10.0
    house.call()
    assert house.changes == ["no route", None], "told once of each"


def test_calls_that_take_too_long_count_as_failures_while_they_go_on(house):
    hung = [house.breaker.call() for _ in range(3)]
    for call in hung:
        call.__enter__()
    house.now = 61.0
    assert "a call takes more than 60 seconds" in house.refused()
    assert house.changes == ["a call takes more than 60 seconds"]
    for call in hung:
        call.__exit__(None, None, None)
    assert house.breaker.is_open, "a late end says nothing of now"
    house.now = 66.0
    house.call()
    assert not house.breaker.is_open


def test_a_probe_that_hangs_counts_as_failed_and_another_follows(house):
    house.fail(3)
    house.now = 5.0
    probe = house.breaker.call()
    probe.__enter__()
    house.now = 30.0
    house.refused()
    house.now = 66.0
    house.refused()
    house.now = 71.0
    house.call()
    assert not house.breaker.is_open
    probe.__exit__(None, None, None)
    assert not house.breaker.is_open


def test_what_was_begun_goes_on_while_it_is_open(house):
    house.fail(3)
    house.call(begun=True)
    assert house.breaker.is_open, "and does not close it"
    with pytest.raises(Unavailable):
        house.call(Unavailable("cut"), begun=True)


def test_zero_failures_never_open_it():
    house = House(failures=0)
    house.fail(20)
    assert not house.breaker.is_open


def test_one_probe_among_many_threads():
    house = House()
    house.fail(3)
    house.now = 5.0
    ready, go_on, got = threading.Barrier(17), threading.Event(), []

    def tries():
        ready.wait(30)
        try:
            with house.breaker.call():
                got.append("asked")
                assert go_on.wait(30)
        except LeftAlone:
            got.append("refused")
            if len(got) >= 16:
                go_on.set()

    threads = [threading.Thread(target=tries) for _ in range(16)]
    for thread in threads:
        thread.start()
    ready.wait(30)
    for thread in threads:
        thread.join(30)
    assert sorted(got) == ["asked"] + ["refused"] * 15
