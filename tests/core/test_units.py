import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.units import parse_size, parse_time, show_size, show_time


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("4096", 4096),
        (4096, 4096),
        ("0", 0),
        ("2KB", 2048),
        ("2kb", 2048),
        ("2K", 2048),
        ("1 MiB", 1 << 20),
        ("1.5 GiB", 3 << 29),
        (" 10gb ", 10 << 30),
        ("7B", 7),
        ("1TB", 1 << 40),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_a_size_is_bytes_in_binary_units(written, size):
    assert size == parse_size(written)


@pytest.mark.parametrize(
    "written",
    ["", "KB", "-1", "1 parsec", "1.5", "1,5 KB", "1e3", "٣", "0x10", True, None, -1, 1.5],
)
def test_what_is_no_size_is_refused(written):
    with pytest.raises(ValueError, match=r"is not a (size|whole number)"):
        parse_size(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("60s", 60.0),
        ("30sec", 30.0),
        ("10min", 600.0),
        ("2 hours", 7200.0),
        ("7day", 604800.0),
        ("0.5d", 43200.0),
        (90, 90.0),
        (0.25, 0.25),
        ("90", 90.0),
    ],
)
def test_a_time_is_seconds(written, seconds):
    assert seconds == parse_time(written)


def test_a_bare_time_takes_the_unit_it_is_read_with():
    assert parse_time("500", bare="ms") == 0.5
    assert parse_time(500, bare="ms") == 0.5
    assert parse_time("500s", bare="ms") == 500.0


@pytest.mark.parametrize(
    "written", ["", "s", "-1s", "5 parsecs", "1:30", True, None, -1, float("nan"), float("inf")]
)
def test_what_is_no_time_is_refused(written):
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(written)


@given(st.integers(0, 1 << 62))
def test_a_size_that_is_shown_is_read_back(size):
    assert size == parse_size(show_size(size))


@given(st.integers(0, 10_000_000))
def test_a_time_that_is_shown_is_read_back(seconds):
    assert seconds == parse_time(show_time(seconds))
