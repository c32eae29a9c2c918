"""The conformance kit for plugin authors, installed with ``forebay[testing]``.

``from forebay.testing import UnderStoreTests`` is all that a store's tests need; the page
``docs/writing-plugins.md`` shows how. A name is imported when it is asked for.
"""

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forebay.testing.credentials import CredentialStoreTests as CredentialStoreTests
    from forebay.testing.eviction import EvictionPolicyTests as EvictionPolicyTests
    from forebay.testing.faults import FailingUnderStore as FailingUnderStore
    from forebay.testing.faults import FailNth as FailNth
    from forebay.testing.faults import FullPageStore as FullPageStore
    from forebay.testing.faults import HangingUnderStore as HangingUnderStore
    from forebay.testing.faults import SlowUnderStore as SlowUnderStore
    from forebay.testing.matrix import WriteTypeTests as WriteTypeTests
    from forebay.testing.metadata import MetadataStoreTests as MetadataStoreTests
    from forebay.testing.pages import PageStoreTests as PageStoreTests
    from forebay.testing.stateful import ForebayMachine as ForebayMachine
    from forebay.testing.under import UnderStoreTests as UnderStoreTests
    from forebay.testing.under_model import UnderStoreMachine as UnderStoreMachine

_HOMES = {
    "CredentialStoreTests": "credentials",
    "EvictionPolicyTests": "eviction",
    "FailNth": "faults",
    "FailingUnderStore": "faults",
    "ForebayMachine": "stateful",
    "FullPageStore": "faults",
    "HangingUnderStore": "faults",
    "MetadataStoreTests": "metadata",
    "PageStoreTests": "pages",
    "SlowUnderStore": "faults",
    "UnderStoreMachine": "under_model",
    "UnderStoreTests": "under",
    "WriteTypeTests": "matrix",
}
__all__ = sorted(_HOMES)

# The other processes of a test run no tests, and would wait half a second for pytest.
if "pytest" in sys.modules:
    import pytest

    # Before a module of the kit is imported: its asserts say what they saw, like a test's own.
    pytest.register_assert_rewrite(*(m.name for m in iter_modules(__path__, "forebay.testing.")))


def __getattr__(name: str) -> Any:
    """Import a part of the kit for those who ask for it."""
    if name in _HOMES:
        return getattr(import_module(f"forebay.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
