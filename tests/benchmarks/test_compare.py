"""The comparison with the peer runs and prints its table; it reports, it does not judge."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_the_comparison_with_rclone_prints_a_ratio_for_every_load():
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed (apt-get install wrk)")
    script = Path(__file__).with_name("compare.py")
    output = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=900
    ).stdout
    print(output)
    assert output.count("\n| ") >= 6
