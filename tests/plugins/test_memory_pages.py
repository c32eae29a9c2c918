import pytest

from forebay.errors import ConfigurationError, StorageError
from forebay.stores.checked import Checked
from forebay.testing.pages import PageStoreTests, put
from forebay.types import PageId
from forebay_memory import page_store_factory
from forebay_memory.pages import MemoryPageStore


class TestMemoryPageStore(PageStoreTests):
    @pytest.fixture
    def pages(self):
        store = MemoryPageStore()
        yield store
        store.close()


def test_the_hook_answers_for_its_kind_only():
    assert page_store_factory(kind="memory") == Checked(
        MemoryPageStore.from_options, MemoryPageStore.check
    )
    assert page_store_factory(kind="disk") is None


def test_an_unknown_option_is_refused_and_the_tiers_own_are_not():
    MemoryPageStore.from_options({"name": "MEM", "capacity": 1 << 20, "path": ""})
    with pytest.raises(ConfigurationError, match="'verify'"):
        MemoryPageStore.from_options({"verify": "always"})


def test_it_has_no_descriptor_and_claims_nothing():
    store = MemoryPageStore()
    put(store, PageId("s"), b"abc")
    assert store.open(PageId("s")).fileno() is None
    assert (store.durable, store.shared_between_processes) == (False, False)


def test_pages_come_in_the_order_of_last_use():
    store = MemoryPageStore()
    for name in "abc":
        put(store, PageId(name), b"x")
    store.open(PageId("a")).close()
    assert [page.segment for page, _ in store.pages()] == ["b", "c", "a"]


def test_a_writer_is_of_no_use_after_its_end():
    store = MemoryPageStore()
    writer = store.writer(PageId("s"), None)
    writer.abort()
    with pytest.raises(StorageError, match="ended already"):
        writer.write(b"x")
    with pytest.raises(StorageError, match="ended already"):
        writer.commit(sync=False)
