"""The catalog in one SQLite file: metadata store ``sqlite``, the default."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.hookspecs import hookimpl
from forebay.stores.checked import Checked
from forebay.stores.metadata import MetadataStoreFactory


@hookimpl(trylast=True)
def metadata_store_factory(kind: str) -> MetadataStoreFactory | None:
    """Answer for ``sqlite``."""
    if kind != "sqlite":
        return None
    from forebay_sqlite.metadata import SqliteMetadataStore

    return Checked(SqliteMetadataStore.from_options, SqliteMetadataStore.check)


@hookimpl(trylast=True)
def factory_kinds(hook: str) -> Iterable[str]:
    """Name ``sqlite``."""
    return ("sqlite",) if hook == "metadata_store_factory" else ()
