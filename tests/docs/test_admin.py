"""The page of operations against the commands and the admin API that there are."""

import re
from pathlib import Path

import click
import msgspec
import pytest

from forebay.cli import main
from forebay_admin.commands import COMMANDS
from forebay_admin.endpoints import ENDPOINTS

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def test_every_endpoint_is_documented_with_its_arguments():
    rows = re.findall(r"^\| `(GET|POST) /-/admin/([\w/]+)` \| ([^|]*) \| ([^|]*) \|$", PAGE, re.M)
    assert rows == [
        (
            row.method,
            row.name,
            ", ".join(f.name for f in msgspec.structs.fields(row.arguments)) or "none",
            row.text,
        )
        for row in ENDPOINTS
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_documented(command):
    assert re.search(rf"(`|^)forebay {command.name}( |`|$)", PAGE, re.MULTILINE)


def test_every_command_and_option_of_the_page_is_there():
    blocks = re.findall(r"```\n(.*?)```", PAGE, re.S)
    lines = [line.partition("#")[0] for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(forebay [^`]+)`", PAGE)
    assert len(lines) > 5
    for line in lines:
        words = line.split()
        if words[:1] != ["forebay"]:
            continue
        command = main.get_command(click.Context(main), words[1])
        assert command is not None, line
        options = {name for one in command.params for name in one.opts}
        for word in words[2:]:
            word = word.strip("[]")
            assert not word.startswith("-") or word.partition("=")[0] in options, line
