"""Every protocol of fsspec as an under store: ``fsspec+sftp://…``, ``s3://…``, ``https://…``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forebay.hookspecs import hookimpl

if TYPE_CHECKING:
    from forebay.stores.under import UnderStoreFactory


@hookimpl(trylast=True)
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Answer for ``fsspec+protocol``, and for protocols of the table that no other knows."""
    from forebay_fsspec.opening import answers, open_store

    return open_store if answers(scheme) else None
