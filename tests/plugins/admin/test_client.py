"""How a command finds its server, and what it is told when it does not."""

import socket

import pytest

from forebay.server.gateway import Gateway
from forebay_admin.client import Refusal, Server, Unreachable, find_server


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A state home of its own, where the servers of this test write where they are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "forebay"


def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_the_one_server_that_runs_is_found(home):
    with Gateway("memory://x", state=home / "one") as gateway:
        server = find_server(None, None, None, None)
        assert server.url == gateway.url
        assert server.get("status")["version"]


def test_of_several_one_must_be_named(home):
    with (
        Gateway("memory://x", state=home / "one") as one,
        Gateway("memory://x", state=home / "two") as two,
        pytest.raises(Unreachable) as refused,
    ):
        find_server(None, None, None, None)
    for word in (one.url, two.url, "--config", "--storage", "--server"):
        assert word in str(refused.value)


def test_a_server_that_died_is_not_found(home):
    (home / "dead").mkdir(parents=True)
    (home / "dead" / "endpoint").write_text(f"http://127.0.0.1:{closed_port()}\n")
    with pytest.raises(Unreachable, match="no server was found"):
        find_server(None, None, None, None)


def test_a_server_is_found_by_its_configuration(tmp_path):
    (tmp_path / "forebay.toml").write_text(
        'state = "own"\n[server]\nlisten = "127.0.0.1:0"\n[mounts."/"]\nunder = "memory://x"\n'
    )
    with Gateway(tmp_path / "forebay.toml") as gateway:
        server = find_server(None, None, str(tmp_path / "forebay.toml"), None)
        assert server.url == gateway.url
        assert server.get("status")["state"] == str(tmp_path / "own")


def test_a_configured_token_is_used(tmp_path):
    (tmp_path / "forebay.toml").write_text(
        'state = "own"\n[server]\nlisten = "127.0.0.1:0"\n[mounts."/"]\nunder = "memory://x"\n'
        '[admin]\ntoken = "given"\n'
    )
    with Gateway(tmp_path / "forebay.toml"):
        assert find_server(None, None, str(tmp_path / "forebay.toml"), None).token == "given"


def test_a_server_is_found_by_what_it_was_given_to_serve(home, tmp_path):
    (tmp_path / "lake").mkdir()
    from forebay.config import load

    config = load(storage=str(tmp_path / "lake"), listen="127.0.0.1:0")
    with Gateway(config) as gateway:
        assert find_server(None, None, None, str(tmp_path / "lake")).url == gateway.url


def test_a_url_and_a_token_need_nothing_else():
    assert find_server("http://host:1/", "t", None, None) == Server("http://host:1", "t")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("host:1", "t", None, None), "no URL"),
        (("ftp://host", "t", None, None), "no URL"),
        (("http://host:1", None, None, None), "wants a token"),
    ],
)
def test_what_is_typed_wrong_is_told(arguments, says):
    with pytest.raises(Unreachable, match=says):
        find_server(*arguments)


def test_no_answer_says_what_to_do():
    with pytest.raises(Unreachable, match="is `forebay serve` running"):
        Server(f"http://127.0.0.1:{closed_port()}", "t").get("status")


def test_a_token_of_somebody_else_cannot_be_read(tmp_path):
    with pytest.raises(Unreachable, match="as the user of the server"):
        find_server(None, None, None, str(tmp_path))


def test_an_answer_that_is_not_ours_is_told(make_gateway):
    from forebay.config import AdminConfig

    gateway = make_gateway(admin=AdminConfig(enabled=False))
    with pytest.raises(Unreachable, match="enabled"):
        Server(gateway.url, "t").get("status")


def test_a_refusal_has_the_servers_words(gateway):
    with pytest.raises(Refusal, match=r"Authorization: Bearer") as refused:
        Server(gateway.url, "wrong").get("status")
    assert refused.value.code == "Unauthorized"
