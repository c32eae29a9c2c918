import itertools

import pytest

from forebay.testing.metadata import END, put
from forebay_sqlite.metadata import SqliteMetadataStore
from forebay_sqlite.transactions import CHUNK

KEYS = [b"%04d" % each for each in range(1000)]


@pytest.fixture
def store(tmp_path):
    store = SqliteMetadataStore(tmp_path / "catalog.db")
    put(store, [(key, b"v") for key in KEYS])
    yield store
    store.close()


def traced(store, fn):
    """Run a function in a transaction; give its answer and the SELECTs it cost."""
    seen = []
    store._writer.connection.set_trace_callback(seen.append)
    try:
        answer = store.write(fn)
    finally:
        store._writer.connection.set_trace_callback(None)
    return answer, [each for each in seen if each.startswith("SELECT")]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_look_at_one_row_fetches_one(store, reverse):
    first, selects = traced(store, lambda t: next(t.scan(b"", END, reverse=reverse)))
    assert first == (KEYS[-reverse], b"v")
    assert len(selects) == 1
    assert selects[0].endswith("LIMIT 1")


@pytest.mark.parametrize("reverse", [False, True])
def test_a_long_scan_fetches_growing_chunks(store, reverse):
    found, selects = traced(store, lambda t: [k for k, _ in t.scan(b"", END, reverse=reverse)])
    assert found == (KEYS[::-1] if reverse else KEYS)
    limits = [int(each.rpartition(" ")[2]) for each in selects]
    assert limits == [1, 4, 16, 64, CHUNK, CHUNK, CHUNK, CHUNK]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_sees_what_changed_ahead_of_it(store, reverse):
    ahead = (KEYS[::-1] if reverse else KEYS)[50:53]

    def walk(transaction):
        seen = []
        for number, row in enumerate(transaction.scan(b"", END, reverse=reverse)):
            seen.append(row)
            if number == 40:
                transaction.delete(ahead[0])
                transaction.put(ahead[1], b"changed")
                transaction.put(ahead[1] + b"+", b"new")
        return seen

    seen = store.write(walk)
    assert len(seen) == 1000
    assert (ahead[1], b"changed") in seen
    assert (ahead[1] + b"+", b"new") in seen
    assert ahead[0] not in [key for key, _ in seen]


def test_scans_that_are_dropped_leave_nothing_open(store):
    def skip(snapshot):
        for key in itertools.islice(KEYS, 300):
            next(snapshot.scan(key, END))
        return sum(reference() is not None for reference in snapshot._scans)

    assert store.read(skip) == 0


def test_a_scan_that_is_kept_does_not_keep_the_snapshot(store):
    kept = []
    store.read(lambda s: kept.append(s.scan(b"", END)) or next(kept[0]))
    put(store, [(b"new", b"v")])
    assert store.read(lambda s: s.get(b"new")) == b"v"
    busy, *_ = store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
