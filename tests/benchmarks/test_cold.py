"""The measurement of cold reads runs and prints its table; only what cannot vary is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(900)
@pytest.mark.parametrize("origin", ["forebay", "moto"])
def test_cold_reads_print_a_ratio_for_every_goal(origin, tmp_path):
    pytest.importorskip("obstore", reason="pip install 'forebay[s3]'")
    if origin == "moto":
        pytest.importorskip("moto.server", reason="moto's server is not installed")
    script, figures = Path(__file__).with_name("cold.py"), tmp_path / "figures.json"
    output = subprocess.run(
        [sys.executable, str(script), "--origin", origin, "--json", str(figures)],
        capture_output=True, text=True, check=True, timeout=900,
    ).stdout  # fmt: skip
    print(output)
    assert output.count("\n| ") == 7
    assert set(json.loads(figures.read_text())["requests for 100 clients"]) == {1}
