import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from forebay.errors import ConfigurationError, NoSpace, StorageError
from forebay.stores.checked import Checked
from forebay.testing.metadata import END, MetadataStoreTests, put, rows, together
from forebay_sqlite import metadata, metadata_store_factory
from forebay_sqlite.metadata import SqliteMetadataStore

COUNT = """
import os, sys, time
from pathlib import Path
from forebay_sqlite.metadata import SqliteMetadataStore

path, name, durable, seconds = sys.argv[1:]
store = SqliteMetadataStore(Path(path))
mine = name.encode()

def count(transaction):
    total = int(transaction.get(b"total") or b"0") + 1
    own = int(transaction.get(mine) or b"0") + 1
    transaction.put(b"total", b"%d" % total)
    transaction.put(mine, b"%d" % own)
    return own

print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    sys.stdout.write("%d\\n" % store.write(count, durable=durable == "durable"))
    sys.stdout.flush()
store.close()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "catalog.db"


@pytest.fixture
def open_store(path):
    opened = []

    def open_store():
        opened.append(SqliteMetadataStore(path))
        return opened[-1]

    yield open_store
    for store in opened:
        if not store._closed:
            store.close()


@pytest.fixture
def store(open_store):
    return open_store()


class TestSqliteMetadataStore(MetadataStoreTests):
    @pytest.fixture
    def store(self, store):
        return store

    @pytest.fixture
    def reopen(self, open_store):
        return open_store

    @pytest.fixture
    def opening(self, path):
        return SqliteMetadataStore, (path,)


@contextmanager
def held_commit(store):
    """Keep a write transaction of `store` open in another thread."""
    inside, go_on = threading.Event(), threading.Event()

    def hold(transaction):
        transaction.put(b"held", b"v")
        inside.set()
        assert go_on.wait(30)

    holder = threading.Thread(target=store.write, args=(hold,))
    holder.start()
    assert inside.wait(30)
    try:
        yield
    finally:
        go_on.set()
        holder.join()


def queue_up(store, functions):
    """Begin writes in a thread each while a commit is held, and wait until all of them queue."""
    threads = [threading.Thread(target=each) for each in functions]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(store._queue) < len(threads):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return threads


def statements(store):
    seen = []
    store._writer.connection.set_trace_callback(seen.append)
    return seen


# --- what it says and takes ----------------------------------------------------------------


def test_the_hook_answers_for_its_kind_only():
    assert metadata_store_factory(kind="sqlite") == Checked(
        SqliteMetadataStore.from_options, SqliteMetadataStore.check
    )
    assert metadata_store_factory(kind="memory") is None


def test_options(path):
    store = SqliteMetadataStore.from_options({"path": str(path), "busy_timeout": 2})
    assert path.exists()
    assert store.shared_between_processes
    store.close()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "`path` must name"),
        ({"path": ""}, "`path` must name"),
        ({"path": 7}, "`path` must name"),
        ({"path": "x", "busy_timout": 1}, "unknown option 'busy_timout'.*'busy_timeout'"),
        ({"path": "x", "busy_timeout": "1s"}, "number of seconds"),
        ({"path": "x", "busy_timeout": -1}, "number of seconds"),
    ],
)
def test_wrong_options_are_refused(options, fault):
    with pytest.raises(ConfigurationError, match=fault):
        SqliteMetadataStore.from_options(options)


def test_durable_means_a_synced_commit_and_undurable_does_not(store):
    seen = statements(store)
    put(store, [(b"a", b"1")])
    store.write(lambda t: t.put(b"b", b"2"), durable=False)
    store.write(lambda t: t.put(b"c", b"3"), durable=False)
    put(store, [(b"d", b"4")])
    assert [each for each in seen if "synchronous" in each] == [
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        "PRAGMA synchronous = FULL",
    ]


# --- reading beside writing ----------------------------------------------------------------


def test_reads_go_on_while_a_write_holds(store):
    put(store, [(b"k", b"v")])
    with held_commit(store):
        assert rows(store) == [(b"k", b"v")]
        found = []
        together([lambda: found.append(rows(store))] * 4)
        assert found == [[(b"k", b"v")]] * 4
    assert rows(store) == [(b"held", b"v"), (b"k", b"v")]


def test_reads_may_be_nested(store):
    put(store, [(b"k", b"v")])
    assert store.read(lambda s: store.read(lambda t: t.get(b"k"))) == b"v"


def test_connections_are_used_again(store):
    for _ in range(3):
        rows(store)
        with pytest.raises(LookupError):
            store.read(lambda s: {}[b"missing"])
    assert (len(store._idle), store._readers) == (1, 1)


def test_a_snapshot_is_of_no_use_after_its_function(store):
    put(store, [(b"k", b"v")])
    kept = []
    store.read(kept.append)
    store.write(kept.append)
    for snapshot in kept:
        with pytest.raises(StorageError, match="after its function"):
            snapshot.get(b"k")
        with pytest.raises(StorageError, match="after its function"):
            next(snapshot.scan(b"", END))


# --- group commit --------------------------------------------------------------------------


def test_writes_that_wait_share_one_commit(store):
    with held_commit(store):
        seen = statements(store)
        threads = queue_up(
            store, [lambda n=n: put(store, [(b"%02d" % n, b"v")]) for n in range(10)]
        )
    for thread in threads:
        thread.join()
    assert seen.count("COMMIT") == 2
    assert len(rows(store)) == 11


def test_one_durable_write_makes_the_shared_commit_durable(store):
    store.write(lambda t: None, durable=False)
    with held_commit(store):
        store._durably = False
        seen = statements(store)
        threads = queue_up(
            store,
            [
                lambda n=n: store.write(lambda t: t.put(b"%d" % n, b"v"), durable=n == 3)
                for n in range(5)
            ],
        )
    for thread in threads:
        thread.join()
    assert seen.index("PRAGMA synchronous = FULL") < seen.index("BEGIN IMMEDIATE")
    assert seen.count("BEGIN IMMEDIATE") == 1


def test_a_failed_commit_fails_everybody_who_shared_it(store):
    def deny(action, first, *_):
        wrong = action == sqlite3.SQLITE_TRANSACTION and first == "COMMIT"
        return sqlite3.SQLITE_DENY if wrong else sqlite3.SQLITE_OK

    errors = []

    def write(number):
        def fn(transaction):
            transaction.put(b"%d" % number, b"v")
            if number == 2:
                raise LookupError("its own")

        try:
            store.write(fn)
        except (StorageError, LookupError) as error:
            errors.append(error)

    with held_commit(store):
        threads = queue_up(store, [lambda n=n: write(n) for n in range(4)])
        store._writer.connection.set_authorizer(deny)
        # The held commit fails too: its thread ends with the StorageError it is due.
        hook, threading.excepthook = (
            threading.excepthook,
            lambda args: errors.append(args.exc_value),
        )
    for thread in threads:
        thread.join()
    threading.excepthook = hook
    store._writer.connection.set_authorizer(None)
    assert (
        sorted(type(error).__name__ for error in errors) == ["LookupError"] + ["StorageError"] * 4
    )
    assert len({id(error) for error in errors}) == 5
    assert rows(store) == []
    put(store, [(b"k", b"still working")])
    assert rows(store) == [(b"k", b"still working")]


def test_an_interrupted_function_takes_nobody_along(store):
    def interrupted(transaction):
        transaction.put(b"k", b"v")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(interrupted)
    assert rows(store) == []
    put(store, [(b"k", b"still working")])
    assert rows(store) == [(b"k", b"still working")]


def test_a_function_that_swallows_an_error_cannot_hide_a_lost_transaction(store):
    def fn(transaction):
        transaction.put(b"k", b"v")
        store._writer.connection.rollback()  # what SQLite does by itself on a failing disk

    with pytest.raises(StorageError):
        store.write(fn)
    put(store, [(b"l", b"still working")])
    assert rows(store) == [(b"l", b"still working")]


# --- a bad day -----------------------------------------------------------------------------


def test_a_full_disk_is_no_space_and_reads_go_on(store):
    put(store, [(b"k", b"v")])
    store._writer.execute("PRAGMA max_page_count = 8").fetchall()
    with pytest.raises(NoSpace, match="full"):
        put(store, [(b"big", b"x" * (1 << 16))])
    assert rows(store) == [(b"k", b"v")]
    put(store, [(b"small", b"v")])
    assert len(rows(store)) == 2


FAILING_DISK = """
import resource, sys
from pathlib import Path
from forebay.errors import StorageError
from forebay_sqlite.metadata import SqliteMetadataStore

