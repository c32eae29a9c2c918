"""Forebay: an S3 endpoint in front of any storage."""

from importlib import import_module
from typing import Any

__all__ = ["Gateway", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the server only for those who ask for `Gateway`."""
    if name == "Gateway":
        return import_module("forebay.server.gateway").Gateway
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
