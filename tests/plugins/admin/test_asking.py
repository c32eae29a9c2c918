import click
import pytest
from click.testing import CliRunner

from forebay.errors import ConfigurationError
from forebay_admin.asking import asks
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
