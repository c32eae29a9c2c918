"""Credential stores with one lie each; every one is honest in all the rest."""

from __future__ import annotations

import pytest

from forebay.testing import CredentialStoreTests
from forebay.types import Credential
from forebay_credentials.static import StaticCredentialStore


class Honest(StaticCredentialStore):
    """The store of the configuration."""


class TestHonest(CredentialStoreTests):
    store = Honest

    @pytest.fixture
    def known(self):
        return Credential("AKIDexample", "s3cr3t", "etl")

    @pytest.fixture
    def credentials(self, known):
        return self.store({known.access_key: known})


class IgnoresCase(Honest):
    caught_by = "test_an_access_key_is_exact"

    def lookup(self, access_key, /):
        return next(
            (c for key, c in self._credentials.items() if key.lower() == access_key.lower()), None
        )


class LetsEverybodyIn(Honest):
    caught_by = "test_an_access_key_that_nobody_has_is_none"

    def lookup(self, access_key, /):
        return super().lookup(access_key) or Credential(access_key, "", "anonymous")


class ForgetsAfterOneLook(Honest):
    caught_by = "test_a_known_access_key_has_its_credential"

    def lookup(self, access_key, /):
        return self._credentials.pop(access_key, None)


class ShowsItsSecrets(Honest):
    caught_by = "test_a_credential_does_not_show_its_secret"

    def __repr__(self):
        return f"ShowsItsSecrets({[c.secret for c in self._credentials.values()]})"


class TrimsTheKey(Honest):
    caught_by = "test_an_access_key_is_exact"

    def lookup(self, access_key, /):
        return super().lookup(access_key.strip("\0 "))


LIARS = [found for found in list(vars().values()) if "caught_by" in getattr(found, "__dict__", ())]
for _liar in LIARS:
    _name = f"Test{_liar.__name__}"
    globals()[_name] = type(_name, (TestHonest,), {"store": _liar})
