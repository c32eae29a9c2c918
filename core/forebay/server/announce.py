"""Where a running server is reached, written down so that commands on this machine find it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NAME = "endpoint"
"""File in the state that holds the URL while the server runs."""


def announce(state: str, url: str) -> None:
    """Write the URL down, whole or not at all; a server without a state cannot be found so."""
    if not state:
        return
    draft = Path(state, f".{NAME}.{os.getpid()}")
    draft.write_text(url + "\n", encoding="utf-8")
    draft.replace(Path(state, NAME))


def withdraw(state: str, url: str) -> None:
    """Remove the URL, unless another server has written its own meanwhile."""
    if not state:
        return
    with contextlib.suppress(FileNotFoundError):
        if Path(state, NAME).read_text(encoding="utf-8").strip() == url:
            Path(state, NAME).unlink()
