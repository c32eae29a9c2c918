"""Functions run in other processes, which may die of it."""

import os
import signal

import pytest

from forebay.testing import elsewhere
from forebay_local.under import LocalUnderStore


def test_the_code_of_the_other_process_is_given(tmp_path):
    opening = LocalUnderStore.from_uri, (tmp_path.as_uri(), {})
    elsewhere.elsewhere(elsewhere.put_object, opening, "a", b"bytes")
    assert (tmp_path / "a").read_bytes() == b"bytes"
    look = elsewhere.look_at_object
    assert elsewhere.elsewhere(look, opening, "a", b"bytes") == elsewhere.THERE
    assert elsewhere.elsewhere(look, opening, "b", b"bytes") == elsewhere.MISSING
    die = elsewhere.die_while_putting
    assert elsewhere.elsewhere(die, opening, "b", 2, 1) == -signal.SIGKILL


def test_a_failure_over_there_fails_the_test_here(tmp_path):
    opening = LocalUnderStore.from_uri, (tmp_path.as_uri(), {})
    elsewhere.elsewhere(elsewhere.put_object, opening, "a", b"bytes")
    with pytest.raises(AssertionError, match="AssertionError"):
        elsewhere.elsewhere(elsewhere.look_at_object, opening, "a", b"others")
    with pytest.raises(AssertionError, match="the other process failed"):
        elsewhere.elsewhere(os._exit, 5)
