import pytest

from forebay.errors import ConfigurationError
from forebay.testing.credentials import CredentialStoreTests
from forebay.types import Credential
from forebay_credentials import credential_store_factory
from forebay_credentials.static import StaticCredentialStore

KEYS = {
    "AKIDexample": {"secret": "s3cr3t/+", "user": "etl"},
    "Other": {"secret": "x", "user": "etl"},
}


class TestStaticCredentialStore(CredentialStoreTests):
    @pytest.fixture
    def credentials(self):
        return StaticCredentialStore.from_options({"keys": KEYS, "authorization": "owner"})

    @pytest.fixture
    def known(self):
        return Credential("AKIDexample", "s3cr3t/+", "etl")


def test_the_hook_answers_for_its_kind_only():
    assert credential_store_factory(kind="static") == StaticCredentialStore.from_options
    assert credential_store_factory(kind="ldap") is None


def test_no_keys_are_nobody():
    assert StaticCredentialStore.from_options({}).lookup("AKIDexample") is None


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"kyes": {}}, "unknown option 'kyes'; the nearest is 'keys'"),
        ({"keys": ["AK"]}, "must be a table"),
        ({"keys": {"": {"secret": "hush", "user": "u"}}}, "not empty"),
        ({"keys": {"AK": "hush"}}, "table with `secret` and `user`"),
        ({"keys": {"AK": {"secret": "hush"}}}, "auth.keys.AK.user: must be a text"),
        ({"keys": {"AK": {"secret": 7, "user": "u"}}}, "auth.keys.AK.secret: must be a text"),
        (
            {"keys": {"AK": {"secret": "hush", "user": "u", "usr": "u"}}},
            "unknown key 'usr'; the nearest is 'user'",
        ),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is(options, fault):
    with pytest.raises(ConfigurationError) as caught:
        StaticCredentialStore.from_options(options)
    assert fault in str(caught.value)
    assert "hush" not in str(caught.value)


def test_every_fault_is_told():
    with pytest.raises(ConfigurationError) as caught:
        StaticCredentialStore.from_options({"keys": {"A": {}, "B": {"secret": "x"}}, "k": 1})
    assert len(caught.value.faults) == 4
