"""The hooks: everything a plugin can add or decide, and the table of contents of the product.

Hooks wire and decide; they never carry bytes. Where it says *first answer wins*, Forebay's
own plugins answer last, so any installed plugin outranks them by existing. A layer around
another plugin's answer is a ``wrapper=True`` implementation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click
    import falcon

    from forebay.config import MountConfig
    from forebay.events import Event
    from forebay.runtime import Forebay
    from forebay.stores.credentials import CredentialStoreFactory
    from forebay.stores.eviction import EvictionPolicyFactory
    from forebay.stores.metadata import MetadataStoreFactory
    from forebay.stores.pages import PageStoreFactory
    from forebay.stores.under import UnderStoreFactory
    from forebay.types import DeleteType, Identity, WriteType

hookspec = pluggy.HookspecMarker("forebay")
hookimpl = pluggy.HookimplMarker("forebay")


# --- what makes the stores: asked once, at start, first answer wins -----------------


@hookspec(firstresult=True)
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Give the factory of under stores for URIs of `scheme`; must not connect here."""


@hookspec(firstresult=True)
def page_store_factory(kind: str) -> PageStoreFactory | None:
    """Give the factory of page stores of `kind` (``disk``, ``memory``)."""


@hookspec(firstresult=True)
def eviction_policy_factory(kind: str) -> EvictionPolicyFactory | None:
    """Give the factory of eviction policies of `kind` (``lru``, ``s3fifo``, ...)."""


@hookspec(firstresult=True)
def metadata_store_factory(kind: str) -> MetadataStoreFactory | None:
    """Give the factory of metadata stores of `kind` (``sqlite``, ``memory``)."""


@hookspec(firstresult=True)
def credential_store_factory(kind: str) -> CredentialStoreFactory | None:
    """Give the factory of credential stores of `kind` (``static``)."""


@hookspec
def factory_kinds(hook: str) -> Iterable[str] | None:
    """Name the schemes or kinds that the plugin's own `hook` answers for; read by people only."""


# --- decisions: asked once a request, first answer wins -----------------------------


@hookspec(firstresult=True)
def write_type(
    mount: MountConfig, key: str, size: int | None, requested: WriteType | None
) -> WriteType | None:
    """Choose the write type of one write.

    `requested` is what the client asked for by ``x-forebay-write-type`` on a mount that
    allows it, else None. `size` is None when the body's length is not announced.
    """


@hookspec(firstresult=True)
def delete_type(mount: MountConfig, key: str, requested: DeleteType | None) -> DeleteType | None:
    """Choose the delete type of one delete; `requested` as for `write_type`."""


@hookspec(firstresult=True)
def authorize(identity: Identity, action: str, bucket: str | None, key: str | None) -> bool | None:
    """Allow (True), deny (False) or pass on (None) an S3 action; if all pass, it is denied.

    `action` is the S3 operation's name. Ownership is looked at behind this hook.
    """


# --- what the product answers beside S3: everyone is called --------------------------


@hookspec
def register_routes(app: falcon.App[falcon.Request, falcon.Response], forebay: Forebay) -> None:
    """Add routes or sinks below ``/-/`` to the application of a worker process."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Add commands to ``forebay``; asked by the command line, where no Forebay is open."""


# --- life and news: everyone is called ----------------------------------------------


@hookspec
def startup(forebay: Forebay) -> None:
    """Run after recovery and before the first request, in every worker process."""


@hookspec
def shutdown(forebay: Forebay) -> None:
    """Run after the last request of a worker process."""


@hookspec
def track_event(event: Event) -> None:
    """Take note of something that is committed already; may never raise into a request."""
