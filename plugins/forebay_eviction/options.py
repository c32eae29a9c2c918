"""What the factories of all policies are handed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay.errors import ConfigurationError


def capacity_of(kind: str, options: Mapping[str, Any]) -> int:
    """Read the capacity in bytes, which is the only option of every policy here.

    Raises ConfigurationError when it is missing, below 1, or not alone.
    """
    faults = [
        f"cache.tiers: unknown option {name!r} of eviction {kind!r}; it knows 'capacity' only"
        for name in options
        if name != "capacity"
    ]
    capacity = options.get("capacity")
    if not isinstance(capacity, int) or capacity < 1:
        faults.append(f"cache.tiers: eviction {kind!r} needs a capacity of at least 1 byte")
    if faults:
        raise ConfigurationError(*faults)
    assert isinstance(capacity, int)
    return capacity
