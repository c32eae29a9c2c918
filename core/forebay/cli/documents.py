"""Writes the tables of docs/ that are generated from the code: ``python -m … docs``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from forebay.config import Config
from forebay.properties import property_keys
from forebay.settings import Key, describe


def keys_table() -> str:
    """Give the table of every key of ``forebay.toml``, properties left out."""
    return _table("Key", describe(Config))


def properties_table() -> str:
    """Give the table of every property."""
    return _table("Property", property_keys())


TABLES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "configuration.md": {"keys": keys_table, "properties": properties_table},
}
"""What is generated: by file, by the name in its markers."""


def renewed(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Give a page with what stands between its markers generated anew. Raises ValueError."""
    for name, make in tables.items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"the markers of {name} are missing")
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text


def main(folder: Path) -> None:
    """Renew every generated table below `folder`."""
    for name, tables in TABLES.items():
        page = folder / name
        page.write_text(renewed(page.read_text(encoding="utf-8"), tables), encoding="utf-8")


def _table(title: str, rows: Iterable[Key]) -> str:
    lines = [f"| {title} | Value | Default | Meaning |", "|---|---|---|---|"]
    for row in rows:
        plain = row.default in ("none", "required") or "`" in row.default or " " in row.default
        default = row.default if plain else f"`{row.default}`"
        lines.append(f"| `{row.path}` | {row.kind} | {default} | {row.text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
