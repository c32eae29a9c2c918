"""Writes the tables of docs/ that are generated from the code: ``python -m … docs``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from forebay.config import Config
from forebay.properties import property_keys
from forebay.s3.dialect import DIFFERENCES
from forebay.s3.errors import ERRORS
from forebay.s3.operations import OPERATIONS, UNSUPPORTED, Level
from forebay.settings import Key, describe


def keys_table() -> str:
    """Give the table of every key of ``forebay.toml``, properties left out."""
    return _table("Key", describe(Config))


def properties_table() -> str:
    """Give the table of every property."""
    return _table("Property", property_keys())


def operations_table() -> str:
    """Give the table of operations that do what S3's do."""
    rows = [
        (
            f"`{row.name}`",
            _request(row.method, row.level, *row.query) + _with(row.headers),
            str(row.status),
        )
        for row in OPERATIONS
        if not row.probe
    ]
    return _rows(("Operation", "Request", "Success"), rows)


def probes_table() -> str:
    """Give the table of operations that answer as where the feature was never used."""
    rows = [
        (f"`{row.name}`", _request(row.method, row.level, *row.query))
        for row in OPERATIONS
        if row.probe
    ]
    return _rows(("Operation", "Request"), rows)


def unsupported_table() -> str:
    """Give the table of operations that are refused by name."""
    rows = [
        (f"`{row.name}`", _request(row.method, row.level, *filter(None, [row.parameter])))
        for row in UNSUPPORTED
    ]
    return _rows(("Operation", "Request"), rows)


def differences_table() -> str:
    """Give the table of what the two endpoints answer differently."""
    return _rows(("Point", "Alluxio's, `/api/v1/s3/`", "AWS's, `/`"), DIFFERENCES)


def errors_table() -> str:
    """Give the table of error codes."""
    rows = [(f"`{code}`", str(kind.status), kind.message) for code, kind in ERRORS.items()]
    return _rows(("Code", "Status", "Message, when there is nothing better to say"), rows)


TABLES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "configuration.md": {"keys": keys_table, "properties": properties_table},
    "s3-operations.md": {
        "operations": operations_table,
        "differences": differences_table,
        "probes": probes_table,
        "unsupported": unsupported_table,
        "errors": errors_table,
    },
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


_PATHS = {Level.SERVICE: "/", Level.BUCKET: "/bucket", Level.OBJECT: "/bucket/key"}


def _request(method: str, level: Level, *query: str) -> str:
    return f"`{method} {_PATHS[level]}{'?' * bool(query)}{'&'.join(query)}`"


def _with(headers: Iterable[str]) -> str:
    return "".join(f" with `{name}`" for name in headers)


def _table(title: str, keys: Iterable[Key]) -> str:
    rows = []
    for key in keys:
        plain = key.default in ("none", "required") or "`" in key.default or " " in key.default
        default = key.default if plain else f"`{key.default}`"
        rows.append((f"`{key.path}`", key.kind, default, key.text))
    return _rows((title, "Value", "Default", "Meaning"), rows)


def _rows(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (f"| {' | '.join(cells)} |" for cells in rows)
    return "\n".join([f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *lines]) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
