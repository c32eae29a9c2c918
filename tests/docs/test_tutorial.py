"""The commands of the tutorial print what the tutorial says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.server.gateway import Gateway

TUTORIAL = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text("utf-8")
STEP = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


def steps():
    """Give each command of the shell and what it prints, but the one that begins the server."""
    for block in re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL):
        for command, printed in STEP.findall(block):
            if command != "make serve":
                yield command, printed


@pytest.mark.timeout(120)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_print_what_the_tutorial_says(tmp_path):
    (tmp_path / "data").mkdir()
    said = list(steps())
    assert len(said) >= 10
    with Gateway(tmp_path / "data", state=tmp_path / "state") as gateway:
        script, expected = [], []
        for number, (command, printed) in enumerate(said):
            script += [command.replace("127.0.0.1:39999", f"127.0.0.1:{gateway.port}")]
            script += [f"echo '--- {number}'"]
            expected.append(printed.splitlines())
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-e"],
            input="\n".join(script),
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    got = [part.split() for part in re.split(r"--- \d+\n", done.stdout)[:-1]]
    assert [" ".join(lines).split() for lines in expected] == got


def test_the_python_of_the_tutorial_runs():
    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    exec(compile(code, "tutorial", "exec"), {})
