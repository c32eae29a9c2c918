"""Stores that live and die with one process: for tests, trials and what may be lost."""

from __future__ import annotations

from forebay.hookspecs import hookimpl
from forebay.stores.metadata import MetadataStoreFactory
from forebay.stores.pages import PageStoreFactory
from forebay.stores.under import UnderStoreFactory


@hookimpl(trylast=True)
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Answer for ``memory://``."""
    if scheme != "memory":
        return None
    from forebay_memory.under import MemoryUnderStore

    return MemoryUnderStore.from_uri


@hookimpl(trylast=True)
def page_store_factory(kind: str) -> PageStoreFactory | None:
    """Answer for ``memory``."""
    if kind != "memory":
        return None
    from forebay_memory.pages import MemoryPageStore

    return MemoryPageStore.from_options


@hookimpl(trylast=True)
def metadata_store_factory(kind: str) -> MetadataStoreFactory | None:
    """Answer for ``memory``."""
    if kind != "memory":
        return None
    from forebay_memory.metadata import MemoryMetadataStore

    return MemoryMetadataStore.from_options
