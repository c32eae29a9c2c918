"""The catalog in one SQLite file: metadata store ``sqlite``, the default."""

from __future__ import annotations

from forebay.hookspecs import hookimpl
from forebay.stores.metadata import MetadataStoreFactory


@hookimpl(trylast=True)
def metadata_store_factory(kind: str) -> MetadataStoreFactory | None:
    """Answer for ``sqlite``."""
    if kind != "sqlite":
        return None
    from forebay_sqlite.metadata import SqliteMetadataStore

    return SqliteMetadataStore.from_options
