"""What a mount may say of its guard, in its ``options`` beside those of its store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from forebay.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """How a store is guarded: times in seconds."""

    retries: int = 2
    """How often a call that may be repeated is tried again when the store is down."""
    call_timeout: float = 60.0
    """A call that takes longer counts as failed, although nobody can break it off."""
    breaker_failures: int = 5
    """Failures in a row after which the store is left alone for a while; 0: never."""
    breaker_pause: float = 5.0
    """How long it is left alone, before one call tries it."""


def take(options: Mapping[str, Any]) -> tuple[GuardOptions, dict[str, Any]]:
    """Give the guard's options, and those that are left for the store.

    Raises ConfigurationError with every fault.
    """
    rest, given, faults = dict(options), {}, []
    for one in fields(GuardOptions):
        if one.name not in rest:
            continue
        value = rest.pop(one.name)
        whole = one.name in ("retries", "breaker_failures")
        least = 0 if whole else 0.001
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            faults.append(f"options.{one.name}: {value!r} is not a number")
        elif not least <= value <= 86_400:
            faults.append(f"options.{one.name}: {value!r} is not between {least} and 86400")
        else:
            given[one.name] = value
    if faults:
        raise ConfigurationError(*faults)
    return GuardOptions(**given), rest


def without(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that are left for the store, whatever the guard's are."""
    ours = {one.name for one in fields(GuardOptions)}
    return {name: value for name, value in options.items() if name not in ours}
