"""Stores that live and die with one process: for tests, trials and what may be lost."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.hookspecs import hookimpl
from forebay.stores.checked import Checked
from forebay.stores.metadata import MetadataStoreFactory
from forebay.stores.pages import PageStoreFactory
from forebay.stores.under import UnderStoreFactory


@hookimpl(trylast=True)
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Answer for ``memory://``."""
    if scheme != "memory":
        return None
    from forebay_memory.under import MemoryUnderStore

    return Checked(MemoryUnderStore.from_uri, MemoryUnderStore.check)


@hookimpl(trylast=True)
def page_store_factory(kind: str) -> PageStoreFactory | None:
    """Answer for ``memory``."""
    if kind != "memory":
        return None
    from forebay_memory.pages import MemoryPageStore

    return Checked(MemoryPageStore.from_options, MemoryPageStore.check)


@hookimpl(trylast=True)
def metadata_store_factory(kind: str) -> MetadataStoreFactory | None:
    """Answer for ``memory``."""
    if kind != "memory":
        return None
    from forebay_memory.metadata import MemoryMetadataStore

    return Checked(MemoryMetadataStore.from_options, MemoryMetadataStore.check)


@hookimpl(trylast=True)
def factory_kinds(hook: str) -> Iterable[str]:
    """Name ``memory``, which is all that it makes of each."""
    made = ("under_store_factory", "page_store_factory", "metadata_store_factory")
    return ("memory",) if hook in made else ()
