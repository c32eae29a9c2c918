"""The marks that tests of Forebay and its plugins bear, for those who want strict markers."""

import pytest

MARKERS = {
    "slow": "takes minutes",
    "faults": "kills servers and breaks stores at named points",
    "benchmark": "measures and prints",
}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
