import doctest
from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.s3 import address
from forebay.s3.address import (
    Address,
    CopySource,
    check_key,
    check_new_bucket_name,
    parse_address,
    parse_copy_source,
    valid_bucket_name,
)
from forebay.s3.errors import S3Error

keys = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200
).filter(lambda key: len(key.encode()) <= 1024)


def code_of(call, *args, **kwargs) -> str:
    with pytest.raises(S3Error) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_docstrings():
    assert doctest.testmod(address).failed == 0


@pytest.mark.parametrize(
    ("path", "bucket", "prefix", "key"),
    [
        ("", None, "", None),
        ("/", None, "", None),
        ("/b", "b", "", None),
        ("/b/", "b", "", None),
        ("/b//", "b", "", "/"),
        ("/b/k", "b", "", "k"),
        ("/b/a%20b//c", "b", "", "a b//c"),
        ("/b/a+b", "b", "", "a+b"),
        ("/b/a%2Bb%2Fc", "b", "", "a+b/c"),
        ("/b/%252e%252e/", "b", "", "%2e%2e/"),
        ("/b/%2e%2e/%2e%2e/etc/passwd", "b", "", "../../etc/passwd"),
        ("/b/..", "b", "", ".."),
        ("/b//etc/passwd", "b", "", "/etc/passwd"),
        ("/b/..%2f..\\x", "b", "", "../..\\x"),
        ("/b/%F0%9F%A6%86", "b", "", "🦆"),
        ("/b/\xf0\x9f\xa6\x86", "b", "", "🦆"),
        ("/b/a%01b", "b", "", "a\x01b"),
        ("/b/#?", "b", "", "#?"),
        ("/a:b:c", "a", "b/c/", None),
        ("/a%3Ab%3Ac/d/e", "a", "b/c/", "d/e"),
        ("/a:b/:c", "a", "b/", ":c"),
    ],
)
def test_paths(path, bucket, prefix, key):
    assert Address(bucket, prefix, key) == parse_address(path)


def test_full_key():
    assert parse_address("/a:b:c/d").full_key == "b/c/d"
    assert parse_address("/a:b:c").full_key == "b/c/"
    assert parse_address("/a").full_key == ""


@pytest.mark.parametrize(
    "path",
    [
        "/b/%",
        "/b/%zz",
        "/b/a%2",
        "/b/%c0%ae",
        "/b/%ed%a0%80",
        "/b/%ff",
        "/b/\xff",
        "/b/\u0101",
        "/b/a%00b",
        "/%00",
        "/%c0%ae/k",
    ],
)
def test_paths_that_are_no_text(path):
    assert code_of(parse_address, path) == "InvalidURI"


@pytest.mark.parametrize(
    "path",
    ["//k", "/a:", "/:a", "/a::b", "/a:.", "/a:..:b", "/a%2Fb/k", "/a:%2e%2e/k", "/a%0Ab", "/a:-"],
)
def test_bucket_names_that_point_nowhere(path):
    assert code_of(parse_address, path) == "InvalidBucketName"


def test_the_key_and_its_sub_directory_have_1024_bytes_together():
    assert len(parse_address("/b/" + "k" * 1024).key) == 1024
    assert code_of(parse_address, "/b/" + "k" * 1025) == "KeyTooLongError"
    assert code_of(parse_address, "/b/" + "%C3%A9" * 513) == "KeyTooLongError"
    assert parse_address("/b:cd/" + "k" * 1021).full_key == "cd/" + "k" * 1021
    assert code_of(parse_address, "/b:cd/" + "k" * 1022) == "KeyTooLongError"


@given(keys)
def test_any_key_comes_back_whether_all_or_some_of_it_is_quoted(key):
    assert key == parse_address("/b/" + quote(key)).key
    assert key == parse_address("/b/" + quote(key, safe="")).key
    assert key == parse_address("/b/" + "".join(f"%{byte:02x}" for byte in key.encode())).key


