"""Object stores through the ``obstore`` package: S3, Google Cloud Storage and Azure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from forebay.hookspecs import hookimpl
from forebay.stores.checked import Checked

if TYPE_CHECKING:
    from forebay.stores.under import UnderStoreFactory


@hookimpl(trylast=True)
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Answer for ``s3``, ``gs``, ``az`` and their other names."""
    from forebay_obstore.uri import PROVIDERS

    if scheme not in PROVIDERS:
        return None
    from forebay_obstore.opening import check, open_store

    return Checked(open_store, check)


@hookimpl(trylast=True)
def factory_kinds(hook: str) -> Iterable[str]:
    """Name the schemes of all providers."""
    from forebay_obstore.uri import PROVIDERS

    return PROVIDERS if hook == "under_store_factory" else ()
