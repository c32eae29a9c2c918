"""Which page goes next: eviction policy ``lru``."""

from __future__ import annotations

from forebay.hookspecs import hookimpl
from forebay.stores.eviction import EvictionPolicyFactory


@hookimpl(trylast=True)
def eviction_policy_factory(kind: str) -> EvictionPolicyFactory | None:
    """Answer for ``lru``."""
    if kind != "lru":
        return None
    from forebay_eviction.lru import LruPolicy

    return LruPolicy.from_options
