from forebay.cli import main
from forebay_admin.commands import COMMANDS


def test_every_command_asks_a_server_and_speaks_json():
    for command in COMMANDS:
        options = {name for one in command.params for name in one.opts}
        assert {"--server", "--token", "--config", "--storage", "--json"} <= options, command.name


def test_no_name_is_taken_twice_or_from_the_core():
    names = [command.name for command in COMMANDS]
    assert len(set(names)) == len(names)
    assert not {*names} & {*main._own}
