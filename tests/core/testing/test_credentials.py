"""The kit finds credential stores that lie: each is caught by the test named after its lie."""

import pytest

from forebay.testing.credentials import CredentialStoreTests
from forebay.types import Credential
from forebay_credentials.static import StaticCredentialStore

KIT = CredentialStoreTests()
KNOWN = Credential("AKIDexample", "s3cr3t", "etl")


class IgnoresCase(StaticCredentialStore):
    def lookup(self, access_key, /):
        return next(
            (c for key, c in self._credentials.items() if key.lower() == access_key.lower()), None
        )


class LetsEverybodyIn(StaticCredentialStore):
    def lookup(self, access_key, /):
        return super().lookup(access_key) or Credential(access_key, "", "anonymous")


class ForgetsAfterOneLook(StaticCredentialStore):
    def lookup(self, access_key, /):
        return self._credentials.pop(access_key, None)


class ShowsItsSecrets(StaticCredentialStore):
    def __repr__(self):
        return f"ShowsItsSecrets({[c.secret for c in self._credentials.values()]})"


@pytest.mark.parametrize(
    ("liar", "caught"),
    [
        (IgnoresCase, lambda c: KIT.test_an_access_key_is_exact(c, KNOWN, str.swapcase)),
        (
            LetsEverybodyIn,
            lambda c: KIT.test_an_access_key_that_nobody_has_is_none(c, "nobody"),
        ),
        (
            ForgetsAfterOneLook,
            lambda c: KIT.test_a_known_access_key_has_its_credential(c, KNOWN),
        ),
        (ShowsItsSecrets, lambda c: KIT.test_a_credential_does_not_show_its_secret(c, KNOWN)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_liar_is_caught(liar, caught):
    caught(StaticCredentialStore({"AKIDexample": KNOWN}))
    with pytest.raises(AssertionError):
        caught(liar({"AKIDexample": KNOWN}))
