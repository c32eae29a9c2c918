from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.s3.conditions import (
    check_copy_source,
    check_read,
    parse_copy_range,
    parse_range,
    write_conditions,
)
from forebay.s3.errors import S3Error
from forebay.s3.xml import http_date
from forebay.types import ByteRange, WriteConditions

NOW = 1795423560_500
BEFORE, SAME, AFTER = (http_date(NOW + shift) for shift in (-5000, 0, 5000))


def outcome(check, headers):
    try:
        check(headers, "abc", NOW)
    except S3Error as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-4", (2, 5)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99999999999999999999999999", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-10", (0, 10)),
        ("bytes=-9999", (0, 10)),
        ("bytes=-" + "9" * 5000, (0, 10)),
        ("Bytes = 1 - 2", (1, 3)),
        ("bytes=000000000000000000000000001-2", (1, 3)),
    ],
)
def test_ranges(header, expected):
    assert ByteRange(*expected) == parse_range(header, 10)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=abc",
        "bytes=5-1",
        "bytes=9" + "9" * 5000 + "-1",
        "bytes=1e1-",
        "bytes=9e9-",
        "bytes=+1-2",
        "bytes=1_0-20",
        "bytes=\uff11-2",
        "bytes=0-1,3-4",
        "bytes=" + "0-1," * 1000,
        "items=0-1",
        "bytes=1--2",
    ],
)
def test_what_is_no_range_asks_for_the_whole(header):
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-20", 10),
        ("bytes=-0", 10),
        ("bytes=0-", 0),
        ("bytes=-5", 0),
        ("bytes=99999999999999999999-", 10),
        ("bytes=" + "9" * 5000 + "-", 10),
    ],
)
def test_ranges_beyond_the_end(header, size):
    with pytest.raises(S3Error) as caught:
        parse_range(header, size)
    assert (caught.value.code, caught.value.status) == ("InvalidRange", 416)
    assert caught.value.headers == {"Content-Range": f"bytes */{size}"}
    assert caught.value.fields == {"RangeRequested": header[:100], "ActualObjectSize": str(size)}


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_what_slicing_gives(size, first, last):
    content = bytes(range(size))
    try:
        found = parse_range(f"bytes={first}-{last}", size)
    except S3Error:
        assert first >= size
        assert first <= last
        return
    if found is None:
        assert first > last
    else:
        assert content[found.start : found.stop] == content[first : last + 1] != b""


@given(st.text(max_size=30), st.integers(0, 1 << 40))
def test_no_range_header_is_a_surprise(text, size):
    for header in (text, "bytes=" + text):
        with suppress(S3Error):
            found = parse_range(header, size)
            assert found is None or 0 <= found.start < found.stop <= size


