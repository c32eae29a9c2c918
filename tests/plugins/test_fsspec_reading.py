"""Ranges in parallel: all bytes in order, bounded memory, nothing left running."""

import threading
from datetime import UTC, datetime

import pytest

from forebay.errors import NotSupported, SourceChanged
from forebay.types import ByteRange, ObjectInfo
from forebay_fsspec import reading
from forebay_fsspec.reading import BUDGET, Fetchers, RangeReader

CONTENT = bytes(range(256)) * 40


class Ranges:
    """A source over bytes that counts what lies in memory, and fails or waits when told to."""

    def __init__(self, content=CONTENT):
        self.content = content
        self.asked = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails_at = None
        self.closed = 0
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def read(self, start, stop):
        with self._lock:
            self.asked.append((start, stop))
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            assert self.gate.wait(10)
            assert not self.closed, "read after close"
            if self.fails_at is not None and start <= self.fails_at < stop:
                raise SourceChanged("changed")
            return self.content[start:stop]
        finally:
            with self._lock:
                self.running -= 1

    def close(self):
        assert not self.running, "closed under a range"
        self.closed += 1


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch):
    monkeypatch.setattr(reading, "FIRST", 100)
    monkeypatch.setattr(reading, "RANGE", 1000)


@pytest.fixture(params=[1, 4])
def fetchers(request):
    made = Fetchers(request.param)
    yield made
    made.close()
    for _ in range(BUDGET * request.param):  # every unit was given back
        assert made.budget.acquire(blocking=False)
    assert not made.budget.acquire(blocking=False)


def begun(source, fetchers, byte_range=None):
    info = ObjectInfo("key", len(source.content), datetime.now(UTC), "version")
    reader = RangeReader(info, source, byte_range, fetchers)
    reader.begin()
    return reader


def rest(reader, step=333):
    return b"".join(iter(lambda: reader.read(step), b""))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 10240), (0, 1), (0, 0), (99, 101), (5000, 9999), (10239, 1 << 40)]
)
def test_the_bytes_of_a_range_come_in_order_and_no_others_are_asked_for(fetchers, start, stop):
    source = Ranges()
    reader = begun(source, fetchers, ByteRange(start, stop))
    assert rest(reader) == CONTENT[start:stop]
    assert reader.read(1) == b""
    reader.close()
    assert source.closed == 1
    asked = sorted(source.asked)
    assert sum(b - a for a, b in asked) == len(CONTENT[start:stop])
    if asked:
        assert asked[0][1] - asked[0][0] <= 100, "the first range is small"


def test_ranges_are_under_way_together():
    fetchers, source = Fetchers(4), Ranges()
    reader = begun(source, fetchers)
    source.gate.clear()
    taker = threading.Thread(target=rest, args=(reader,))
    taker.start()
    deadline = threading.Event()
    for _ in range(1000):
        if source.running == 4:
            break
        deadline.wait(0.01)
    assert source.running == 4
    source.gate.set()
    taker.join()
    assert source.most == 4
    reader.close()
    fetchers.close()


def test_many_readers_keep_a_bounded_number_of_ranges_in_memory():
    fetchers = Fetchers(3)
    readers = [begun(Ranges(), fetchers) for _ in range(10)]
    for reader in readers:
        reader.read(100)
        reader.read(1)  # and now each is ahead as far as it may be
    assert sum(len(reader._ahead) for reader in readers) <= BUDGET * 3 + len(readers)
    assert [rest(reader)[-1] for reader in readers] == [255] * 10, "none waits for another"
    for reader in readers:
        reader.close()
    fetchers.close()


def test_a_change_passes_through_and_what_is_under_way_ends_before_the_source(fetchers):
    source = Ranges()
    source.fails_at = 3000
    reader = begun(source, fetchers)
    with pytest.raises(SourceChanged):
        rest(reader)
    reader.close()
    fetchers.close()
    assert source.closed == 1


def test_a_reader_that_is_left_early_lets_go_of_everything(fetchers):
    source = Ranges()
    reader = begun(source, fetchers)
    reader.read(150)
    reader.close()
    fetchers.close()
    assert source.closed == 1
    assert len(source.asked) < 11


def test_there_is_no_file(fetchers):
    reader = begun(Ranges(), fetchers)
    with pytest.raises(NotSupported):
        reader.fileno()
    reader.close()
