"""Sizes and times as operators write them, Alluxio's spelling included."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", re.ASCII)

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_SIZES = {
    f"{letter}{ending}".lower(): 1024**power
    for letter, power in _POWERS.items()
    for ending in ("", "B", "iB")
    if letter or ending != "iB"
}
_TIMES = {
    spelling: seconds
    for seconds, spellings in {
        0.001: "ms millisecond milliseconds",
        1.0: "s sec secs second seconds",
        60.0: "m min mins minute minutes",
        3600.0: "h hr hrs hour hours",
        86400.0: "d day days",
    }.items()
    for spelling in spellings.split()
}


def parse_size(given: object) -> int:
    """Give bytes for ``2KB``, ``1 MiB``, ``1.5g`` or a bare number; every unit is binary.

    KB is 1,024 bytes as in Alluxio, the same as KiB. Raises ValueError.

    >>> parse_size("2KB"), parse_size("1 MiB"), parse_size(4096)
    (2048, 1048576, 4096)
    """
    amount, unit = _split(given, "a size", "4096, 2KB, 1 MiB or 10 GiB")
    if unit not in _SIZES:
        raise ValueError(f"{given!r} is not a size; write one like 4096, 2KB, 1 MiB or 10 GiB")
    size = amount * _SIZES[unit]
    if size != int(size):
        raise ValueError(f"{given!r} is not a whole number of bytes")
    return int(size)


def parse_time(given: object, *, bare: str = "s") -> float:
    """Give seconds for ``500ms``, ``30sec``, ``10min``, ``7day`` or a bare number of `bare`.

    Raises ValueError.

    >>> parse_time("500ms"), parse_time("10min"), parse_time(60)
    (0.5, 600.0, 60.0)
    """
    amount, unit = _split(given, "a time", "500ms, 30sec, 10min or 7day")
    if (unit or bare) not in _TIMES:
        raise ValueError(f"{given!r} is not a time; write one like 500ms, 30sec, 10min or 7day")
    return amount * _TIMES[unit or bare]


def show_size(size: int) -> str:
    """Give a size in the largest unit that keeps it exact; `parse_size` reads it back.

    >>> show_size(1048576), show_size(1500)
    ('1 MiB', '1500')
    """
    for letter, power in reversed(_POWERS.items()):
        if letter and size and size % 1024**power == 0:
            return f"{size // 1024**power} {letter}iB"
    return str(size)


def round_size(size: float) -> str:
    """Give a size in the unit people would choose, rounded.

    >>> round_size(0), round_size(1023), round_size(1536), round_size(5 << 40)
    ('0 B', '1023 B', '1.5 KiB', '5.0 TiB')
    """
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = 0
    while size >= 1023.95 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.0f} B" if not power else f"{size:.1f} {units[power]}"


def show_time(seconds: float) -> str:
    """Give a time in the largest unit that keeps it whole; `parse_time` reads it back.

    >>> show_time(604800), show_time(0.5)
    ('7day', '500ms')
    """
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    if seconds == int(seconds):
        return f"{int(seconds)}s"
    return f"{seconds * 1000:g}ms"


def _split(given: object, what: str, samples: str) -> tuple[float, str]:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError(f"{given!r} is not {what}; write one like {samples}")
    if isinstance(given, int | float):
        if not (math.isfinite(given) and given >= 0):
            raise ValueError(f"{given!r} is not {what}: it must be 0 or more")
        return given, ""
    found = _NUMBER.fullmatch(given.strip())
    if found is None:
        raise ValueError(f"{given!r} is not {what}; write one like {samples}")
    number, unit = found.groups()
    # Whole numbers stay exact whatever their length.
    return (float(number) if "." in number else int(number)), unit.lower()
