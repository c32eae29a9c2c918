"""What the tests of operators' commands share: the command line that asks one gateway."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from forebay.cli import main
from forebay_admin.client import Server


class Operator:
    """Runs commands against one gateway."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.forebay = gateway.forebay
        token = Path(gateway.config.state, "admin.token").read_text().strip()
        self.server = Server(gateway.url, token)
        self._environment = {"FOREBAY_SERVER": gateway.url, "FOREBAY_ADMIN_TOKEN": token}

    def run(self, *arguments, status=0):
        """Run a command; give what it printed."""
        result = CliRunner().invoke(main, [str(a) for a in arguments], env=self._environment)
        assert result.exit_code == status, result.output
        return result.stdout if not status else result.stderr

    def json(self, *arguments):
        """Run a command with --json; give what it printed."""
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def operate():
    """Make an operator of a gateway."""
    return Operator
