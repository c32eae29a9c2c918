"""Docstrings with examples are true."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = [
    ".".join(path.relative_to(source).with_suffix("").parts)
    for source in (ROOT / "core", ROOT / "plugins")
    for path in sorted(source.rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", SHOWN)
def test_the_examples_of_a_docstring_are_true(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
