"""Every example runs, and prints what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "scratch_stays_here.py": "tmp/scratch MUST_CACHE\nkept CACHE_THROUGH\n",
    "write_types.py": (
        "MUST_CACHE     disk         file: False\n"
        "CACHE_THROUGH  under-store  file: True\n"
        "ASYNC_THROUGH  disk         file: True\n"
        "THROUGH        under-store  file: True\n"
    ),
}


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_should(name):
    assert PRINTED[name] == run(str(EXAMPLES / name))


def test_the_fixture_for_pytest_works():
    file = str(EXAMPLES / "pytest_fixture.py")
    assert "1 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", file)


def test_every_example_is_run_by_a_test():
    tested = {*PRINTED, "pytest_fixture.py"}
    assert tested == {path.name for path in EXAMPLES.glob("*.py")}
