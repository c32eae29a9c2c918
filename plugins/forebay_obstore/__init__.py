"""Object stores through the ``obstore`` package: S3, Google Cloud Storage and Azure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.hookspecs import hookimpl

if TYPE_CHECKING:
    from forebay.stores.under import UnderStoreFactory


@hookimpl(trylast=True)
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Answer for ``s3``, ``gs``, ``az`` and their other names."""
    from forebay_obstore.uri import PROVIDERS

    if scheme not in PROVIDERS:
        return None
    from forebay_obstore.opening import open_store

    return open_store
