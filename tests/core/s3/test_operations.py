"""Dispatch, exhaustively, from the table it is done from."""

import itertools

import pytest

from forebay.s3.errors import S3Error
from forebay.s3.operations import OPERATIONS, UNSUPPORTED, Level, level_of, select

TARGET = {Level.SERVICE: "/", Level.BUCKET: "/bucket", Level.OBJECT: "/bucket/key"}
SELECTORS = sorted(
    {one for row in OPERATIONS for one in row.query if "=" not in one}
    | {row.parameter for row in UNSUPPORTED if row.parameter}
)
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"]


def query_of(row):
    return {one.partition("=")[0]: one.partition("=")[2] for one in row.query}


def label(row):
    return f"{row.name}-{row.level}"


@pytest.mark.parametrize("row", OPERATIONS, ids=label)
def test_every_row_is_selected_by_what_it_names(row):
    headers = dict.fromkeys(row.headers, "x")
    assert select(row.method, row.level, query_of(row), headers) is row


@pytest.mark.parametrize("row", OPERATIONS, ids=label)
def test_parameters_that_name_no_operation_change_nothing(row):
    more = {**query_of(row), "x-id": row.name, "prefix": "p", "unknown": ""}
    headers = {**dict.fromkeys(row.headers, "x"), "x-amz-date": "now"}
    assert select(row.method, row.level, more, headers) is row


def test_no_two_rows_are_selected_by_the_same():
    seen = [(row.method, row.level, row.query, row.headers) for row in OPERATIONS]
    assert len(set(seen)) == len(seen)
    named = [row.name for row in OPERATIONS if row.name != "PreflightRequest"]
    assert len(set(named)) == len(named)
    assert {row.name for row in UNSUPPORTED}.isdisjoint(named)


@pytest.mark.parametrize("row", UNSUPPORTED, ids=label)
def test_what_is_not_made_is_refused_by_name(row):
    query = {row.parameter: ""} if row.parameter else {}
    with pytest.raises(S3Error) as refused:
        select(row.method, row.level, query, {})
    assert refused.value.code == "NotImplemented"
    assert row.name in refused.value.message


def chosen(method, level, query, headers):
    """What the query names of the operation that is selected, or the code of the refusal."""
    try:
        return set(query) & set(select(method, level, query, headers).query)
    except S3Error as error:
        return error.code


@pytest.mark.parametrize(("method", "level"), list(itertools.product(METHODS, Level)))
def test_a_parameter_that_names_an_operation_is_never_left_unheard(method, level):
    for size in (1, 2):
        for named in itertools.combinations(SELECTORS, size):
            found = chosen(method, level, dict.fromkeys(named, ""), {"x-amz-copy-source": "a/b"})
            assert found in (set(named), "NotImplemented", "MethodNotAllowed"), named


@pytest.mark.parametrize(
    "row", [row for row in OPERATIONS if row.probe and row.method == "GET"], ids=label
)
def test_a_probe_can_be_asked_by_head(row):
    assert select("HEAD", row.level, query_of(row), {}) is row


def test_a_listing_is_of_the_second_kind_only_for_2():
    assert select("GET", Level.BUCKET, {"list-type": "2"}, {}).name == "ListObjectsV2"
    assert select("GET", Level.BUCKET, {"list-type": "1"}, {}).name == "ListObjects"


def test_levels():
    assert level_of(None, None) is Level.SERVICE
    assert level_of("b", None) is Level.BUCKET
    assert level_of("b", "") is Level.OBJECT


@pytest.mark.parametrize("row", UNSUPPORTED, ids=label)
def test_what_is_not_made_changes_nothing(s3, row):
    s3.ok("PUT", "/bucket/key", b"kept")
    query = f"?{row.parameter}" if row.parameter else ""
    answer = s3(row.method, TARGET[row.level] + query, b"<x/>")
    assert answer.status == 501
    assert answer.code == "NotImplemented"
    assert answer.text("Operation") == row.name
    assert s3.ok("GET", "/bucket/key").body == b"kept"


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "POST"])
def test_methods_without_an_operation_are_not_allowed(s3, method):
    answer = s3(method, "/bucket/key")
    assert answer.status == 405
    assert answer.code == "MethodNotAllowed"


def test_a_parameter_of_another_method_does_not_fall_through(s3):
    s3.ok("PUT", "/bucket/key", b"kept")
    for method, target in (
        ("DELETE", "/bucket/key?attributes"),
        ("PUT", "/bucket/key?uploads"),
        ("DELETE", "/bucket?uploads"),
        ("GET", "/bucket/key?uploads"),
        ("PUT", "/bucket?versions"),
    ):
        assert s3(method, target).status == 405, target
    assert s3.ok("GET", "/bucket/key").body == b"kept"