store = SqliteMetadataStore(Path(sys.argv[1]))
store.write(lambda t: t.put(b"k", b"v"))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for attempt in range(3):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        store.write(lambda t: t.put(b"lost", b"x" * 9000))
    except StorageError as error:
        assert "kernel's log" in str(error), error
    else:
        sys.exit("a write that did not reach the disk was acknowledged")
    assert store._unsynced is not None
    assert store.read(lambda s: s.get(b"k")) == b"v"
    assert store.read(lambda s: s.get(b"lost")) is None
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store.write(lambda t: t.put(b"%d" % attempt, b"v"))
    assert store._unsynced is None
store.close()
"""


def test_after_a_failed_commit_the_log_begins_anew(path, open_store):
    subprocess.run([sys.executable, "-c", FAILING_DISK, str(path)], check=True, timeout=60)
    assert [key for key, _ in rows(open_store())] == [b"0", b"1", b"2", b"k"]


def test_the_log_stays_bounded_while_somebody_always_reads(store, path, monkeypatch):
    monkeypatch.setattr(metadata, "WAL_LIMIT", 1 << 18)
    monkeypatch.setattr(metadata, "WAL_LOOK", 1)
    put(store, [(b"k", b"v")])
    done = threading.Event()

    def reading():
        while not done.is_set():
            store.read(lambda s: (s.get(b"k"), time.sleep(0.002)))

    readers = [threading.Thread(target=reading) for _ in range(3)]
    for reader in readers:
        reader.start()
    sizes = []
    for number in range(150):
        put(store, [(b"%d" % number, os.urandom(1 << 14))])
        sizes.append(os.stat(f"{path}-wal").st_size)
    done.set()
    for reader in readers:
        reader.join()
    assert max(sizes) < 1 << 20
    assert len(rows(store)) == 151


# --- life ----------------------------------------------------------------------------------


def test_close_waits_for_running_calls(store):
    inside, order = threading.Event(), []

    def slow_read(snapshot):
        inside.set()
        time.sleep(0.1)
        order.append("read")
        return snapshot.get(b"k")

    reader = threading.Thread(target=store.read, args=(slow_read,))
    reader.start()
    inside.wait()
    with held_commit(store):
        closer = threading.Thread(target=lambda: (store.close(), order.append("closed")))
        closer.start()
        closer.join(0.2)
        assert closer.is_alive()
        order.append("write")
    closer.join()
    reader.join()
    assert order[-1] == "closed"
    assert sorted(order) == ["closed", "read", "write"]


def test_nothing_works_after_close(store, path):
    store.close()
    for call in (lambda: rows(store), lambda: put(store, []), store.close):
        with pytest.raises(StorageError, match="closed"):
            call()
    assert not os.path.exists(f"{path}-wal")


def test_a_store_from_before_a_fork_is_refused(store):
    put(store, [(b"k", b"v")])
    child = os.fork()
    if not child:
        refused = 0
        for call in (lambda: rows(store), lambda: put(store, []), store.close):
            try:
                call()
            except StorageError as error:
                refused += "fork" in str(error)
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert rows(store) == [(b"k", b"v")]


# --- several processes ---------------------------------------------------------------------


@contextmanager
def counting(path, names, durable, seconds):
    """Run a counting process a name; all begin at one moment."""
    children = {}
    try:
        for name in names:
            children[name] = subprocess.Popen(
                [sys.executable, "-c", COUNT, str(path), name, durable, str(seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        for child in children.values():
            assert child.stdout.readline() == "ready\n"
        for child in children.values():
            child.stdin.write("go\n")
            child.stdin.flush()
        yield children
    finally:
        for child in children.values():
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


@pytest.mark.parametrize("durable", ["durable", "undurable"])
def test_processes_lose_no_update_and_take_turns(path, open_store, durable):
    with counting(path, ["a", "b", "c"], durable, 0.8) as children:
        acknowledged = {
            name: int(child.communicate(timeout=60)[0].splitlines()[-1])
            for name, child in children.items()
        }
        assert [child.returncode for child in children.values()] == [0, 0, 0]
    found = {key.decode(): int(value) for key, value in rows(open_store())}
    assert found == {**acknowledged, "total": sum(acknowledged.values())}
    assert min(acknowledged.values()) * 10 >= max(acknowledged.values()), acknowledged


def test_a_killed_writer_loses_nothing_that_it_acknowledged(path, open_store):
    with counting(path, ["a", "b"], "durable", 5) as children:
        lines = [children["a"].stdout.readline() for _ in range(30)]
        children["a"].send_signal(signal.SIGKILL)
        lines += children["a"].stdout.read().splitlines()
        last = int([line for line in lines if line.strip().isdigit()][-1])
        beside = [int(children["b"].stdout.readline()) for _ in range(60)]
        children["b"].kill()
    found = {key: int(value) for key, value in rows(open_store())}
    assert found[b"a"] in (last, last + 1)
    assert found[b"b"] >= beside[-1]
    assert found[b"total"] == found[b"a"] + found[b"b"]
