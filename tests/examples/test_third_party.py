"""The example package fits this Forebay; `.ci/run` installs it beside the wheel and runs it all."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party"


@pytest.mark.slow  # .ci/run has them pass it beside the wheel
@pytest.mark.timeout(300)
def test_its_stores_pass_the_kit(tmp_path):
    # What needs its entry point, or takes long, is left to the clean environment of CI.
    here = "not TestWriteTypes and not TestForebay"
    done = subprocess.run(
        [
            *[sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", here],
            *["-c", str(EXAMPLE / "pyproject.toml"), f"--basetemp={tmp_path}/tmp"],
            *[str(EXAMPLE / "tests" / name) for name in ("test_under.py", "test_eviction.py")],
        ],
        env={**os.environ, "PYTHONPATH": str(EXAMPLE), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " failed" not in done.stdout


def test_its_entry_point_names_its_package():
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["forebay"] == {"example": "forebay_example"}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["forebay_example"]
