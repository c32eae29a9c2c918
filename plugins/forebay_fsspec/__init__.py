"""Every protocol of fsspec as an under store: ``fsspec+sftp://…``, ``s3://…``, ``https://…``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from forebay.hookspecs import hookimpl
from forebay.stores.checked import Checked

if TYPE_CHECKING:
    from forebay.stores.under import UnderStoreFactory


@hookimpl(trylast=True)
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Answer for ``fsspec+protocol``, and for protocols of the table that no other knows."""
    from forebay_fsspec.opening import answers, check, open_store

    return Checked(open_store, check) if answers(scheme) else None


@hookimpl(trylast=True)
def factory_kinds(hook: str) -> Iterable[str]:
    """Name the protocols of the table, and how all others are written."""
    from forebay_fsspec.protocols import BY_NAME

    named = (name for name, row in BY_NAME.items() if row.bare)
    return (*named, "fsspec+protocol") if hook == "under_store_factory" else ()
