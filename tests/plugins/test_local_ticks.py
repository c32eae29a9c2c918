"""Kernels whose files have times of ticks, as older ones do: played by a clock of this test."""

from __future__ import annotations

import os

import pytest

from forebay.testing.under_kit import put
from forebay_local import ticks
from forebay_local.under import LocalUnderStore

TICK = 1_700_000_000_004_000_000


@pytest.fixture
def under(tmp_path):
    store = LocalUnderStore((tmp_path / "root").as_posix(), durable=False)
    yield store
    store.close()


@pytest.fixture
def kernel(monkeypatch):
    """A kernel whose clock stands still for as many looks as `stands` has."""
    stands = []
    monkeypatch.setattr(ticks, "tick", lambda: stands.pop() if stands else TICK + 4_000_000)
    return stands


def test_the_clock_of_ticks_is_that_of_the_files(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    assert abs(ticks.tick() - path.stat().st_mtime_ns) < 5_000_000_000


def test_a_file_of_this_tick_is_looked_at_when_it_is_over(under, tmp_path, kernel):
    put(under, "key", b"1")
    path = tmp_path / "root" / "key"
    os.utime(path, ns=(TICK, TICK))
    early = under.head("key").fingerprint
    kernel += [TICK, TICK]
    assert under.head("key").fingerprint == early
    assert kernel == [], "it waited for the next tick"


def test_a_file_that_is_written_to_in_every_tick_is_not_waited_for(under, tmp_path, kernel):
    put(under, "key", b"1")
    os.utime(tmp_path / "root" / "key", ns=(TICK, TICK))
    kernel += [TICK] * 1000
    assert under.head("key").size == 1
    assert len(kernel) == 1000 - 20


def test_what_is_put_has_a_time_that_no_write_of_its_tick_leaves(tmp_path, kernel):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(TICK, TICK))
    kernel.append(TICK)
    with open(path, "r+b") as file:
        ticks.set_apart(file.fileno())
        assert path.stat().st_mtime_ns == TICK - 1
        ticks.set_apart(file.fileno())
        assert path.stat().st_mtime_ns == TICK - 1
