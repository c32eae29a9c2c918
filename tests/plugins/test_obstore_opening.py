"""From URIs and options to stores, and what is refused on the way; nothing here is connected."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore import exceptions
from obstore.store import MemoryStore

import forebay_obstore
from forebay import errors
from forebay.errors import ConfigurationError, InvalidKey
from forebay.stores.checked import Checked
from forebay.types import Attributes
from forebay_obstore import attributes, carrier, faults, keys, library, library_faults, s3
from forebay_obstore.opening import check, open_store
from forebay_obstore.options import OPTIONS, Patience, S3Address, patience_of, s3_address
from forebay_obstore.uri import AZURE, GCS, PROVIDERS, S3, Place, parse

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=12)


# --- the hook ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", PROVIDERS)
def test_under_store_factory_answers_for_object_stores(scheme):
    assert forebay_obstore.under_store_factory(scheme) == Checked(open_store, check)


@pytest.mark.parametrize("scheme", ["file", "memory", "sftp", "S3", ""])
def test_under_store_factory_passes_on_everything_else(scheme):
    assert forebay_obstore.under_store_factory(scheme) is None


@pytest.mark.parametrize(
    ("uri", "extra", "module"),
    [
        ("s3://b", "s3", "forebay_obstore.wire"),
        ("gcs://b", "gcs", "obstore.store"),
        ("az://b", "azure", "obstore.store"),
    ],
)
def test_missing_package_is_told_with_the_way_to_get_it(monkeypatch, uri, extra, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'forebay\[{extra}\]'"):
        open_store(uri, {})


# --- URIs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://lake", Place(S3, "lake")),
        ("s3a://lake/", Place(S3, "lake")),
        ("gs://lake/raw/x/", Place(GCS, "lake", "raw/x/")),
        ("az://lake/a%20b c", Place(AZURE, "lake", "a%20b c/")),
        ("abfss://lake@acc.dfs.core.windows.net/raw", Place(AZURE, "lake", "raw/", "acc")),
        ("adl://lake/raw", Place(AZURE, "lake", "raw/")),
    ],
)
def test_uri_names_a_place(uri, expected):
    assert parse(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "s3:lake",
        "s3://",
        "s3:///x",
        "s3://a b",
        "s3://lake//x",
        "s3://lake/a/../b",
        "s3://lake/./b",
        "s3://lake/a\nb",
        "s3://user@lake/x",
        "abfs://lake@example.com/x",
        "file:///x",
    ],
)
def test_uri_that_cannot_be_is_refused(uri):
    with pytest.raises(ConfigurationError):
        open_store(uri, {})


# --- options -----------------------------------------------------------------------------


def test_every_fault_of_the_options_is_told():
    options = {
        "endpoint": "http://x",
        "endpoint_url": "ftp://x",
        "timeout": 0,
        "max_retries": -1,
        "anonymous": "yes",
        "addressing_style": "host",
        "access_key_id": "a",
        "region": "",
    }
    with pytest.raises(ConfigurationError) as caught:
        open_store("s3://lake", options)
    told = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == len(options)
    assert "'endpoint' is no option of an under store on s3; nearest: 'endpoint_url'" in told
    assert "access_key_id is of no use without secret_access_key" in told


def test_a_check_tells_of_the_uri_and_the_options_at_once():
    for uri in ("s3:///raw", "S3://lake"):
        with pytest.raises(ConfigurationError) as caught:
            check(uri, {"timeout": 0})
        assert [uri in caught.value.faults[0], *caught.value.faults[1:]] == [
            True,
            "timeout = 0: must be seconds, more than 0",
        ]


@pytest.mark.parametrize("timeout", [True, "60", float("nan"), float("inf"), -1])
def test_time_is_a_number_of_seconds(timeout):
    with pytest.raises(ConfigurationError, match="seconds"):
        open_store("s3://lake", {"timeout": timeout})


@pytest.mark.parametrize("uri", ["s3://lake", "gs://lake", "az://lake"])
def test_secrets_are_not_repeated_in_faults(uri):
    with pytest.raises(ConfigurationError) as caught:
        open_store(uri, {"secret_access_key": ["hush"], "account_key": 17, "bearer_token": 4711})
    assert not {"hush", "17", "4711"} & set(str(caught.value).replace("[", " ").split())


@pytest.mark.parametrize("open_or_check", [open_store, check])
def test_options_that_contradict_are_refused(open_or_check):
    for options in (
        {"anonymous": True, "profile": "p"},
        {"endpoint_url": "http://x", "allow_http": False},
        {"secret_access_key": "s"},
        {"ca_file": "/no/such/file"},
    ):
        with pytest.raises(ConfigurationError):
            open_or_check("s3://lake", options)
    with pytest.raises(ConfigurationError, match="ca_file"):
        open_or_check("gs://lake", {"ca_file": "/no/such/file"})
    with pytest.raises(ConfigurationError, match="account_name"):
        open_or_check("abfs://c@acc.blob.core.windows.net", {"account_name": "other"})


def test_patience_is_what_the_options_say():
    given = {"timeout": 9, "connect_timeout": 0.5, "max_retries": 0, "retry_timeout": 7}
    assert patience_of(given) == Patience(9.0, 0.5, 0, 7.0)
    assert patience_of({}) == Patience()


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("s3://lake/raw", {"durability": "disk", "region": "eu-central-1"}),
        ("gs://lake", {"anonymous": True}),
        ("gs://lake", {"bearer_token": "t", "timeout": 5}),
        ("az://lake", {"account_name": "acc", "account_key": "a2V5", "connect_timeout": 1}),
        ("abfss://lake@acc.dfs.core.windows.net/x", {"bearer_token": "t"}),
        ("az://lake", {"use_emulator": True}),
    ],
)
def test_store_is_opened_without_a_request(uri, options):
    with closing(open_store(uri, options)) as store:
        assert store.capabilities.conditional_put
        for power in ("copy", "put_part"):
            assert hasattr(store, power) == uri.startswith("s3:")


@pytest.mark.parametrize(
    ("bucket", "options", "expected"),
    [
        ("lake", {}, S3Address("https://lake.s3.us-east-1.amazonaws.com", "us-east-1", True)),
        ("a.b", {}, S3Address("https://s3.us-east-1.amazonaws.com/a.b", "us-east-1", True)),
        (
            "lake",
            {"region": "cn-north-1"},
            S3Address("https://lake.s3.cn-north-1.amazonaws.com.cn", "cn-north-1", True),
        ),
        (
            "lake",
            {"endpoint_url": "http://h:9000/at/"},
            S3Address("http://h:9000/at/lake", "us-east-1", False),
        ),
        (
            "lake",
            {"endpoint_url": "https://h", "addressing_style": "virtual"},
            S3Address("https://lake.h", "us-east-1", False),
        ),
    ],
)
def test_bucket_has_an_address(bucket, options, expected):
    assert s3_address(Place(S3, bucket), options) == expected


def test_environment_has_the_word_where_the_options_have_none(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://general")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    found = s3_address(Place(S3, "lake"), {})
    assert (found.base, found.region) == ("http://general/lake", "eu-north-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://special")
    assert s3_address(Place(S3, "lake"), {"region": "x"}).base == "http://special/lake"


@pytest.mark.parametrize("name", sorted({name for table in OPTIONS.values() for name in table}))
def test_every_option_is_documented(name):
    page = Path(__file__).parents[2] / "docs" / "under-stores.md"
    section = page.read_text().partition("## Object stores")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert name == "durability" or any(f"`{name}`" in row for row in rows)


# --- keys --------------------------------------------------------------------------------


@given(st.text("a/.%\\ é\n\x7f*", min_size=1, max_size=6))
def test_plain_key_is_exactly_one_that_the_library_leaves_alone(key):
    store = MemoryStore()
    try:
        store.put(key, b"x")
        kept = [meta["path"] for page in store.list() for meta in page]
    except (ValueError, exceptions.BaseError):
        kept = []
    assert keys.is_plain(key) == (kept == [key])


@pytest.mark.parametrize("key", ["", "a\0b", "a\ud800", "x" * 1025, "ü" * 513])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(InvalidKey):
        keys.check(key)


@given(st.text(max_size=6), st.text(max_size=6))
def test_bound_is_never_greater(start_after, key):
    sent = keys.bound(start_after)
    assert sent <= start_after
    sent.encode()


# --- attributes --------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_any_text_fits_into_a_header_and_comes_back(text):
    sent = attributes.encode(text)
    assert sent == sent.strip()
    assert sent.isascii()
    assert not any(ord(char) < 32 for char in sent)
    assert attributes.decode(sent) == text


def test_other_programs_encodings_are_understood():
    assert attributes.decode("=?UTF-8?Q?gr=C3=BCn?=") == "grün"
    assert attributes.decode("gr\u00c3\u00bcn") == "grün", "raw UTF-8, read as Latin-1"
    assert attributes.decode("gr\u00fcn") == "grün"
    assert attributes.decode("=?no such thing") == "=?no such thing"


@pytest.mark.parametrize("provider", [GCS, AZURE])
@given(
    headers=st.dictionaries(st.sampled_from([*attributes.NATIVE, "expires"]), TEXT.filter(bool)),
    metadata=st.dictionaries(NAMES, TEXT),
    tags=st.dictionaries(TEXT.filter(bool), TEXT),
)
def test_attributes_come_back_from_stores_that_have_no_place_for_all(
    provider, headers, metadata, tags
):
    given = Attributes(headers, metadata, tags)
    store = MemoryStore()
    store.put("x", b"", attributes=attributes.to_library(provider, given))
    found = store.get("x").attributes
    assert attributes.from_library(provider, found) == given


@given(st.dictionaries(NAMES | st.sampled_from(["content-type", "storage-class"]), TEXT))
def test_names_fit_azure(metadata):
    kept = attributes.to_library(AZURE, Attributes(metadata=metadata))
    assert all(name.isidentifier() for name in kept)
    assert len(kept) == len(metadata)


def test_content_type_that_a_store_makes_up_is_not_taken_for_one():
    for provider, unsaid in {S3: "binary/octet-stream", GCS: "application/octet-stream"}.items():
        found = attributes.from_library(provider, {"Content-Type": unsaid, "Storage-Class": "X"})
        assert found == Attributes()


# --- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "meant"),
    [
        (404, "NoSuchKey", errors.NotFound),
        (404, "NoSuchBucket", errors.Unavailable),
        (403, "AccessDenied", errors.PermissionDenied),
        (403, "QuotaExceeded", errors.NoSpace),
        (412, "", errors.PreconditionFailed),
        (409, "OperationAborted", errors.Unavailable),
        (400, "KeyTooLongError", errors.KeyTooLong),
        (400, "MalformedXML", errors.StorageError),
        (503, "SlowDown", errors.Unavailable),
        (501, "NotImplemented", errors.NotSupported),
        (507, "", errors.NoSpace),
    ],
)
def test_answer_has_its_meaning(status, code, meant):
    assert faults.meaning(status, code) is meant


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (FileNotFoundError("... <Code>NoSuchKey</Code>"), errors.NotFound),
        (FileNotFoundError("... <Code>ContainerNotFound</Code>"), errors.Unavailable),
        (exceptions.AlreadyExistsError("x"), errors.PreconditionFailed),
        (exceptions.PermissionDeniedError("x"), errors.PermissionDenied),
        (exceptions.InvalidPathError("x"), errors.InvalidKey),
        (exceptions.GenericError("status code: 503 Slow Down"), errors.Unavailable),
        (exceptions.GenericError("status code: 507 -"), errors.NoSpace),
        (exceptions.GenericError("HTTP error: error sending request"), errors.Unavailable),
        (exceptions.GenericError("something else"), errors.StorageError),
    ],
)
def test_exception_of_the_library_has_its_meaning(error, meant):
    with pytest.raises(errors.StorageError) as caught, library_faults.Translated("a key"):
        raise error
    assert type(caught.value) is meant
    assert caught.value.__cause__ is error
    assert "'a key'" in str(caught.value)


def test_a_container_that_is_not_there_comes_with_advice():
    with (
        pytest.raises(errors.Unavailable, match="there is no such container: make it first"),
        library_faults.Translated("a key"),
    ):
        raise FileNotFoundError("... <Code>ContainerNotFound</Code>")


def test_other_exceptions_are_left_alone():
    with pytest.raises(ZeroDivisionError), library_faults.Translated("a key"):
        raise ZeroDivisionError


# --- parts and versions ------------------------------------------------------------------


@given(st.integers(0, 5 << 40))
def test_parts_are_never_too_many(size):
    part = carrier.part_size(size)
    assert part >= carrier.PART
    assert -(-size // part) <= carrier.MOST_PARTS


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(1, 7))
def test_blocks_are_regrouped_without_loss(blocks, size):
    parts = list(s3._regrouped(iter(blocks), size))
    assert b"".join(parts) == b"".join(blocks)
    assert all(len(part) == size for part in parts[:-1])
    assert len(parts[-1]) <= size


@given(st.integers(0, 1 << 50), st.text('0123456789abcdef-"W/', min_size=1, max_size=40))
def test_fingerprint_names_size_and_etag(size, etag):
    assert carrier.version(carrier.fingerprint(size, etag)) == (size, etag)


def test_bound_before_a_prefix_lies_before_all_its_keys():
    for prefix in ("a/b", "a/", "é", "/", "a/\x20", "a/\ue000", "\U00010000"):
        just = library._just_before(prefix)
        assert just < prefix
        just.encode()
