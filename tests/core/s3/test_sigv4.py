from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.s3.errors import S3Error
from forebay.s3.sigv4 import identify, is_signed
from forebay.types import Identity

SIMPLE = SimpleNamespace(kind="simple")
SCOPE = "/20261123/us-east-1/s3/aws4_request"


def who(headers=None, query=None) -> Identity:
    return identify(headers or {}, query or {}, auth=SIMPLE, launch_user="root")


@pytest.mark.parametrize(
    "header",
    [
        f"AWS4-HMAC-SHA256 Credential=etl{SCOPE}, SignedHeaders=host, Signature=00",
        f"AWS4-HMAC-SHA256 Credential=etl{SCOPE},SignedHeaders=host,Signature=00",
        f"AWS4-HMAC-SHA256 SignedHeaders=host,Credential=etl{SCOPE}",
        "AWS4-HMAC-SHA256 Credential=etl/... SignedHeaders=... Signature=...",
        "AWS4-HMAC-SHA256   Credential=etl/",
        f"AWS4-ECDSA-P256-SHA256 Credential=etl{SCOPE}, Signature=00",
        "AWS etl:c2lnbmF0dXJl",
        "AWS etl:",
    ],
)
def test_the_user_is_the_text_before_the_separator(header):
    assert who({"authorization": header}) == Identity("etl", "etl")
    assert is_signed({"authorization": header}, {})


@pytest.mark.parametrize(
    "query",
    [
        {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": "etl" + SCOPE},
        {"X-Amz-Credential": "etl/"},
        {"AWSAccessKeyId": "etl", "Signature": "x", "Expires": "1"},
    ],
)
def test_presigned_urls(query):
    assert who(query=query) == Identity("etl", "etl")
    assert is_signed({}, query)


def test_nobody_in_particular_is_the_launching_user():
    assert who() == Identity("root")
    assert not is_signed({"x-amz-date": "x"}, {"prefix": "x"})


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "AccessDenied"),
        ("AWS4-HMAC-SHA256 Credential=HAHAHA", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=/x", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Signature=00", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 NotCredential=etl/x", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=e\x01tl/x", "AuthorizationHeaderMalformed"),
        ("AWS etl", "AuthorizationHeaderMalformed"),
        ("AWS :x", "AuthorizationHeaderMalformed"),
        ("AWS a b:x", "AuthorizationHeaderMalformed"),
        ("AWS4 HAHAHA", "InvalidArgument"),
        ("AWS4-HMAC-SHA256", "InvalidArgument"),
        ("Basic ZXRsOng=", "InvalidArgument"),
    ],
)
def test_headers_that_name_nobody(header, code):
    with pytest.raises(S3Error) as caught:
        who({"authorization": header})
    assert code == caught.value.code


@pytest.mark.parametrize(
    "query",
    [
        {"X-Amz-Credential": "etl"},
        {"X-Amz-Credential": ""},
        {"X-Amz-Signature": "00"},
        {"AWSAccessKeyId": ""},
    ],
)
def test_queries_that_name_nobody(query):
    with pytest.raises(S3Error) as caught:
        who(query=query)
    assert caught.value.code == "AuthorizationQueryParametersError"


def test_header_and_query_together():
    with pytest.raises(S3Error) as caught:
        who({"authorization": "AWS etl:x"}, {"X-Amz-Credential": "etl/"})
    assert caught.value.code == "InvalidArgument"


def test_no_other_kind_lets_anybody_in():
    with pytest.raises(S3Error) as caught:
        identify({}, {}, auth=SimpleNamespace(kind="sigv4"), launch_user="root")
    assert caught.value.code == "NotImplemented"


@given(st.text(max_size=60))
def test_any_header_is_somebody_or_refused(text):
    for header in (text, "AWS4-HMAC-SHA256 " + text, "AWS " + text):
        with suppress(S3Error):
            assert who({"authorization": header}).user
