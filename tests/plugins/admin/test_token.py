import os
import stat
import threading

import pytest

from forebay_admin.token import NAME, is_right, token_of


def test_a_token_is_made_once_for_its_owner_alone(tmp_path):
    token = token_of("", str(tmp_path))
    assert len(token) >= 32
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert token_of("", str(tmp_path)) == token
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_processes_that_start_at_once_agree(tmp_path):
    barrier, found = threading.Barrier(16), []

    def start():
        barrier.wait()
        found.append(token_of("", str(tmp_path)))

    threads = [threading.Thread(target=start) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    assert os.listdir(tmp_path) == [NAME]


def test_a_configured_token_is_written_nowhere(tmp_path):
    assert token_of("secret", str(tmp_path)) == "secret"
    assert token_of("", "") == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("header", ["Bearer secret", "bearer secret", "Bearer  secret "])
def test_the_token_is_accepted(header):
    assert is_right("secret", header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "secret",
        "Basic secret",
        "Bearer",
        "Bearer secre",
        "Bearer secret2",
        "Bearer sécret",
    ],
)
def test_everything_else_is_not(header):
    assert not is_right("secret", header)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer "])
def test_no_token_lets_nobody_in(header):
    assert not is_right("", header)
