"""Who stands behind an access key: credential store ``static``."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.hookspecs import hookimpl
from forebay.stores.credentials import CredentialStoreFactory


@hookimpl(trylast=True)
def credential_store_factory(kind: str) -> CredentialStoreFactory | None:
    """Answer for ``static``."""
    if kind != "static":
        return None
    from forebay_credentials.static import StaticCredentialStore

    return StaticCredentialStore.from_options


@hookimpl(trylast=True)
def factory_kinds(hook: str) -> Iterable[str]:
    """Name ``static``."""
    return ("static",) if hook == "credential_store_factory" else ()
