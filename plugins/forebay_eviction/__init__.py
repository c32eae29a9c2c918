"""Which page goes next: eviction policies ``s3fifo``, ``lru``, ``sieve``, ``arc`` and ``none``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from forebay.hookspecs import hookimpl
from forebay.stores.eviction import EvictionPolicyFactory
from forebay_eviction.arc import ArcPolicy
from forebay_eviction.lru import LruPolicy
from forebay_eviction.none import NoPolicy
from forebay_eviction.s3fifo import S3FifoPolicy
from forebay_eviction.sieve import SievePolicy

FACTORIES: Mapping[str, EvictionPolicyFactory] = {
    "s3fifo": S3FifoPolicy.from_options,
    "lru": LruPolicy.from_options,
    "sieve": SievePolicy.from_options,
    "arc": ArcPolicy.from_options,
    "none": NoPolicy.from_options,
}


@hookimpl(trylast=True)
def eviction_policy_factory(kind: str) -> EvictionPolicyFactory | None:
    """Answer for the kinds of the table."""
    return FACTORIES.get(kind)


@hookimpl(trylast=True)
def factory_kinds(hook: str) -> Iterable[str]:
    """Name the kinds of the table."""
    return FACTORIES if hook == "eviction_policy_factory" else ()
