"""Local directories: the under store for ``file://`` and the page store ``disk``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from forebay.hookspecs import hookimpl
from forebay.stores.checked import Checked

if TYPE_CHECKING:
    from forebay.stores.pages import PageStoreFactory
    from forebay.stores.under import UnderStoreFactory


@hookimpl(trylast=True)
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Answer for ``file``."""
    if scheme != "file":
        return None
    from forebay_local.under import LocalUnderStore

    return Checked(LocalUnderStore.from_uri, LocalUnderStore.check)


@hookimpl(trylast=True)
def page_store_factory(kind: str) -> PageStoreFactory | None:
    """Answer for ``disk``."""
    if kind != "disk":
        return None
    from forebay_local.pages import DiskPageStore

    return Checked(DiskPageStore.from_options, DiskPageStore.check)


@hookimpl(trylast=True)
def factory_kinds(hook: str) -> Iterable[str]:
    """Name ``file`` and ``disk``."""
    made = {"under_store_factory": ("file",), "page_store_factory": ("disk",)}
    return made.get(hook, ())
