"""A factory that can tell what is wrong with its options before it opens anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checked(Generic[P, T]):
    """A factory with its check beside it; a plugin may give one wherever it gives a factory.

    `check` takes what the factory takes and raises ConfigurationError with every fault that
    can be known without opening: it makes nothing, opens nothing and asks nobody. ``forebay
    check`` calls it; a factory without one is found out when the server starts.
    """

    make: Callable[P, T]
    check: Callable[P, object]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Open what the factory makes."""
        return self.make(*args, **kwargs)
