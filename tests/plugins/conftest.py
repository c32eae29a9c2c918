"""The servers of this machine, for the tests of stores behind a network."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("servers", Path(__file__).with_name("servers.py"))
_servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_servers)


@pytest.fixture(scope="session")
def servers():
    """Give the module of context managers that each run one server."""
    return _servers
