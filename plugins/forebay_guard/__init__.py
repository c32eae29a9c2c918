"""A guard around every under store that is not of this machine: retries and circuit breakers."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

from forebay.hookspecs import hookimpl
from forebay.stores.checked import Checked
from forebay.stores.under import UnderStoreFactory

_NEAR = ("file", "memory")


# Last, so that it is the innermost layer: what others put around a store is not tried again.
@hookimpl(wrapper=True, trylast=True)
def under_store_factory(
    scheme: str,
) -> Generator[None, UnderStoreFactory | None, UnderStoreFactory | None]:
    """Stand around what makes the stores of `scheme`, unless they are of this machine."""
    factory = yield
    if factory is None or scheme in _NEAR:
        return factory
    from forebay_guard.under import check, guarded

    return Checked(partial(guarded, factory), partial(check, factory))
