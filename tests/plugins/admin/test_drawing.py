import pytest
from rich.text import Text

from forebay_admin.drawing import age, escape, share, size, table, visible, when


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (3 << 50, "3.0 PiB"),
        (1 << 62, "4096.0 PiB"),
    ],
)
def test_sizes(count, shown):
    assert size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (3601, "1h1s"), (86400 * 8 + 7200, "8d2h")],
)
def test_ages(seconds, shown):
    assert age(seconds) == shown


def test_a_share_is_whole_only_when_it_is():
    assert [share(part, 1000) for part in (0, 1, 500, 999, 1000)] == [
        "0%",
        "1%",
        "50%",
        "99%",
        "100%",
    ]


def test_a_moment_is_in_utc():
    assert when(951_782_400_000) == "2000-02-29 00:00:00"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("día/日本 [x]", "día/日本 [x]"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\x7f", "a\\nb\\tc\\x7f"),
        ("\x9b2J\u202egnp", "\\x9b2J\\u202egnp"),
    ],
)
def test_what_would_move_a_terminal_is_written_out(text, shown):
    assert visible(text) == shown
    assert Text.from_markup(escape(text)).plain == shown


def test_numbers_stand_at_the_right():
    made = table("name", "size", right=("size",))
    assert [column.justify for column in made.columns] == ["left", "right"]
