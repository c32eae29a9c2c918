"""The secret between operators and the server: configured, or made once and kept in the state."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from pathlib import Path

NAME = "admin.token"
"""File of the state that holds a token nobody configured; only its owner may read it."""


def token_of(configured: str, state: str) -> str:
    """Give the token that requests must carry, making it at first start; "" where there is none.

    Several processes may start at once: the file appears whole, and the first one stays.
    """
    if configured or not state:
        return configured
    path = Path(state, NAME)
    if not path.exists():
        draft = Path(state, f".{NAME}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text(encoding="ascii").strip()


def is_right(token: str, header: str | None) -> bool:
    """Tell, in time that does not depend on the answer, whether a request carries the token."""
    scheme, _, given = (header or "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    return bool(token) and scheme.lower() == "bearer" and right
