"""What comes back from a child that was forked to do one thing."""

import logging
import os

import pytest

from forebay.errors import ConfigurationError, ForebayError
from forebay.server.children import in_child


def test_a_child_gives_its_result_and_leaves_nothing_behind():
    assert in_child(lambda: ("value", os.getpid()))[1] != os.getpid()


def test_a_child_passes_on_what_the_operator_must_know():
    def refuse() -> None:
        raise ConfigurationError("one fault", "another")

    with pytest.raises(ConfigurationError, match="one fault\nanother"):
        in_child(refuse)


def test_a_child_that_dies_is_an_error():
    with pytest.raises(ForebayError, match="ended with code 9"):
        in_child(lambda: os._exit(9))


def test_a_child_that_fails_tells_the_log(tmp_path):
    def fail() -> None:
        raise ValueError("unheard of")

    handler = logging.FileHandler(tmp_path / "log")
    logging.getLogger("forebay.server").addHandler(handler)
    try:
        with pytest.raises(ForebayError, match="ended with code 1"):
            in_child(fail)
    finally:
        logging.getLogger("forebay.server").removeHandler(handler)
        handler.close()
    assert "ValueError: unheard of" in (tmp_path / "log").read_text()
