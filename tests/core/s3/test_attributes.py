"""What is kept with an object, its tags, and the headers that are refused."""

import pytest

from forebay.properties import Properties
from forebay.s3.attributes import emitted, encode


@pytest.mark.parametrize(
    ("sent", "given"),
    [
        ("plain", "plain"),
        ("two words", "two words"),
        ("=?UTF-8?B?w7xiZXI=?=", "=?UTF-8?B?w7xiZXI=?="),
        ("=?UTF-8?Q?=C3=BCber?=", "=?UTF-8?B?w7xiZXI=?="),
        ("über".encode().decode("latin-1"), "=?UTF-8?B?w7xiZXI=?="),
        ("=?unknown-8bit?x?y?=", "=?UTF-8?B?PT91bmtub3duLThiaXQ/eD95Pz0=?="),
        ("", ""),
    ],
)
def test_metadata_comes_back_as_s3_sends_it(s3, sent, given):
    s3.ok("PUT", "/bucket/key", x_amz_meta_a=sent)
    assert s3.ok("HEAD", "/bucket/key").headers["x-amz-meta-a"] == given


@pytest.mark.parametrize("value", ["=?UTF-8?B?YQ0KYg==?=", "=?UTF-8?B?YQBi?=", "a\x7f"])
def test_metadata_that_would_split_an_answer_is_refused(s3, value):
    answer = s3("PUT", "/bucket/key", x_amz_meta_a=value)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert s3("HEAD", "/bucket/key").status == 404


def test_the_limit_counts_names_and_values(s3):
    s3.ok("PUT", "/bucket/key", x_amz_meta_abcd="x" * 2044)
    answer = s3("PUT", "/bucket/key", x_amz_meta_abcd="x" * 2045)
    assert (answer.status, answer.code) == (400, "MetadataTooLarge")


def test_values_fit_for_headers():
    assert encode("ok") == "ok"
    assert encode(" lead") == "=?UTF-8?B?IGxlYWQ=?="
    assert emitted("a\r\nb") == "a  b"
    assert emitted("é") == "é"
    assert emitted("€").encode("latin-1").decode() == "€"


# --- tags ---------------------------------------------------------------------------


def tags_of(s3):
    root = s3.ok("GET", "/bucket/key?tagging").root
    return [(tag.findtext("Key"), tag.findtext("Value")) for tag in root.iter("Tag")]


def test_tags_of_the_header_are_decoded_and_sorted(s3):
    s3.ok("PUT", "/bucket/key", x_amz_tagging="z=1&a=x%2By+z&empty=&%C3%BC=%40")
    assert tags_of(s3) == [("a", "x+y z"), ("empty", ""), ("z", "1"), ("ü", "@")]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("a=1&a=2", "InvalidArgument"),
        ("=1", "InvalidArgument"),
        ("a=%ff", "InvalidArgument"),
        ("&".join(f"k{i}=v" for i in range(11)), "BadRequest"),
        ("k" * 129 + "=v", "InvalidTag"),
        ("k=" + "v" * 257, "InvalidTag"),
        ("aws:x=1", "InvalidTag"),
        ("a%3C=1", "InvalidTag"),
        ("a=%3C", "InvalidTag"),
    ],
)
def test_tags_that_cannot_be(s3, header, code):
    answer = s3("PUT", "/bucket/key", x_amz_tagging=header)
    assert (answer.status, answer.code) == (400, code)
    assert s3("HEAD", "/bucket/key").status == 404


def test_a_property_lifts_the_limits_on_tags(make):
    s3 = make(properties=Properties(tagging_restrictions=False))
    s3.ok("PUT", "/bucket")
    header = "&".join(f"{'k' * 200}{i}={'<' * 300}" for i in range(12))
    s3.ok("PUT", "/bucket/key", x_amz_tagging=header)
    assert len(tags_of(s3)) == 12


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", 'id="x"'),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-write-offset-bytes", "4"),
    ],
)
@pytest.mark.parametrize("target", ["/bucket/key", "/bucket/key?uploads"])
def test_what_would_be_a_false_promise_is_refused(s3, name, value, target):
    answer = s3("POST" if "uploads" in target else "PUT", target, **{name: value})
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert s3("HEAD", "/bucket/key").status == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-acl", "private"),
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-storage-class", "STANDARD"),
        ("x-amz-storage-class", "STANDARD_IA"),
    ],
)
def test_what_clients_send_by_habit_passes(s3, name, value):
    s3.ok("PUT", "/bucket/key", **{name: value})
    s3.ok("PUT", "/bucket-2", x_amz_acl="private", x_amz_object_ownership="BucketOwnerEnforced")


def test_a_storage_class_that_does_not_exist_is_refused(s3):
    answer = s3("PUT", "/bucket/key", x_amz_storage_class="PAPER")
    assert (answer.status, answer.code) == (400, "InvalidStorageClass")
