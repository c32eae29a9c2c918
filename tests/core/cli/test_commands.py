"""The group of commands: Forebay's own, and those that plugins add."""

import click
import pytest
from click.testing import CliRunner

from forebay import plugins
from forebay.cli import Commands, main
from forebay.errors import PluginError
from forebay.hookspecs import hookimpl


def group(monkeypatch, *added):
    """A group as `main` is, whose plugins are `added`."""
    real = plugins.Plugins

    def only(**given):
        return real(**given, extra=added)

    monkeypatch.setattr(plugins, "Plugins", only)
    return Commands("forebay", own=[main.commands["serve"]])


class Adds:
    def __init__(self, name, says):
        self._command = click.Command(name, callback=lambda: click.echo(says))

    @hookimpl
    def register_commands(self, cli):
        cli.add_command(self._command)


class Fails:
    @hookimpl
    def register_commands(self):
        raise PluginError("the plugin fails is broken")


def test_register_commands_adds_commands_of_plugins(monkeypatch):
    cli = group(monkeypatch, Adds("rain", "it rains"))
    assert CliRunner().invoke(cli, ["rain"]).output == "it rains\n"
    assert "rain" in CliRunner().invoke(cli, ["--help"]).output


def test_an_installed_plugin_outranks_our_own_command(monkeypatch):
    assert "status" in main.list_commands(click.Context(main))
    cli = group(monkeypatch, Adds("status", "mine"))
    assert CliRunner().invoke(cli, ["status"]).output == "mine\n"


def test_a_command_of_the_core_cannot_be_taken(monkeypatch):
    cli = group(monkeypatch, Adds("serve", "mine"))
    result = CliRunner().invoke(cli, ["status"])
    assert result.exit_code == 2
    assert result.stderr == "forebay: a plugin adds a command serve, which is Forebay's own\n"


def test_a_broken_plugin_leaves_our_own_commands_and_is_named(monkeypatch):
    cli = group(monkeypatch, Fails())
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert "serve" in result.output
    assert "the plugin fails is broken" in result.stderr
    assert CliRunner().invoke(cli, ["serve", "--help"]).exit_code == 0


@pytest.mark.parametrize("name", sorted(main.list_commands(click.Context(main))))
def test_every_command_teaches_by_help(name):
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    command = main.get_command(click.Context(main), name)
    assert command.help
    assert name == "plugins" or f"forebay {name}" in result.output, "no example"


def test_the_list_of_commands_is_not_cut_off():
    lines = CliRunner().invoke(main, ["--help"]).output.partition("Commands:")[2].splitlines()
    listed = [line for line in lines if line.startswith("  ")]
    assert len(listed) > 15
    assert not [line for line in listed if line.endswith("...")]


def test_an_unknown_command_is_refused_with_the_nearest(monkeypatch):
    result = CliRunner().invoke(main, ["stats"])
    assert result.exit_code == 2
    assert "stat" in result.stderr