def test_copy_ranges():
    assert parse_copy_range("bytes=0-9", 10) == ByteRange(0, 10)
    assert parse_copy_range("bytes=3-3", 10) == ByteRange(3, 4)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("bytes=0-10", "InvalidRange"),
        ("bytes=10-10", "InvalidRange"),
        ("bytes=0-" + "9" * 5000, "InvalidRange"),
        ("0-9", "InvalidArgument"),
        ("bytes=0", "InvalidArgument"),
        ("bytes=0-", "InvalidArgument"),
        ("bytes=-5", "InvalidArgument"),
        ("bytes=hello-world", "InvalidArgument"),
        ("bytes=0-2,3-5", "InvalidArgument"),
        ("bytes=5-4", "InvalidArgument"),
        ("", "InvalidArgument"),
    ],
)
def test_copy_ranges_that_cannot_be(header, code):
    with pytest.raises(S3Error) as caught:
        parse_copy_range(header, 10)
    assert code == caught.value.code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"if-match": '"abc"'}, 200),
        ({"if-match": "abc"}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"x", "abc"'}, 200),
        ({"if-match": '"x","y"'}, 412),
        ({"if-match": 'W/"abc"'}, 412),
        ({"if-match": '"AB'}, 412),
        ({"if-match": ""}, 412),
        ({"if-none-match": '"abc"'}, 304),
        ({"if-none-match": "abc"}, 304),
        ({"if-none-match": 'W/"abc"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x" , "abc"'}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": ",,,"}, 200),
        ({"if-modified-since": BEFORE}, 200),
        ({"if-modified-since": SAME}, 304),
        ({"if-modified-since": AFTER}, 304),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-unmodified-since": BEFORE}, 412),
        ({"if-unmodified-since": SAME}, 200),
        ({"if-unmodified-since": AFTER}, 200),
        ({"if-unmodified-since": "Mon, 99 Nov 2026 99:99:99 GMT"}, 200),
        # an ETag condition silences the date condition of its kind
        ({"if-match": '"abc"', "if-unmodified-since": BEFORE}, 200),
        ({"if-none-match": '"x"', "if-modified-since": AFTER}, 200),
        # 412 comes before 304
        ({"if-match": '"x"', "if-none-match": '"abc"'}, 412),
        ({"if-unmodified-since": BEFORE, "if-modified-since": AFTER}, 412),
        ({"if-match": '"abc"', "if-none-match": '"abc"'}, 304),
    ],
)
def test_reads_in_the_order_of_rfc_9110(headers, status):
    assert status == outcome(check_read, headers)
    copied = {f"x-amz-copy-source-{name}": value for name, value in headers.items()}
    assert (412 if status == 304 else status) == outcome(check_copy_source, copied)


def test_not_modified_carries_the_validators():
    with pytest.raises(S3Error) as caught:
        check_read({"if-none-match": "*"}, "abc", NOW)
    assert caught.value.headers == {"ETag": '"abc"', "Last-Modified": SAME}


def test_a_copy_does_not_look_at_the_plain_conditions():
    assert outcome(check_copy_source, {"if-match": '"x"'}) == 200
    assert outcome(check_read, {"x-amz-copy-source-if-match": '"x"'}) == 200


def test_the_failed_condition_is_named():
    with pytest.raises(S3Error) as caught:
        check_copy_source({"x-amz-copy-source-if-match": '"x"'}, "abc", NOW)
    assert caught.value.fields == {"Condition": "x-amz-copy-source-If-Match"}


@given(
    st.dictionaries(
        st.sampled_from(["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"]),
        st.text(max_size=30),
    )
)
def test_garbage_is_never_an_accident(headers):
    assert outcome(check_read, headers) in (200, 304, 412)


@pytest.mark.parametrize(
    ("headers", "for_delete", "expected"),
    [
        ({}, False, WriteConditions()),
        ({"if-none-match": "*"}, False, WriteConditions(None, "*")),
        ({"if-match": '"abc"'}, False, WriteConditions("abc")),
        ({"if-match": " abc "}, False, WriteConditions("abc")),
        ({"if-match": 'W/"abc"'}, False, WriteConditions('W/"abc"')),
        ({"if-match": "*"}, True, WriteConditions("*")),
        ({"if-match": '"abc"'}, True, WriteConditions("abc")),
    ],
)
def test_write_conditions(headers, for_delete, expected):
    assert expected == write_conditions(headers, for_delete=for_delete)


@pytest.mark.parametrize(
    ("headers", "for_delete"),
    [
        ({"if-none-match": '"abc"'}, False),
        ({"if-match": "*"}, False),
        ({"if-match": '"a", "b"'}, False),
        ({"if-none-match": "*"}, True),
        ({"if-modified-since": SAME}, False),
        ({"if-unmodified-since": SAME}, True),
        ({"x-amz-if-match-size": "1"}, True),
    ],
)
def test_conditions_that_s3_does_not_know_on_writes(headers, for_delete):
    with pytest.raises(S3Error) as caught:
        write_conditions(headers, for_delete=for_delete)
    assert (caught.value.code, caught.value.status) == ("NotImplemented", 501)


@pytest.mark.parametrize("value", ["", '"', ","])
def test_if_match_without_an_etag(value):
    with pytest.raises(S3Error) as caught:
        write_conditions({"if-match": value})
    assert caught.value.code == "InvalidArgument"
