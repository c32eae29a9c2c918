"""Listings, over the wire."""

import random

import pytest

pytestmark = pytest.mark.parametrize("root", ["memory", "file"])

KEYS = ["a", "a/", "a/1", "a/b/c", "a0", "b c", "d/e/f", "d/e/g", "é/ü", "z"]


@pytest.fixture
def full(s3, bucket):
    for key in random.Random(7).sample(KEYS, len(KEYS)):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


def keys(page):
    return [entry["Key"] for entry in page.get("Contents", [])]


def prefixes(page):
    return [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]


def test_everything_in_byte_order(s3, full):
    for ask in (s3.list_objects, s3.list_objects_v2):
        page = ask(Bucket=full)
        assert keys(page) == sorted(KEYS, key=str.encode)
        assert not page["IsTruncated"]
        sizes = {entry["Key"]: entry["Size"] for entry in page["Contents"]}
        assert sizes == {key: len(key.encode()) for key in KEYS}
        assert all(len(entry["ETag"]) == 34 for entry in page["Contents"])


def test_list_after_write_and_after_delete(s3, bucket):
    for number in range(20):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=b"")
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == number + 1
    for number in range(20):
        s3.delete_object(Bucket=bucket, Key=f"k{number}")
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 19 - number


@pytest.mark.parametrize("name", ["list_objects", "list_objects_v2", "list_object_versions"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(("prefix", "delimiter"), [("", ""), ("", "/"), ("a", "/"), ("d/", "/")])
def test_pages_lose_nothing_and_repeat_nothing(s3, full, name, size, prefix, delimiter):
    found = []
    for page in s3.get_paginator(name).paginate(
        Bucket=full, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
    ):
        entries = page.get("Contents", page.get("Versions", []))
        found += [entry["Key"] for entry in entries] + prefixes(page)
        assert len(entries) + len(prefixes(page)) <= size
    expected = set()
    for key in KEYS:
        if key.startswith(prefix):
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            expected.add(key if at < 0 else key[: at + 1])
    assert sorted(found) == sorted(expected)


def test_prefix_that_is_no_folder(s3, full):
    assert keys(s3.list_objects_v2(Bucket=full, Prefix="a")) == ["a", "a/", "a/1", "a/b/c", "a0"]
    assert keys(s3.list_objects_v2(Bucket=full, Prefix="none/")) == []


def test_any_delimiter(s3, full):
    page = s3.list_objects_v2(Bucket=full, Delimiter="e/")
    assert prefixes(page) == ["d/e/"]
    longer = s3.list_objects_v2(Bucket=full, Delimiter="/e/")
    assert prefixes(longer) == ["d/e/"]


def test_start_after(s3, full):
    page = s3.list_objects_v2(Bucket=full, StartAfter="b")
    assert keys(page) == ["b c", "d/e/f", "d/e/g", "z", "é/ü"]
    assert page["StartAfter"] == "b"


def test_owner(s3, full, user):
    page = s3.list_objects_v2(Bucket=full, FetchOwner=True, MaxKeys=1)
    assert page["Contents"][0]["Owner"]["ID"] == user
    assert "Owner" not in s3.list_objects_v2(Bucket=full, MaxKeys=1)["Contents"][0]


def test_arguments_that_cannot_be(s3, full, wire, refused):
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=full, ContinuationToken="never given")
    for query in (
        "max-keys=x",
        "max-keys=-1",
        "encoding-type=x",
        "list-type=2&continuation-token=",
    ):
        answer = wire("GET", f"/{full}?{query}")
        assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_folders_of_the_alluxio_endpoint(alluxio, full):
    expected = ["a", "a/", "a/1", "a/b/", "a/b/c", "a0", "b c", "d/", "d/e/", "d/e/f", "d/e/g"]
    assert keys(alluxio.list_objects_v2(Bucket=full))[: len(expected)] == expected
    page = alluxio.list_objects_v2(Bucket=full, Delimiter="/")
    assert (keys(page), prefixes(page)) == (["a", "a0", "b c", "z"], ["a/", "d/", "é/"])
    size = {e["Key"]: e["Size"] for e in alluxio.list_objects(Bucket=full)["Contents"]}["d/e/"]
    assert size == 0