@given(st.text(max_size=60))
def test_no_path_raises_anything_but_an_s3_error(path):
    with suppress(S3Error):
        found = parse_address("/" + path)
        assert found.bucket or not path.strip("/")


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("b.s3.local:8080", "/k/l", Address("b", "", "k/l")),
        ("B.S3.Local", "/", Address("b", "", None)),
        ("a.b.s3.local", "", Address("a.b", "", None)),
        ("s3.local", "/b/k", Address("b", "", "k")),
        ("127.0.0.1:39999", "/b/k", Address("b", "", "k")),
        ("evils3.local", "/b/k", Address("b", "", "k")),
        ("[::1]:80", "/b", Address("b", "", None)),
        (None, "/b", Address("b", "", None)),
    ],
)
def test_virtual_host_style(host, path, expected):
    assert expected == parse_address(path, host=host, domain="s3.local")


def test_without_a_domain_the_host_says_nothing():
    assert parse_address("/c/k", host="b.s3.local") == Address("c", "", "k")


def test_a_host_of_no_bucket():
    assert code_of(parse_address, "/k", host=".s3.local", domain="s3.local") == "InvalidBucketName"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("b/k", CopySource("b", "", "k")),
        ("/b/k", CopySource("b", "", "k")),
        ("/b//k", CopySource("b", "", "/k")),
        ("b%2Fk%20l", CopySource("b", "", "k l")),
        ("%2Fb%2Fk", CopySource("b", "", "k")),
        ("b/k+l", CopySource("b", "", "k+l")),
        ("b/%252e", CopySource("b", "", "%2e")),
        ("b/../c/k", CopySource("b", "", "../c/k")),
        ("b/k?versionId=null", CopySource("b", "", "k", "null")),
        ("b/k%3FversionId=x", CopySource("b", "", "k?versionId=x")),
        ("b/k?x", CopySource("b", "", "k?x")),
        ("a:b:c/k", CopySource("a", "b/c/", "k")),
        ("a%3Ab/k", CopySource("a", "b/", "k")),
    ],
)
def test_copy_sources(header, expected):
    assert expected == parse_copy_source(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "/",
        "b",
        "b/",
        "/b/",
        "//k",
        "b/%",
        "b/%ff",
        "b/%00",
        "b/k?versionId=",
        "a:../k",
        "a::b/k",
        "b/" + "k" * 1025,
    ],
)
def test_copy_sources_that_name_nothing(header):
    assert code_of(parse_copy_source, header) == "InvalidArgument"


def test_a_copy_source_cannot_be_an_access_point():
    arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/p/object/k"
    assert code_of(parse_copy_source, arn) == "NotImplemented"


@given(keys)
def test_any_key_can_be_a_copy_source(key):
    assert key == parse_copy_source("b/" + quote(key)).key


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a.b-c", "123", "1.2.3", "a--b", "api"])
def test_bucket_names_of_s3(name):
    assert valid_bucket_name(name)
    check_new_bucket_name(name, restricted=True)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 64,
        "Abc",
        "a_b",
        "a b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "a.-b",
        "a-.b",
        "192.168.0.1",
        "999.1.1.1",
        "xn--abc",
        "abc-s3alias",
        "abc--ol-s3",
        "bücket",
        "abc\n",
    ],
)
def test_bucket_names_that_s3_refuses(name):
    assert not valid_bucket_name(name)
    assert code_of(check_new_bucket_name, name, restricted=True) == "InvalidBucketName"


@pytest.mark.parametrize("name", ["A_b", "a", "bücket", "192.168.0.1", "a" * 255, "a:b c:d"])
def test_without_restrictions_a_bucket_has_almost_any_name(name):
    check_new_bucket_name(name, restricted=False)


@pytest.mark.parametrize(
    "name",
    ["", "-", ".", "..", ".forebay", "a/b", "a\0", "a\n", "a" * 256, "a:", "a:..", "a:.forebay"],
)
def test_names_that_no_bucket_can_have(name):
    assert code_of(check_new_bucket_name, name, restricted=False) == "InvalidBucketName"


def test_a_sub_directory_of_a_new_bucket_need_not_look_like_a_bucket():
    check_new_bucket_name("abc:A_b", restricted=True)


@pytest.mark.parametrize(
    ("key", "code"),
    [("k" * 1025, "KeyTooLongError"), ("a\0", "InvalidURI"), ("\ud800", "InvalidURI")],
)
def test_keys_of_other_places_are_held_to_the_same_rule(key, code):
    assert code == code_of(check_key, key)
    check_key("../..")
