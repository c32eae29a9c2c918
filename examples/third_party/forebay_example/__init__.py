"""What the package adds to Forebay: an under store, an eviction policy and a decision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from forebay.hookspecs import hookimpl
from forebay.stores.checked import Checked
from forebay.types import WriteType
from forebay_example.eviction import ClockPolicy
from forebay_example.under import SqliteUnderStore, check_options

if TYPE_CHECKING:
    from forebay.config import MountConfig
    from forebay.stores.eviction import EvictionPolicyFactory
    from forebay.stores.under import UnderStoreFactory

LARGE = 8 << 20
"""Bytes from which on an object would push too much else out of the cache."""


@hookimpl
def under_store_factory(scheme: str) -> UnderStoreFactory | None:
    """Answer for ``sqlite``."""
    return Checked(SqliteUnderStore.from_uri, check_options) if scheme == "sqlite" else None


@hookimpl
def eviction_policy_factory(kind: str) -> EvictionPolicyFactory | None:
    """Answer for ``clock``."""
    return ClockPolicy.from_options if kind == "clock" else None


@hookimpl
def factory_kinds(hook: str) -> Iterable[str]:
    """Name them, for who mistypes one."""
    return {"under_store_factory": ["sqlite"], "eviction_policy_factory": ["clock"]}.get(hook, ())


@hookimpl
def write_type(
    mount: MountConfig, size: int | None, requested: WriteType | None
) -> WriteType | None:
    """Let large objects go by the cache; leave all others, and what was asked for, alone."""
    if requested is None and mount.write_type is WriteType.CACHE_THROUGH and (size or 0) >= LARGE:
        return WriteType.THROUGH
    return None
