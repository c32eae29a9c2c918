import itertools
import json

import click
import pytest
from click.testing import CliRunner

from forebay.errors import ConfigurationError
from forebay_admin.asking import asks, print_json
from forebay_admin.client import Refusal, Server, Unreachable

HERE = ["--server", "http://127.0.0.1:1", "--token", "t"]


def command(raises=None):
    @click.command()
    @click.argument("word")
    @asks
    def ask(server, as_json, word):
        if raises is not None:
            raise raises
        click.echo(f"{server.url} {word} {as_json}")

    return ask


def test_a_command_is_given_its_server_and_its_own_arguments():
    result = CliRunner().invoke(command(), [*HERE, "word", "--json"])
    assert result.output == "http://127.0.0.1:1 word True\n"


def test_the_server_may_come_from_the_environment():
    environment = {"FOREBAY_SERVER": "http://127.0.0.1:2", "FOREBAY_ADMIN_TOKEN": "t"}
    result = CliRunner().invoke(command(), ["word"], env=environment)
    assert result.output == "http://127.0.0.1:2 word False\n"


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two configurations, each with its port and its token."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    for port in (1, 2):
        (tmp_path / f"{port}.toml").write_text(
            f'state = "{port}"\n[server]\nlisten = "127.0.0.1:{port}"\n'
            f'[admin]\ntoken = "t{port}"\n[mounts."/"]\nunder = "memory://x"\n'
        )
    return str(tmp_path / "1.toml"), str(tmp_path / "2.toml")


def server_of(*arguments, **environment):
    asked = []

    @click.command()
    @asks
    def ask(server, as_json):
        asked.append(server)

    result = CliRunner().invoke(ask, arguments, env=environment)
    return (asked[0].url[-1], asked[0].token) if asked else result.stderr


def test_what_is_typed_beats_the_environment(two, tmp_path):
    one, other = two
    assert server_of(FOREBAY_CONFIG=one) == ("1", "t1")
    assert server_of("--config", other, FOREBAY_CONFIG=one) == ("2", "t2")
    there = {"FOREBAY_SERVER": "http://127.0.0.1:3", "FOREBAY_ADMIN_TOKEN": "t3"}
    assert server_of(**there, FOREBAY_CONFIG=one) == ("3", "t3")
    assert server_of("--config", one, **there) == ("1", "t1")
    assert server_of("--config", one, "--token", "typed", **there) == ("1", "typed")
    assert server_of("--config", one, FOREBAY_ADMIN_TOKEN="t4") == ("1", "t4")
    for environment in ({"FOREBAY_CONFIG": one}, there):
        said = server_of("--storage", str(tmp_path / "none"), **environment)
        assert "there is no token in" in said
        assert str(tmp_path / "home") in said


@pytest.mark.parametrize("given", list(itertools.combinations(["server", "config", "storage"], 2)))
def test_two_servers_are_not_guessed_between(two, given):
    typed = [word for name in given for word in (f"--{name}", "x")]
    said = f"forebay: --{given[0]} and --{given[1]} each name a server: give one of them\n"
    assert server_of(*typed) == said


@pytest.mark.parametrize(
    ("raises", "status"),
    [
        (Unreachable("nobody there"), 1),
        (Refusal("NoSuchKey", "nothing there"), 1),
        (Refusal("InvalidArgument", "no path"), 2),
        (ConfigurationError("no file"), 2),
    ],
)
def test_a_refusal_is_a_sentence_and_a_status(raises, status):
    result = CliRunner().invoke(command(raises), [*HERE, "word"])
    assert (result.exit_code, result.stderr) == (status, f"forebay: {raises}\n")


def test_the_token_is_not_printed_by_an_error():
    with pytest.raises(Unreachable) as refused:
        Server("http://127.0.0.1:1", "secret-token").get("status")
    assert "secret-token" not in str(refused.value)
    assert "secret-token" not in repr(Server("http://127.0.0.1:1", "secret-token"))


def test_a_refusal_moves_no_terminal():
    result = CliRunner().invoke(
        command(Refusal("NoSuchKey", "no a\x1b[2J\nnor b")), [*HERE, "word"]
    )
    assert result.stderr == "forebay: no a\\x1b[2J\nnor b\n"


def test_json_moves_no_terminal_and_says_the_same(capsys):
    said = {"key": "día\x7f\x9b2J\x1b\n\U000e0001"}
    print_json(said)
    printed = capsys.readouterr().out
    assert all(one.isprintable() or one == "\n" for one in printed)
    assert "día" in printed
    assert json.loads(printed) == said
