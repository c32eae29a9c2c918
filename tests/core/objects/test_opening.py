"""Opening under stores: what is down is tried again, what is wrong is told."""

from __future__ import annotations

import threading

import pytest

from forebay.errors import ConfigurationError, Unavailable
from forebay.objects import opening
from forebay.objects.opening import Opener, UnreachableStore, first_tries, told
from forebay.streams import BytesReader
from forebay.testing.faults import Around
from forebay.types import Attributes, Capabilities
from forebay_memory.under import MemoryUnderStore

LONG = 60.0  # for a loaded machine; nothing waits for so long when all is well


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(opening, "FIRST_PAUSE", 0.01)


class Reluctant:
    """Opens at the n-th attempt, and says whether what it opened was closed."""

    def __init__(self, n=1, error=Unavailable):
        self.n, self.error, self.attempts = n, error, 0
        self.closed = threading.Event()

    def __call__(self):
        self.attempts += 1
        if self.attempts < self.n:
            raise self.error(f"attempt {self.attempts} failed")
        store = MemoryUnderStore()
        store.close = self.closed.set
        return store


def test_a_store_that_answers_is_there_after_the_first_attempt():
    opened = threading.Event()
    opener = Opener("/a", Reluctant(), opened.set)
    assert opener.wait(LONG)
    assert isinstance(opener.take(), MemoryUnderStore)
    assert opener.take() is None
    assert opened.wait(LONG)
    opener.stop()


def test_a_store_that_is_down_is_tried_until_it_is_up(caplog):
    caplog.set_level("INFO", "forebay.objects")
    opened = threading.Event()
    reluctant = Reluctant(4)
    opener = Opener("/a", reluctant, opened.set)
    assert opener.wait(LONG)
    assert first_tries([opener], LONG) == []
    assert opened.wait(LONG)
    assert reluctant.attempts == 4
    assert opener.take() is not None
    opener.stop(LONG)
    assert "the under store of /a cannot be opened: attempt 1 failed" in caplog.text
    assert "the under store of /a is open now" in caplog.text


def test_a_lasting_fault_is_the_caller_s_to_judge():
    opener = Opener("/a", Reluctant(99, ConfigurationError))
    (fault,) = first_tries([opener], LONG)
    assert told("/a", fault) == [f"mounts./a: attempt {fault.args[0].split()[1]} failed"]
    opener.stop(LONG)


def test_what_is_opened_and_not_taken_is_closed():
    reluctant = Reluctant()
    opener = Opener("/a", reluctant)
    assert opener.wait(LONG)
    assert not reluctant.closed.is_set()
    opener.stop(LONG)
    assert reluctant.closed.is_set()


def test_an_attempt_that_hangs_holds_nobody_up_and_closes_what_it_opens_late():
    hanging, reluctant = threading.Event(), Reluctant()

    def hang():
        hanging.wait(LONG)
        return reluctant()

    opener = Opener("/a", hang)
    assert first_tries([opener], 0.01) == []
    assert "does not answer yet" in opener.reason
    opener.stop()
    hanging.set()
    assert reluctant.closed.wait(LONG)


class Silent(Around):
    """A store behind a network that answers when the n-th question has come."""

    capabilities = Capabilities(shared_between_processes=True)

    def __init__(self, n):
        super().__init__(MemoryUnderStore())
        self.n, self.asked = n, 0
        self.answered = threading.Event()

    def head(self, key, /):
        self.asked += 1
        if self.asked < self.n:
            raise Unavailable("no route")
        self.answered.set()
        return self.inner.head(key)


def test_the_log_of_a_start_says_which_store_is_silent(caplog):
    caplog.set_level("INFO", "forebay.objects")
    silent, opened = Silent(3), threading.Event()
    opener = Opener("/a", lambda: silent, opened.set)
    assert opened.wait(LONG)  # it is put to use without waiting for an answer
    assert silent.answered.wait(LONG)
    opener.stop(LONG)
    assert (silent.asked, opener.silent) == (3, "")
    assert caplog.text.count("the under store of /a does not answer: no route") == 1
    assert caplog.text.count("the under store of /a answers now") == 1


def test_a_silent_store_can_be_given_up(caplog):
    silent = Silent(1_000_000)
    opener = Opener("/a", lambda: silent)
    while not opener.silent:
        assert opener.wait(LONG)
    opener.stop(LONG)
    asked = silent.asked
    assert not opener._thread.is_alive()
    assert silent.asked == asked


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.head("key"),
        lambda store: store.open("key"),
        lambda store: store.put("key", BytesReader(b""), size=0, attributes=Attributes()),
        lambda store: store.delete("key"),
        lambda store: store.list(),
    ],
)
def test_a_store_that_cannot_be_reached_says_so_in_every_call(call):
    store = UnreachableStore("no route")
    with pytest.raises(Unavailable, match="no route"):
        call(store)
    store.close()
