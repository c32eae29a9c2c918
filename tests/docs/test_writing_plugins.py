"""The plugin of the page on writing plugins is whole, short, and passes what the page says."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from forebay import testing

PAGE = (Path(__file__).parents[2] / "docs" / "writing-plugins.md").read_text("utf-8")
FILES = dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
# Found by its entry point, as when it is installed.
POINTS = "[forebay]\nflat = forebay_flat\n"


@pytest.fixture
def package(tmp_path):
    """Write the files down, beside what an installation would add."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    made = tmp_path / "forebay_flat-1.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: forebay-flat\nVersion: 1\n")
    (made / "entry_points.txt").write_text(POINTS)
    return tmp_path


def run(package, *command):
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines_of(*names):
    return [line for name in names for line in FILES[name].splitlines() if line.strip()]


def test_the_store_has_under_100_lines_and_its_test_what_the_page_says():
    assert len(lines_of("forebay_flat/under.py", "forebay_flat/__init__.py")) < 100
    assert f"a test of {len(lines_of('test_flat.py'))}" in PAGE


@pytest.mark.timeout(300)
def test_the_store_passes_the_kit_as_the_page_says(package):
    settings = ("-p", "no:cacheprovider", "-p", "no:randomly", "--basetemp", "tmp")
    said = run(package, "pytest", "-q", "-rs", "-W", "error", *settings)
    passed, skipped = (re.search(rf"(\d+) {word}", said) for word in ("passed", "skipped"))
    assert int(passed[1]) > 100
    # copy, parts, an empty directory, counted steps, severed storage: what it has not or does
    # not give.
    assert int(skipped[1]) == 21, said


def test_forebay_finds_it_where_the_project_says(package):
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    assert project["entry-points"] == {"forebay": {"flat": "forebay_flat"}}
    row = next(line for line in run(package, "forebay", "plugins").splitlines() if "flat" in line)
    assert "forebay-flat 1" in row
    assert "under_store_factory" in row


def test_every_kit_is_explained():
    for name in testing.__all__:
        assert f"`{name}`" in PAGE, name
        kit = getattr(testing, name)
        if name.endswith("Tests"):
            module = importlib.import_module(kit.__module__)
            assert issubclass(kit, getattr(module, name))
