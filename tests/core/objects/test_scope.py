import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.catalog import keys
from forebay.catalog.records import Bucket, encode
from forebay.errors import InvalidArgument, KeyTooLongError, NoSuchBucket
from forebay.objects.scope import (
    Scope,
    check_scope,
    find_bucket,
    parse_object,
    parse_scope,
    path_of,
    walk,
)

BUCKETS = {"b": 700, "c": 300}


def walked(catalog, scope, after=""):
    def read(snapshot):
        return [
            (bucket.name, key) for bucket, key, _ in walk(snapshot, scope, keys.dirty_row, after)
        ]

    return catalog.read(read)


@pytest.fixture
def catalog(opened):
    """A catalog with rows of a few keys in two buckets."""
    catalog = opened.forebay.catalog

    def fill(tx):
        for name, number in BUCKETS.items():
            tx.put(keys.bucket_row(name), encode(Bucket(number, name, 0)))
            for key in ("a", "a-b", "a/", "a/x", "a/x/y", "ab", "é/ü"):
                tx.put(keys.dirty_row(number, key), b"")

    catalog.write(fill)
    return catalog


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("s3://b/a", ["a", "a/", "a/x", "a/x/y"]),
        ("/b/a", ["a", "a/", "a/x", "a/x/y"]),
        ("s3://b/a/", ["a/", "a/x", "a/x/y"]),
        ("s3://b/a/x", ["a/x", "a/x/y"]),
        ("s3://b/é", ["é/ü"]),
        ("s3://b/none", []),
        ("s3://b", ["a", "a-b", "a/", "a/x", "a/x/y", "ab", "é/ü"]),
    ],
)
def test_a_path_is_an_object_and_everything_below_it(catalog, path, found):
    scope = parse_scope(path)
    assert walked(catalog, scope) == [("b", key) for key in found]
    assert all(scope.covers("b", key) for key in found)
    assert not any(scope.covers("c", key) for key in found)


def test_everything_is_every_bucket_in_order(catalog):
    whole = walked(catalog, parse_scope("/"))
    assert [bucket for bucket, _ in whole] == ["b"] * 7 + ["c"] * 7


@pytest.mark.parametrize("path", ["/", "s3://b", "s3://b/a", "s3://c/a/"])
def test_a_walk_goes_on_behind_any_of_its_paths(catalog, path):
    whole = walked(catalog, parse_scope(path))
    for number, (bucket, key) in enumerate(whole):
        assert walked(catalog, parse_scope(path), path_of(bucket, key)) == whole[number + 1 :]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
def test_a_path_is_read_back(key):
    assert parse_scope(path_of("bucket", key)) == Scope("bucket", key)
    assert parse_scope(f"/bucket/{key}") == Scope("bucket", key)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "is no path"),
        ("lake/x", "did you mean s3://lake/x"),
        ("s3:///x", "names no bucket"),
        ("//x", "names no bucket"),
        ("s3://b/a\0b", "is no path"),
    ],
)
def test_what_is_no_path_is_refused_in_words(path, says):
    with pytest.raises(InvalidArgument, match=says):
        parse_scope(path)


def test_a_key_that_cannot_be_is_refused():
    with pytest.raises(KeyTooLongError):
        parse_scope("s3://b/" + "x" * 1025)


@pytest.mark.parametrize("path", ["/", "s3://b", "s3://b/"])
def test_a_path_of_no_object_is_refused_where_one_is_wanted(path):
    with pytest.raises(InvalidArgument, match="names no object"):
        parse_object(path)


def test_a_bucket_that_is_not_there_is_refused_with_the_nearest_that_is(opened):
    buckets = opened.forebay.buckets
    assert find_bucket(buckets, "bucket").name == "bucket"
    with pytest.raises(NoSuchBucket, match="there is no bucket buckt; did you mean bucket"):
        check_scope(buckets, Scope("buckt"))
    check_scope(buckets, Scope(""))
