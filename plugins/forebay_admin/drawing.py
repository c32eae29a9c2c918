"""How sizes, times and tables look to people."""

from __future__ import annotations

from datetime import UTC, datetime

from rich import markup
from rich.console import Console
from rich.table import Table

from forebay.units import round_size

WIDE = 200
"""Columns of a table that goes into a file or a pipe, where nothing is cut off."""


def console() -> Console:
    """Give the console that tables go to."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=max(WIDE, out.width))


size = round_size


def table(*titles: str, right: tuple[str, ...] = ()) -> Table:
    """Make a table without lines; columns named in `right` are numbers."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for title in titles:
        made.add_column(title, justify="right" if title in right else "left", overflow="fold")
    return made


def visible(text: str) -> str:
    r"""Give a text of somebody else with all that moves a terminal written out.

    >>> visible("día\x1b[2J\n")
    'día\\x1b[2J\\n'
    """
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def escape(text: str) -> str:
    """Give a text of somebody else so that rich and the terminal show it, and do nothing else."""
    return markup.escape(visible(text))


def age(seconds: float) -> str:
    """Give a length of time in its two largest units.

    >>> age(0.4), age(75), age(90061)
    ('0s', '1m15s', '1d1h')
    """
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= length or (unit == "s" and not parts):
            parts.append(f"{left // length}{unit}")
            left %= length
        if len(parts) == 2:
            break
    return "".join(parts)


def when(ms: int) -> str:
    """Give a moment (ms since 1970) in UTC; nothing for none.

    >>> when(0), when(1_700_000_000_000)
    ('', '2023-11-14 22:13:20')
    """
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if ms else ""


def share(part: float, whole: float) -> str:
    """Give a share in percent; never 100% of what is not whole, nor 0% of what is there.

    >>> share(1, 3), share(999_999, 1_000_000), share(1, 1_000_000), share(0, 0)
    ('33%', '99%', '1%', '')
    """
    if not whole:
        return ""
    percent = int(100 * part / whole)
    return f"{max(1, percent) if part else 0}%"
