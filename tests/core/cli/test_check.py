import importlib.util
import json
import socket

import pytest
from click.testing import CliRunner

from forebay.cli import main
from forebay.cli.check import endpoint_of, missing, place_of
from forebay.config import Config, MountConfig, ServerConfig

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
    faults = missing(Config(mounts=mounts, plugins_blocked=["sqlite"]))
    assert [fault.partition(" ")[0] for fault in faults] == [
        "metadata:",
        "mounts./raw:",
    ]


FAULTY = """
durabilty = "disk"
state = "state"
[[cache.tiers]]
name = "A"
path = "pages"
[[cache.tiers]]
name = "A"
path = "pages"
kind = "dsk"
eviction = "lruu"
capacity = "1 GiB"
[[cache.tiers]]
name = "B"
path = "other"
capacity = "1 GiB"
options = { verfy = "first" }
[metadata]
options = { busy_timeout = "x" }
[mounts."/"]
under = "root"
options = { foo = 1 }
[mounts."/a"]
under = "s3://x"
options = { endpint_url = "x", timeout = "abc", addressing_style = "weird", retries = "x" }
[mounts."/b"]
under = "sftp://me@host/x"
options = { pasword = "x" }
[mounts."/c"]
under = "s3:/x"
[mounts."/d"]
under = "rian://x"
[mounts."/e"]
under = "gs://x"
options = { ca_file = "/not/there" }
[mounts."/f"]
under = "s3://x"
options = { secret_access_key = { env = "FOREBAY_TEST_NOT_SET" } }
"""


def test_all_that_can_be_known_is_told_at_once_and_nothing_is_made(check, tmp_path):
    result = check(FAULTY)
    assert result.exit_code == 2
    _, *faults = result.output.splitlines()
    for fault, expected in zip(faults, [
        "mounts./c.under: 's3:/x' has one slash; did you mean s3://x?",
        "mounts./f.options.secret_access_key: the environment variable",
        "durabilty: unknown key; did you mean durability?",
        "cache.tiers[0].capacity: must be given",
        "cache.tiers[1].name: two tiers are called A",
        "cache.tiers[1].path: two tiers share",
        "metadata: `busy_timeout` must be a number",
        "cache.tiers[1]: no plugin makes a page store for kind 'dsk'; did you mean disk?",
        "cache.tiers[1]: no plugin makes an eviction policy for kind 'lruu'; did you mean lru?",
        "cache.tiers[2]: unknown option 'verfy'; the nearest is 'verify'",
        "mounts./: 'foo' is no option of a file:// store",
        "mounts./a: options.retries: 'x' is not a number",
        "mounts./a: 'endpint_url' is no option of an under store on s3; nearest: 'endpoint_url'",
        "mounts./a: timeout = 'abc': must be seconds",
        "mounts./a: addressing_style = 'weird': must be path or virtual",
        "mounts./b: 'pasword' is no option of sftp://; nearest: 'password'",
        "mounts./d: no plugin makes an under store for scheme 'rian'",
        "mounts./e: ca_file = '/not/there': ",
    ], strict=True):  # fmt: skip
        assert fault.strip().startswith(expected)
    assert [one.name for one in tmp_path.iterdir()] == ["forebay.toml"]
    served = CliRunner().invoke(main, ["serve", "--config", str(tmp_path / "forebay.toml")])
    assert (served.exit_code, served.output) == (2, result.output)


def test_no_store_is_asked(check, monkeypatch):
    def refuse(*_):
        raise AssertionError("somebody connects")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    stores = ("s3://x", "sftp://me@h/x", "ftp://h/x", "https://h/x", "zip://https://h/a.zip")
    mounts = [f'[mounts."/m{n}"]\nunder = "{store}"\n' for n, store in enumerate(stores)]
    result = check(GOOD + "".join(mounts))
    assert result.exit_code == 0, result.output


def test_a_package_that_is_not_installed_is_a_fault(check, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    text = GOOD.replace("memory://raw", "smb://host/share").replace("memory://root", "s3://x")
    told = check(text).output
    assert "mounts./: s3://x: the package urllib3 is not installed; pip install" in told
    assert "mounts./raw: smb:// needs smbprotocol: pip install 'forebay[smb]'" in told


def test_a_plugin_that_cannot_be_loaded_is_told_beside_the_rest(check, monkeypatch):
    monkeypatch.setattr("forebay.plugins.entry_points", lambda group: ())
    told = check("durabilty = 'disk'\n" + GOOD).output
    assert "durabilty: unknown key" in told
    assert "no plugin is installed, not even Forebay's own" in told


def test_a_directory_that_is_not_there_is_shown_as_such(check, tmp_path):
    text = GOOD.replace("memory://root", "no").replace("memory://raw", ".")
    result = check(text)
    assert result.exit_code == 0, result.output
    assert result.output.replace("\n", "").count("serve") == 1
    assert not (tmp_path / "no").exists()


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
