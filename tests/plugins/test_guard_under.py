"""The guard: the store's contract still holds behind it, and what it adds."""

import time
from dataclasses import replace

import pytest

import forebay_guard
from forebay.errors import ConfigurationError, NotFound, NotSupported, Unavailable
from forebay.events import BreakerClosed, BreakerOpened
from forebay.plugins import Plugins
from forebay.stores.checked import Checked
from forebay.streams import BytesReader
from forebay.testing.faults import Around, FailNth
from forebay.testing.under import UnderStoreTests
from forebay.types import Attributes
from forebay_guard import under as guard_module
from forebay_guard.breaker import LeftAlone
from forebay_guard.options import GuardOptions
from forebay_guard.under import GuardedStore, check, guarded
from forebay_memory.under import MemoryUnderStore


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(guard_module, "_PAUSE", 0.0001)


class TestGuarded(UnderStoreTests):
    @pytest.fixture
    def under(self):
        store = GuardedStore(MemoryUnderStore(), "memory://", GuardOptions())
        yield store
        store.close()

    def poke(self, under, key, data):
        under.inner.put(key, BytesReader(data), size=len(data), attributes=Attributes())

    def peek(self, under, key):
        try:
            with under.inner.open(key) as reader:
                return reader.read(1 << 20)
        except NotFound:
            return None


@pytest.fixture
def memory():
    store = MemoryUnderStore()
    for key in "ab":
        store.put(key, BytesReader(b"hello"), size=5, attributes=Attributes())
    return store


def put(store, key="c", body=b"body"):
    return store.put(key, BytesReader(body), size=len(body), attributes=Attributes())


CALLS = {
    "head": lambda store: store.head("a").size == 5,
    "open": lambda store: read(store, "a") == b"hello",
    "list": lambda store: [one.key for one in store.list()] == ["a", "b"],
    "delete": lambda store: store.delete("a") is None,
    "put": lambda store: put(store).size == 4,
}


def read(store, key):
    with store.open(key) as reader:
        return reader.read(100)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_repeated_until_it_succeeds(memory, name):
    failing = FailNth(memory, name, 1)
    store = GuardedStore(failing, "far://", GuardOptions(retries=2))
    assert CALLS[name](store)
    assert failing.calls == 2
    failing = FailNth(memory, name, 1, forever=True)
    store = GuardedStore(failing, "far://", GuardOptions(retries=2))
    with pytest.raises(Unavailable):
        CALLS[name](store)
    assert failing.calls == 3


@pytest.mark.parametrize("name", CALLS)
def test_another_error_is_not_repeated(memory, name):
    failing = FailNth(memory, name, 1, NotSupported)
    with pytest.raises(NotSupported):
        CALLS[name](GuardedStore(failing, "far://", GuardOptions()))
    assert failing.calls == 1


class Breaks(Around):
    """A store that breaks off after the first bytes or the first entry."""

    def put(self, key, /, body, **more):
        body.read(1)
        self.puts = getattr(self, "puts", 0) + 1
        raise Unavailable("cut")

    def list(self, prefix="", /, **more):
        self.lists = getattr(self, "lists", 0) + 1
        yield next(self.inner.list(prefix, **more))
        raise Unavailable("cut")


def test_nothing_is_repeated_once_bytes_or_entries_have_moved(memory):
    breaks = Breaks(memory)
    store = GuardedStore(breaks, "far://", GuardOptions())
    with pytest.raises(Unavailable):
        put(store)
    assert breaks.puts == 1
    listed = store.list()
    assert next(listed).key == "a"
    with pytest.raises(Unavailable):
        next(listed)
    assert breaks.lists == 1


def test_a_store_that_is_down_is_left_alone_and_reads_and_writes_apart(memory):
    failing = FailNth(memory, "head", 1, forever=True)
    options = GuardOptions(retries=0, breaker_failures=2, breaker_pause=0.05)
    store = GuardedStore(failing, "far://user:secret@host/place?x=1", options)
    events = []
    store.on_event(events.append)
    for _ in range(2):
        with pytest.raises(Unavailable):
            store.head("a")
    for call in ("head", "open", "list"):
        with pytest.raises(LeftAlone):
            CALLS[call](store)
    assert failing.calls == 2
    assert CALLS["put"](store)
    assert CALLS["delete"](store)
    store.inner = memory
    time.sleep(0.06)
    assert read(store, "b") == b"hello"
    assert events == [
        BreakerOpened("far://host/place", "reads", ""),
        BreakerClosed("far://host/place", "reads"),
    ]


def test_a_store_is_not_blamed_for_a_body_that_fails(memory):
    class Down:
        def read(self, size, /):
            raise Unavailable("another store is down")

    store = GuardedStore(memory, "far://", GuardOptions(breaker_failures=2))
    for _ in range(5):
        with pytest.raises(Unavailable, match="another store"):
            store.put("c", Down(), size=4, attributes=Attributes())
    put(store)


def test_repeating_ends_when_the_breaker_opens(memory):
    failing = FailNth(memory, "head", 1, forever=True)
    store = GuardedStore(failing, "far://", GuardOptions(retries=50, breaker_failures=3))
    with pytest.raises(Unavailable):
        store.head("a")
    assert failing.calls == 3


