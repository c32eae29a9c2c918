"""Memory that is used again, but never while anybody looks at it; and blocks that go through it."""

from __future__ import annotations

import gc
import io
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.cache import slots as module
from forebay.cache.slots import Slots, blocks
from forebay.streams import BLOCK, SupportsReadInto

MIB = 1 << 20
WHOLE = bytes(range(251)) * 40_000


class Filling(io.BytesIO):
    """Fills memory, up to `most` bytes at a time, and tells how often it was asked."""

    def __init__(self, content=WHOLE, most=BLOCK):
        super().__init__(content)
        self.most, self.asked = most, []

    def read_into(self, room):
        self.asked.append(len(room))
        return super().readinto(room[: self.most])


class Reading:
    """Gives bytes only."""

    def __init__(self, content=WHOLE):
        self.read = io.BytesIO(content).read


def test_memory_comes_back_when_nobody_refers_to_it():
    slots = Slots(64 * MIB)
    room = slots.take(5 * MIB)
    assert len(room) == 5 * MIB
    part = memoryview(room[7:9])
    room[7:9] = b"ab"
    del room
    assert slots.kept == 0, "a part of it is referred to"
    assert slots.take(5 * MIB)[7:9] != b"ab"
    assert part == b"ab"
    del part
    assert slots.kept == 16 * MIB
    again = slots.take(8 * MIB)
    assert slots.kept == 8 * MIB
    assert len(again) == 8 * MIB


def test_no_more_is_kept_than_was_said():
    slots = Slots(3 * MIB)
    rooms = [slots.take(MIB) for _ in range(5)]
    rooms.clear()
    assert slots.kept == 3 * MIB


def test_small_memory_is_not_kept():
    slots = Slots(3 * MIB)
    assert len(slots.take(1)) == 1
    assert len(slots.take(64 << 10)) == 64 << 10
    assert slots.kept == 0


def test_threads_never_get_the_same_memory():
    slots, wrong = Slots(64 * MIB), []

    def use(number):
        for _ in range(200):
            room = slots.take(100_000)
            room[:] = bytes([number]) * 100_000
            time.sleep(0)
            if bytes(room) != bytes([number]) * 100_000:
                wrong.append(number)
            del room

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    gc.collect()
    assert slots.kept <= 8 * (128 << 10)


@pytest.mark.parametrize("reader", [Filling, Reading])
@pytest.mark.parametrize("length", [0, 1, 64 << 10, MIB, 3 * MIB + 5])
def test_blocks_are_the_readers_bytes_and_grow(reader, length):
    assert isinstance(Filling(), SupportsReadInto)
    assert not isinstance(Reading(), SupportsReadInto)
    found = list(blocks(reader(WHOLE[:length]), length, Slots(MIB)))
    assert b"".join(found) == WHOLE[:length]
    sizes = [64 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, MIB, MIB, MIB]
    assert [len(block) for block in found][:-1] == sizes[: max(0, len(found) - 1)]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 300_000), st.integers(1, 200_000))
def test_what_fills_a_little_at_a_time_is_read_to_its_end(length, most):
    most = max(most, length // 50)
    got = b"".join(blocks(Filling(WHOLE[:length], most), length, Slots(MIB)))
    assert got == WHOLE[:length]


@pytest.mark.parametrize("reader", [Filling, Reading])
def test_a_source_that_is_longer_or_shorter_is_noticed(reader):
    slots = Slots(MIB)
    longer = blocks(reader(WHOLE[:300_000]), 299_000, slots)
    assert sum(map(len, longer)) > 299_000
    shorter = blocks(reader(WHOLE[:299_000]), 300_000, slots)
    assert sum(map(len, shorter)) == 299_000


def test_what_comes_slowly_is_handed_on_in_small_blocks(monkeypatch):
    monkeypatch.setattr(module, "_SLOW", -1.0)
    source = Filling(WHOLE[: 3 * MIB])
    list(blocks(source, 3 * MIB, Slots(8 * MIB)))
    assert set(source.asked) == {64 << 10}
