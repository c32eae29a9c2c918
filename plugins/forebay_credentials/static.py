"""Access keys written into the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from forebay.errors import ConfigurationError
from forebay.types import Credential

AUTH: Final = frozenset(["authorization", "non_loopback", "plugin"])
"""Keys of ``[auth]`` that are none of a credential store's business."""
FIELDS: Final = ("secret", "user")


class StaticCredentialStore:
    """Knows the credentials it was made with, and never learns another."""

    def __init__(self, credentials: Mapping[str, Credential]) -> None:
        self._credentials = dict(credentials)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> StaticCredentialStore:
        """Make the store of ``[auth.keys]``: access key to `secret` and `user`.

        Raises ConfigurationError with every fault; none of them quotes a secret.
        """
        faults = [
            f"auth: unknown option {name!r}; the nearest is 'keys'"
            for name in options
            if name != "keys" and name not in AUTH
        ]
        keys = options.get("keys", {})
        if not isinstance(keys, Mapping):
            raise ConfigurationError(*faults, "auth.keys: must be a table of access keys")
        credentials = {}
        for access_key, fields in keys.items():
            wrong = _faults_of_key(access_key, fields)
            faults += wrong
            if not wrong:
                credentials[access_key] = Credential(access_key, fields["secret"], fields["user"])
        if faults:
            raise ConfigurationError(*faults)
        return cls(credentials)

    def lookup(self, access_key: str, /) -> Credential | None:
        """Give the credential of an access key, or None when nobody has it."""
        return self._credentials.get(access_key)


def _faults_of_key(access_key: Any, fields: Any) -> list[str]:
    place = f"auth.keys.{access_key}"
    if not isinstance(access_key, str) or not access_key:
        return [f"{place}: an access key is a text that is not empty"]
    if not isinstance(fields, Mapping):
        return [f"{place}: must be a table with `secret` and `user`"]
    faults = [
        f"{place}: unknown key {name!r};"
        f" the nearest is {difflib.get_close_matches(str(name), FIELDS, 1, 0)[0]!r}"
        for name in fields
        if name not in FIELDS
    ]
    for name in FIELDS:
        if not isinstance(fields.get(name), str) or not fields[name]:
            faults.append(f"{place}.{name}: must be a text that is not empty")
    return faults
