import pytest

from forebay.errors import ConfigurationError, NotSupported, StorageError
from forebay.stores.checked import Checked
from forebay.testing.metadata import END, MetadataStoreTests, put, rows
from forebay_memory import metadata_store_factory
from forebay_memory.metadata import MemoryMetadataStore


class TestMemoryMetadataStore(MetadataStoreTests):
    @pytest.fixture
    def store(self):
        store = MemoryMetadataStore()
        yield store
        store.close()


def test_the_hook_answers_for_its_kind_only():
    assert metadata_store_factory(kind="memory") == Checked(
        MemoryMetadataStore.from_options, MemoryMetadataStore.check
    )
    assert metadata_store_factory(kind="sqlite") is None


def test_an_unknown_option_is_refused():
    MemoryMetadataStore.from_options({"path": ""})
    with pytest.raises(ConfigurationError, match=r"'pathh'.*has none"):
        MemoryMetadataStore.from_options({"pathh": "x"})


def test_it_claims_neither_durability_nor_sharing():
    store = MemoryMetadataStore()
    assert (store.durable, store.shared_between_processes) == (False, False)


def test_a_read_within_a_function_is_refused_rather_than_waited_for():
    store = MemoryMetadataStore()
    with pytest.raises(NotSupported):
        store.read(lambda s: store.read(lambda inner: None))
    put(store, [(b"k", b"v")])
    assert rows(store) == [(b"k", b"v")]


def test_a_snapshot_is_of_no_use_after_its_function():
    store = MemoryMetadataStore()
    put(store, [(b"k", b"v")])
    kept = []
    scan = store.read(lambda s: kept.append(s) or s.scan(b"", END))
    with pytest.raises(StorageError, match="after its function"):
        kept[0].get(b"k")
    with pytest.raises(StorageError, match="after its function"):
        next(scan)
