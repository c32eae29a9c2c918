"""The contract of a credential store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from forebay.types import Credential


class CredentialStore(Protocol):
    """Knows who stands behind an access key."""

    def lookup(self, access_key: str, /) -> Credential | None:
        """Give the credential of an access key, or None when nobody has it."""
        ...


CredentialStoreFactory = Callable[[Mapping[str, Any]], CredentialStore]
"""``factory(options)``: `options` are the keys of ``[auth]`` but ``kind``."""
