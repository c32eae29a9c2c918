"""Conformance kit for credential stores: each test checks a sentence of the contract."""

# ruff: noqa: D102 - the name of a test is the sentence it checks

from __future__ import annotations

import pytest

from forebay.stores.credentials import CredentialStore
from forebay.types import Credential


class CredentialStoreTests:
    """Every credential store passes these.

    A subclass gives two fixtures: `credentials`, a store, and `known`, one credential in it.
    """

    @pytest.fixture
    def credentials(self) -> CredentialStore:
        """Give a store that holds `known`."""
        raise NotImplementedError("give the fixture `credentials`")

    @pytest.fixture
    def known(self) -> Credential:
        """Give a credential that `credentials` holds."""
        raise NotImplementedError("give the fixture `known`")

    def test_a_known_access_key_has_its_credential(
        self, credentials: CredentialStore, known: Credential
    ) -> None:
        assert [credentials.lookup(known.access_key) for _ in range(2)] == [known, known]

    @pytest.mark.parametrize(
        "change",
        [str.swapcase, lambda key: key[:-1], lambda key: key + " ", lambda key: key + "\0"],
        ids=["case", "shorter", "blank", "nul"],
    )
    def test_an_access_key_is_exact(
        self, credentials: CredentialStore, known: Credential, change: object
    ) -> None:
        assert callable(change)
        assert credentials.lookup(change(known.access_key)) is None

    @pytest.mark.parametrize(
        "access_key", ["", "nobody", "../../etc/passwd", "%", "\u00e9\U0001f511"]
    )
    def test_an_access_key_that_nobody_has_is_none(
        self, credentials: CredentialStore, access_key: str
    ) -> None:
        assert credentials.lookup(access_key) is None

    def test_a_credential_does_not_show_its_secret(
        self, credentials: CredentialStore, known: Credential
    ) -> None:
        found = credentials.lookup(known.access_key)
        assert known.secret not in repr(found)
        assert known.secret not in str(credentials)
