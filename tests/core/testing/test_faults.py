"""The faults fail when they say so, and at no other time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from forebay.errors import NoSpace, NotFound, Unavailable
from forebay.streams import BytesReader
from forebay.testing.faults import (
    CRASH,
    FailingUnderStore,
    FailNth,
    FullPageStore,
    HangingUnderStore,
    SlowUnderStore,
)
from forebay.types import Attributes, PageId
from forebay_memory.pages import MemoryPageStore
from forebay_memory.under import MemoryUnderStore


@pytest.fixture
def store():
    store = MemoryUnderStore.from_uri("memory://", {})
    yield store
    store.close()


def put(store, content=b"x" * 100):
    return store.put("k", BytesReader(content), size=len(content), attributes=Attributes())


@pytest.mark.parametrize(("forever", "failed"), [(False, [2]), (True, [2, 3, 4])])
def test_the_nth_call_fails(store, forever, failed):
    failing = FailNth(store, "delete", 2, forever=forever)
    seen = []
    for number in range(1, 5):
        try:
            failing.delete("k")
        except Unavailable:
            seen.append(number)
    assert (failed, 4) == (seen, failing.calls)


@pytest.mark.parametrize(("at", "visible"), [("start", False), ("middle", False), ("end", True)])
def test_a_put_fails_at_its_moment_and_heals(store, at, visible):
    failing = FailingUnderStore(store, at)
    with pytest.raises(Unavailable):
        put(failing)
    if visible:
        assert store.head("k").size == 100
    else:
        with pytest.raises(NotFound):
            store.head("k")
    failing.at = None
    assert put(failing).size == 100


@pytest.mark.parametrize(("at", "visible"), [("start", False), ("middle", False), ("end", True)])
def test_one_put_waits_at_its_moment_and_goes_on(store, at, visible):
    release = threading.Event()
    hanging = HangingUnderStore(store, release, at)
    writer = threading.Thread(target=put, args=(hanging,))
    writer.start()
    assert hanging.entered.wait(10)
    assert [info.size for info in store.list()] == ([100] if visible else [])
    release.set()
    writer.join()
    assert store.head("k").size == 100
    assert put(hanging, b"again").size == 5


def test_a_slow_store_takes_its_time_and_gives_the_same(store):
    slow = SlowUnderStore(store, 0.02)
    began = time.monotonic()
    assert put(slow).size == slow.head("k").size == 100
    assert time.monotonic() - began >= 0.04
    assert slow.capabilities is store.capabilities


def test_a_full_shelf_has_room_again_when_it_is_not_full():
    pages = FullPageStore(MemoryPageStore(), full=True)
    with pytest.raises(NoSpace):
        pages.writer(PageId("s"), 1)
    pages.full = False
    writer = pages.writer(PageId("s"), 1)
    writer.write(b"x")
    writer.commit(sync=False)
    assert pages.open(PageId("s")).pread(9, 0) == b"x"


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("under.put.before.1", ["begun"]),
        ("under.put.middle.1", ["begun", "read"]),
        ("under.put.after.1", ["begun", "read"]),
        ("under.put.before.2", ["begun", "read", "put"]),
        ("under.delete.after.1", ["begun", "read", "put", "read", "put"]),
        ("under.delete.after.2", ["begun", "read", "put", "read", "put", "deleted"]),
        ("pages.put.before.1", ["begun", "read", "put", "read", "put", "deleted"]),
    ],
)
def test_a_process_dies_at_the_point_that_is_named(point, said):
    program = """
from forebay.testing.faults import CrashPoint
class Store:
    def put(self, key, body):
        body.read(1)
        print("read", flush=True)
        body.read(1)
    def delete(self, key):
        pass
class Body:
    left = b"x"
    def read(self, size):
        block, self.left = self.left, b""
        return block
print("begun", flush=True)
store = CrashPoint(Store(), "under")
for _ in range(2):
    store.put("k", Body())
    print("put", flush=True)
store.delete("k")
print("deleted", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, CRASH: point, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    survives = point in ("under.delete.after.2", "pages.put.before.1")
    assert done.returncode == (0 if survives else -signal.SIGKILL), done.stderr
    assert done.stdout.split() == said
