import json

import pytest
from click.testing import CliRunner

from forebay.cli import main
from forebay.cli.check import ask_all, endpoint_of, place_of
from forebay.config import Config, MountConfig, ServerConfig
from forebay.errors import ConfigurationError

GOOD = """
[metadata]
kind = "memory"
[mounts."/"]
under = "memory://root"
[mounts."/raw"]
under = "memory://raw"
read_only = true
metadata_sync = "90s"
"""


@pytest.fixture
def check(tmp_path):
    def check(text, *options):
        (tmp_path / "forebay.toml").write_text(text)
        arguments = ["check", "--config", str(tmp_path / "forebay.toml"), *options]
        return CliRunner().invoke(main, arguments)

    return check


def test_check_draws_what_would_be_served(check):
    result = check(GOOD)
    assert result.exit_code == 0, result.output
    for expected in ("memory://root", "CACHE_THROUGH", "refused", "90s", "http://127.0.0.1:39999/"):
        assert expected in result.output


def test_check_gives_the_same_as_json(check):
    result = check(GOOD, "--json")
    told = json.loads(result.output)
    assert result.exit_code == 0
    assert told["ok"] is True
    assert told["mounts"][1] == {
        "path": "/raw",
        "under": "memory://raw",
        "write_type": "CACHE_THROUGH",
        "delete_type": "ALLUXIO_AND_UFS",
        "metadata_sync": 90.0,
        "read_only": True,
    }


def test_check_lists_every_fault_and_fails_with_2(check):
    result = check("durabilty = 'disk'\n[server]\nworkers = 0\n" + GOOD)
    assert result.exit_code == 2
    assert result.output == (
        "forebay: this cannot be served:\n"
        "  durabilty: unknown key; did you mean durability?\n"
        "  server.workers: expected `int` >= 1\n"
    )


def test_check_lists_faults_as_json(check):
    result = check("durabilty = 'disk'\n" + GOOD, "--json")
    assert result.exit_code == 2
    assert json.loads(result.output) == {
        "ok": False,
        "faults": ["durabilty: unknown key; did you mean durability?"],
    }


def test_check_shows_no_password(check):
    text = GOOD.replace("memory://raw", "memory://me:hush@raw")
    for options in ((), ("--json",)):
        assert "hush" not in check(text, *options).output


def test_every_store_that_nobody_makes_is_a_fault():
    mounts = {"/": MountConfig("/", "memory://x"), "/raw": MountConfig("/raw", "rian://y")}
    with pytest.raises(ConfigurationError) as caught:
        ask_all(Config(mounts=mounts, plugins_blocked=["sqlite"]))
    assert [fault.partition(" ")[0] for fault in caught.value.faults] == [
        "metadata:",
        "mounts./raw:",
    ]


@pytest.mark.parametrize(
    ("listen", "endpoint"),
    [
        ("127.0.0.1:80", "http://127.0.0.1:80"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        (":80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
        ("[::1]:80", "http://[::1]:80"),
        ("example.org:80", "http://example.org:80"),
    ],
)
def test_the_endpoint_is_a_url_that_a_client_here_can_use(listen, endpoint):
    assert endpoint_of(Config(mounts={}, server=ServerConfig(listen=listen))) == endpoint


def test_a_directory_is_shown_as_a_path():
    assert place_of(MountConfig("/", "file:///srv/a%20b")) == "/srv/a b"
    assert place_of(MountConfig("/", "sftp://me:pw@host/x")) == "sftp://me:…@host/x"
