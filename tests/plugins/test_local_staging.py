"""Staging: what the dead left behind goes, what the living write stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from forebay.testing.under_kit import names, put, read
from forebay_local.staging import Staging
from forebay_local.under import LocalUnderStore

_WRITER = """
import os, sys
from forebay.types import Attributes
from forebay_local.under import LocalUnderStore

class Body:
    turns = 0
    def read(self, size):
        self.turns += 1
        if self.turns == 3:
            print("midway", flush=True)
            sys.stdin.read()
        return b"x" * 1000

store = LocalUnderStore(sys.argv[1])
store.put(sys.argv[2], Body(), size=None, attributes=Attributes())
"""


@pytest.fixture
def area(tmp_path):
    path = tmp_path / "staging"
    path.mkdir()
    staging = Staging(os.open(path, os.O_RDONLY))
    yield path, staging
    staging.close()


def test_sweep_takes_files_that_nobody_holds(area):
    path, staging = area
    (path / "left").write_bytes(b"half")
    (path / "left directory").mkdir()
    held = staging.file()
    held.write(b"in writing")
    try:
        assert staging.sweep() == 2
        assert len(list(path.iterdir())) == 1
    finally:
        held.discard()
    assert list(path.iterdir()) == []


def test_file_swept_before_it_was_locked_is_made_anew(area, monkeypatch):
    path, staging = area
    import fcntl

    lock, swept = fcntl.flock, []

    def late(fd, operation):
        if not swept:
            swept.append(os.listdir(path)[0])
            os.unlink(path / swept[0])
        return lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    held = staging.file()
    try:
        assert os.listdir(path) != swept
        assert len(os.listdir(path)) == 1
    finally:
        held.discard()


def test_short_writes_are_gone_on_with(area, monkeypatch):
    path, staging = area
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, block: write(fd, bytes(block)[:3]))
    held = staging.file()
    try:
        held.write(b"0123456789")
        assert held.size == 10
        assert next(path.iterdir()).read_bytes() == b"0123456789"
    finally:
        held.discard()


@pytest.mark.parametrize("key", ["b/dir/new", "b/old", "b/dir/"])
def test_killed_writer_leaves_nothing_visible(tmp_path, key):
    root = tmp_path / "root"
    store = LocalUnderStore(str(root))
    put(store, "b/old", b"old")
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(root), key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as writer:
        assert writer.stdout.readline() == b"midway\n"
        other = LocalUnderStore(str(root))  # sweeps, and must leave the living writer alone
        staged = os.listdir(root / ".forebay/staging")
        assert len(staged) == 1
        writer.send_signal(signal.SIGKILL)
    assert names(other.list()) == ["b/old"]
    assert read(other, "b/old") == b"old"
    assert os.listdir(root / ".forebay/staging") == staged
    LocalUnderStore(str(root)).close()
    assert os.listdir(root / ".forebay/staging") == []
    other.close()
    store.close()
