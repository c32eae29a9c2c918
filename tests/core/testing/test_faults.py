"""The faults fail when they say so, and at no other time."""

from __future__ import annotations

import pytest

from forebay.errors import NotFound, Unavailable
from forebay.streams import BytesReader
from forebay.testing.faults import FailingUnderStore, FailNth
from forebay.types import Attributes
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
