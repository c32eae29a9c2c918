from forebay.server.announce import NAME, announce, withdraw
from forebay.server.gateway import Gateway


def test_a_server_writes_down_where_it_is_while_it_runs(tmp_path):
    with Gateway("memory://x", state=tmp_path) as gateway:
        assert (tmp_path / NAME).read_text() == gateway.url + "\n"
    assert not (tmp_path / NAME).exists()


def test_only_its_own_word_is_taken_back(tmp_path):
    announce(str(tmp_path), "http://127.0.0.1:1")
    announce(str(tmp_path), "http://127.0.0.1:2")
    withdraw(str(tmp_path), "http://127.0.0.1:1")
    assert (tmp_path / NAME).read_text() == "http://127.0.0.1:2\n"
    withdraw(str(tmp_path), "http://127.0.0.1:2")
    withdraw(str(tmp_path), "http://127.0.0.1:2")
    assert list(tmp_path.iterdir()) == []


def test_without_a_state_nothing_is_written():
    announce("", "http://127.0.0.1:1")
    withdraw("", "http://127.0.0.1:1")
