"""The memory under store: the kit, and what is its own."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime

import pytest

from forebay.errors import ConfigurationError
from forebay.testing.under import UnderStoreTests
from forebay.testing.under_kit import names, put
from forebay.types import CommonPrefix, ObjectInfo
from forebay_memory.under import MemoryUnderStore, _Object


class TestMemoryUnderStore(UnderStoreTests):
    @pytest.fixture
    def under(self):
        store = MemoryUnderStore.from_uri("memory://", {"durability": "disk"})
        yield store
        store.close()

    def poke(self, under, key, content):
        etag = hashlib.md5(content).hexdigest()
        info = ObjectInfo(key, len(content), datetime.now(UTC), f"poked-{etag}", etag)
        under._objects[key] = _Object(info, content)
        under._keys[:] = sorted(under._objects)

    def peek(self, under, key):
        found = under._objects.get(key)
        return None if found is None else found.content

    def opening(self, under):
        return MemoryUnderStore.from_uri, ("memory://", {})

    def steps(self, under, call):
        looked = []

        class Watched(dict):
            def __getitem__(self, key):
                looked.append(key)
                return super().__getitem__(key)

        under._objects = Watched(under._objects)
        call()
        return len(looked)

    many = 600


@pytest.mark.parametrize("uri", ["file:///x", "memory", "mem://"])
def test_another_uri_is_refused(uri):
    with pytest.raises(ConfigurationError, match="memory://"):
        MemoryUnderStore.from_uri(uri, {})


def test_unknown_option_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match=r"'durabilty'.*nearest: 'durability'"):
        MemoryUnderStore.from_uri("memory://", {"durabilty": "disk"})


def test_versions_of_two_lives_differ():
    first, second = MemoryUnderStore(), MemoryUnderStore()
    assert put(first, "k", b"x").fingerprint != put(second, "k", b"x").fingerprint


def test_rolled_up_listing_reads_one_key_a_prefix():
    store = MemoryUnderStore()
    for n in range(5000):
        put(store, f"a/{n}", b"")
    put(store, "b\U0010ffff\U0010ffffc", b"")
    put(store, "\U0010ffffd", b"")
    looked = []

    class Watched(dict):
        def __getitem__(self, key):
            looked.append(key)
            return super().__getitem__(key)

    store._objects = Watched(store._objects)
    listed = list(store.list(delimiter="/"))
    assert listed[0] == CommonPrefix("a/")
    assert names(listed) == ["a/", "b\U0010ffff\U0010ffffc", "\U0010ffffd"]
    assert len(looked) < 1000
    assert names(store.list(delimiter="\U0010ffff")) == [
        "a/" + n for n in sorted(map(str, range(5000)))
    ] + ["b\U0010ffff", "\U0010ffff"]


def test_listing_while_another_thread_writes():
    store = MemoryUnderStore()
    for n in range(2000):
        put(store, f"stable/{n:05}", b"")
    stop = threading.Event()

    def churn():
        n = 0
        while not stop.is_set():
            n += 1
            put(store, f"stable/{n % 2000:05}x", b"")
            store.delete(f"stable/{(n * 7) % 2000:05}x")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(5):
            seen = [key for key in names(store.list("stable/")) if not key.endswith("x")]
            assert seen == [f"stable/{n:05}" for n in range(2000)]
    finally:
        stop.set()
        thread.join()
