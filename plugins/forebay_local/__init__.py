"""Local directories: the under store for ``file://`` and the page store ``disk``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.hookspecs import hookimpl

if TYPE_CHECKING:
    from forebay.stores.pages import PageStoreFactory
    from forebay.stores.under import UnderStoreFactory


@hookimpl(trylast=True)
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Answer for ``file``."""
    if scheme != "file":
        return None
    from forebay_local.under import LocalUnderStore

    return LocalUnderStore.from_uri


@hookimpl(trylast=True)
def page_store_factory(kind: str) -> PageStoreFactory | None:
    """Answer for ``disk``."""
    if kind != "disk":
        return None
    from forebay_local.pages import DiskPageStore

    return DiskPageStore.from_options
