import threading
import time

import pytest

from forebay.cache.line import Line


class Work:
    """A job that runs until `go_on`; may be shed when it is done and `idle`."""

    def __init__(self, size=1, source="/", go_on=None):
        self.size = size
        self.source = source
        self.started = threading.Event()
        self.done = threading.Event()
        self.go_on = go_on
        self.was_shed = False

    def run(self):
        self.started.set()
        if self.go_on is not None:
            assert self.go_on.wait(30)
        self.done.set()

    def shed(self):
        self.was_shed = self.done.is_set()
        return self.was_shed


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def line_of(gate):
    lines = []

    def line_of(memory=100, threads=16):
        lines.append(Line(memory, threads))
        return lines[-1]

    yield line_of
    gate.set()
    for line in lines:
        line.close(30)


def is_idle(line):
    deadline = time.monotonic() + 30
    while line._busy:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return True


def test_jobs_run_side_by_side(line_of, gate):
    line = line_of()
    jobs = [Work(go_on=gate) for _ in range(10)]
    for job in jobs:
        line.add(job)
    for job in jobs:
        assert job.started.wait(30)
    assert line.held == 10


def test_a_job_waits_for_memory_and_smaller_ones_do_not_overtake_it(line_of, gate):
    line = line_of(memory=100)
    first, large, small = Work(60, "a", gate), Work(60, "b"), Work(10, "c")
    for job in (first, large, small):
        line.add(job)
    assert first.started.wait(30)
    assert not large.started.wait(0.1)
    assert not small.started.is_set()
    gate.set()
    assert large.done.wait(30)
    assert small.done.wait(30)


def test_memory_is_held_until_it_is_let_go_or_wanted(line_of):
    line = line_of(memory=100)
    first = Work(60, "a")
    line.add(first)
    assert first.done.wait(30)
    assert is_idle(line)
    assert line.held == 60
    second = Work(60, "b")
    line.add(second)
    assert second.done.wait(30)
    assert first.was_shed
    assert is_idle(line)
    assert line.held == 60
    line.let_go(second)
    line.let_go(second)
    line.let_go(first)
    assert line.held == 0


def test_a_job_larger_than_all_memory_runs_alone(line_of):
    line = line_of(memory=100)
    job = Work(1000)
    line.add(job)
    assert job.done.wait(30)


def test_a_source_that_hangs_leaves_threads_and_memory_to_the_others(line_of, gate):
    line = line_of(memory=1000, threads=16)
    hung = [Work(1, "hung", gate) for _ in range(40)]
    for job in hung:
        line.add(job)
    other = Work(1, "other")
    line.add(other)
    assert other.done.wait(30)
    assert sum(job.started.is_set() for job in hung) == 12
    line = line_of(memory=100, threads=16)
    hung = [Work(25, "hung", gate) for _ in range(4)]
    for job in hung:
        line.add(job)
    other = Work(25, "other")
    line.add(other)
    assert other.done.wait(30)
    assert sum(job.started.is_set() for job in hung) == 3


def test_what_nobody_waits_for_never_takes_the_last_of_threads_or_memory(line_of, gate):
    line = line_of(memory=100, threads=16)
    offered = [line.offer(Work(1, str(number), gate)) for number in range(16)]
    assert offered == [True] * 8 + [False] * 8
    line = line_of(memory=100, threads=16)
    assert [line.offer(Work(30, str(number), gate)) for number in range(4)] == [True] * 2 + [
        False
    ] * 2


def test_who_wants_a_page_does_not_wait_for_those_who_want_all(line_of, gate):
    line = line_of(memory=6400)
    first = [Work(1600, "a", gate) for _ in range(5)]
    page = Work(100, "a")
    for job in (*first, page):
        line.add(job)
    assert page.done.wait(30), "a little of the share is for small ones alone"
    assert all(job.started.wait(30) for job in first[:3])
    assert not any(job.started.is_set() for job in first[3:])


def test_a_small_job_goes_before_large_ones_that_wait_but_not_for_ever(line_of, gate, monkeypatch):
    order = []

    class Told(Work):
        def run(self):
            order.append(self.size)
            super().run()

    def jobs_in_turn(line):
        blocker = Work(6400, "a", gate)
        line.add(blocker)
        assert blocker.started.wait(30)
        jobs = [Told(6000, "b"), Told(100, "c")]
        for job in jobs:
            line.add(job)
        gate.set()
        assert all(job.done.wait(30) for job in jobs)
        gate.clear()

    jobs_in_turn(line_of(memory=6400, threads=1))
    monkeypatch.setattr("forebay.cache.line._LONG", 0.0)
    jobs_in_turn(line_of(memory=6400, threads=1))
    assert order == [100, 6000, 6000, 100]


def test_what_nobody_waits_for_leaves_a_demand_some_of_its_sources_share(line_of, gate):
    line = line_of(memory=800)
    assert [line.offer(Work(100, "a", gate)) for _ in range(6)] == [True] * 4 + [False] * 2
    demand = Work(100, "a")
    line.add(demand)
    assert demand.done.wait(30)


def test_memory_that_cannot_be_given_up_yet_is_asked_for_again(line_of, monkeypatch):
    monkeypatch.setattr("forebay.cache.line._SHED_AGAIN", 0.005)
    line = line_of(memory=100)
    done = Work(60, "a")
    tries = iter([False, False, True])
    monkeypatch.setattr(done, "shed", lambda: next(tries))
    line.add(done)
    assert done.done.wait(30)
    after = Work(60, "b")
    line.add(after)
    assert after.done.wait(30)


def test_what_nobody_waits_for_sheds_nothing(line_of):
    line = line_of(memory=100)
    done = Work(60, "a")
    line.add(done)
    assert done.done.wait(30)
    assert is_idle(line)
    assert not line.offer(Work(30, "b"))
    assert not done.was_shed


def test_a_job_that_fails_costs_no_thread(line_of, caplog):
    line = line_of(threads=1)
    bad = Work()
    bad.run = lambda: 1 / 0
    line.add(bad)
    good = Work()
    line.add(good)
    assert good.done.wait(30)
    assert "ZeroDivisionError" in caplog.text


def test_threads_end_when_they_have_nothing_to_do(line_of, monkeypatch):
    monkeypatch.setattr("forebay.cache.line._IDLE", 0.01)
    line = line_of()
    job = Work()
    line.add(job)
    assert job.done.wait(30)
    deadline = time.monotonic() + 30
    while line._alive:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    again = Work()
    line.add(again)
    assert again.done.wait(30)


def test_a_closed_line_runs_nothing_more_and_waits_for_what_runs(line_of, gate, caplog):
    line = line_of()
    job = Work(go_on=gate)
    line.add(job)
    assert job.started.wait(30)
    line.close(0.01)
    assert "1 fetches did not end" in caplog.text
    assert line.offer(Work()) is False
    gate.set()
    line.close(30)
    assert not line._alive