def test_a_read_that_breaks_off_counts(memory):
    class Cut(Around):
        def read(self, size, /):
            raise Unavailable("cut")

    class Store(Around):
        def open(self, *args, **more):
            from contextlib import contextmanager

            @contextmanager
            def opened():
                with self.inner.open(*args, **more) as reader:
                    yield Cut(reader)

            return opened()

    store = GuardedStore(Store(memory), "far://", GuardOptions(breaker_failures=1))
    with pytest.raises(Unavailable):
        read(store, "a")
    with pytest.raises(LeftAlone):
        store.head("a")


class Copies(Around):
    """A store that copies by itself."""

    def copy(self, source, target, /, *, attributes, if_match):
        with self.inner.open(source, if_match=if_match) as reader:
            return self.inner.put(target, reader, size=reader.info.size, attributes=attributes)


def test_a_copy_within_the_store_is_guarded_like_a_write(memory):
    failing = FailNth(Copies(memory), "copy", 1)
    options = GuardOptions(retries=1, breaker_failures=2)
    store = GuardedStore(failing, "far://", options)
    assert store.copy("a", "c", attributes=Attributes(), if_match=None).size == 5
    assert (failing.calls, read(memory, "c")) == (2, b"hello")
    store = GuardedStore(FailNth(Copies(memory), "copy", 1, forever=True), "far://", options)
    with pytest.raises(Unavailable):
        store.copy("a", "d", attributes=Attributes(), if_match=None)
    with pytest.raises(LeftAlone):
        put(store)
    assert read(store, "a") == b"hello"


class Parts(Around):
    """A store that takes parts, and forgets them."""

    def begin_upload(self, key, /, *, attributes):
        return "token"

    def put_part(self, key, token, number, body, /, *, size, md5):
        while body.read(2):
            pass
        return f"{token}-{number}"

    def complete_upload(self, key, token, parts, /):
        return parts

    def abort_upload(self, key, token, /):
        return token


IN_PARTS = {
    "begin_upload": (("k",), {"attributes": Attributes()}, "token"),
    "put_part": (("k", "t", 1, BytesReader(b"xyz")), {"size": 3, "md5": ""}, "t-1"),
    "complete_upload": (("k", "t", ["part"]), {}, ["part"]),
    "abort_upload": (("k", "t"), {}, "t"),
}


@pytest.mark.parametrize("name", IN_PARTS)
def test_calls_of_an_upload_are_guarded_and_a_completion_is_made_once(memory, name):
    args, options, answer = IN_PARTS[name]
    failing = FailNth(Parts(memory), name, 1)
    store = GuardedStore(failing, "far://", GuardOptions(retries=1, breaker_failures=2))
    if name == "complete_upload":
        with pytest.raises(Unavailable):
            store.complete_upload(*args)
        assert failing.calls == 1
    assert getattr(store, name)(*args, **options) == answer
    assert failing.calls == 2
    down = FailNth(Parts(memory), name, 1, forever=True)
    store = GuardedStore(down, "far://", GuardOptions(retries=0, breaker_failures=1))
    with pytest.raises(Unavailable):
        getattr(store, name)(*args, **options)
    with pytest.raises(LeftAlone):
        put(store)
    assert read(store, "a") == b"hello"


def test_a_part_of_which_something_was_read_is_not_sent_again(memory):
    class Breaks(Parts):
        calls = 0

        def put_part(self, key, token, number, body, /, **options):
            self.calls += 1
            body.read(1)
            raise Unavailable("cut off")

    store = GuardedStore(breaks := Breaks(memory), "far://", GuardOptions(retries=2))
    with pytest.raises(Unavailable):
        store.put_part("k", "t", 1, BytesReader(b"xyz"), size=3, md5="")
    assert breaks.calls == 1


def test_optional_powers_stay_the_stores_own(memory):
    store = GuardedStore(memory, "far://", GuardOptions())
    assert not hasattr(store, "copy")
    assert not hasattr(store, "put_part")
    with store.open("a") as reader, pytest.raises(NotSupported):
        reader.fileno()


def test_the_guard_takes_its_options_from_those_of_the_mount():
    seen = {}

    def factory(uri, options):
        seen.update(options)
        return MemoryUnderStore()

    store = guarded(factory, "far://", {"retries": 7, "durability": "disk"})
    assert seen == {"durability": "disk"}
    assert store._retries == 7


def test_the_guard_adds_its_own_faults_to_those_of_the_store():
    def refuse(uri, options):
        assert options == {"colour": "red"}
        raise ConfigurationError("no such colour")

    factory = Checked(lambda uri, options: MemoryUnderStore(), refuse)
    for one, faults in ((factory, ["no such colour"]), (factory.make, [])):
        with pytest.raises(ConfigurationError) as caught:
            check(one, "far://", {"retries": "x", "colour": "red"})
        told = ["options.retries: 'x' is not a number", *faults]
        assert list(caught.value.faults) == told


def test_under_store_factory_is_guarded_unless_it_is_of_this_machine():
    class Far:
        from forebay.hookspecs import hookimpl

        @hookimpl
        def under_store_factory(self, scheme):
            return (lambda uri, options: MemoryUnderStore()) if scheme == "far" else None

    plugins = Plugins(extra=[Far()])
    far = plugins.ask("under_store_factory", scheme="far")("far://", {})
    assert isinstance(far, GuardedStore)
    assert far.capabilities == replace(MemoryUnderStore.capabilities)
    near = plugins.ask("under_store_factory", scheme="memory")("memory://", {})
    assert isinstance(near, MemoryUnderStore)
    assert plugins.hooks.under_store_factory(scheme="nowhere") is None
    assert forebay_guard.under_store_factory.forebay_impl["trylast"], "the innermost layer"
