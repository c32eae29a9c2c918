"""The marks are known where a project asks for strict ones."""

import os
import subprocess
import sys

import pytest

from forebay.testing.pytest_plugin import MARKERS


def outcome(folder, mark: str) -> int:
    (folder / "test_it.py").write_text(
        f"import pytest\n@pytest.mark.{mark}\ndef test_it():\n    pass\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [
            sys.executable,
            *["-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", "-p"],
            "forebay.testing.pytest_plugin",
            folder,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=30,
    ).returncode


@pytest.mark.parametrize("mark", MARKERS)
def test_a_mark_is_known(tmp_path, mark):
    assert outcome(tmp_path, mark) == 0


def test_another_mark_is_not(tmp_path):
    assert outcome(tmp_path, "sloow") != 0
