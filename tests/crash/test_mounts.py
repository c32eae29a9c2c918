"""Mounting under real workers: all of them see it at once, whoever is killed meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from forebay.config import load
from forebay.errors import NoSuchBucket, NoSuchKey, ServiceUnavailable
from forebay.runtime import Forebay
from forebay.testing.opened import Content
from forebay.types import Attributes, WriteType

LONG = 60.0  # for a loaded machine; nothing waits for so long when all is well


@pytest.fixture
def config(tmp_path):
    """A namespace of files that several processes share."""
    path = tmp_path / "forebay.toml"
    (tmp_path / "root").mkdir()
    path.write_text(
        f"state = {json.dumps(str(tmp_path / 'state'))}\n"
        '[server]\nlisten = "127.0.0.1:0"\nworkers = 2\n[mounts."/"]\nunder = "root"\n'
    )
    return path


@pytest.fixture
def server(config, tmp_path):
    """Two workers of one namespace; gives the pid of their parent and the port."""
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "forebay", "serve", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
        yield process.pid, port
        process.send_signal(signal.SIGTERM)
        process.wait(LONG)
        process.stdout.close()


@pytest.fixture
def operator(config):
    """Another process of the namespace, which takes no requests."""
    with Forebay(load(config)) as forebay:
        yield forebay


@pytest.fixture
def other(tmp_path):
    directory = tmp_path / "other"
    directory.mkdir()
    (directory / "there").write_bytes(b"there")
    return directory


def ask(port, path):
    """Ask over a new connection, so that any of the workers may answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def workers(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(child) for child in children.read().split()]


def seen_by(operator):
    """The processes that have noted which mounts they work with."""
    from forebay.objects.mount_table import seen_by

    return {seen.pid for _, seen in operator.catalog.read(seen_by)}


def test_every_worker_sees_a_mount_when_mount_returns(server, operator, other):
    pid, port = server
    for _ in range(3):
        assert operator.mounting.mount("/raw", {"under": str(other)}, wait=LONG).behind == ()
        assert {ask(port, "/raw/there") for _ in range(8)} == {(200, b"there")}
        assert operator.mounting.unmount("/raw", wait=LONG).behind == ()
        assert {ask(port, "/raw/there")[0] for _ in range(8)} == {404}
    assert seen_by(operator) >= {*workers(pid), os.getpid()}


def test_killed_workers_neither_hold_a_mount_up_nor_forget_it(server, operator, other):
    pid, port = server
    before = workers(pid)
    for child in before:
        os.kill(child, signal.SIGKILL)
        assert operator.mounting.mount("/raw", {"under": str(other)}, wait=LONG).behind == ()
        operator.mounting.unmount("/raw", wait=LONG)
    operator.mounting.mount("/raw", {"under": str(other)}, wait=LONG)
    end = time.monotonic() + LONG
    while not (set(workers(pid)) - set(before) and seen_by(operator) >= set(workers(pid))):
        assert time.monotonic() < end, "the workers did not come back"
        time.sleep(0.05)
    assert {ask(port, "/raw/there") for _ in range(8)} == {(200, b"there")}
    # Nobody remembers the dead.
    assert not seen_by(operator) & set(before)


def test_no_acknowledged_write_is_lost_while_mounts_come_and_go(config, operator, other, tmp_path):
    """Writers in two processes' worth of Forebay; every write is where it was acknowledged."""
    operator.buckets.create("bucket", "tester")
    done, acknowledged, failures = threading.Event(), {}, []

    def write(forebay, name):
        for n in range(100_000):
            if done.is_set():
                return
            key, content = f"sub/{name}{n:06d}", f"{name}{n}".encode()
            try:
                forebay.writes.put(
                    forebay.buckets.get("bucket"), key, Content(content),
                    attributes=Attributes(), owner="tester", requested=WriteType.THROUGH,
                )  # fmt: skip
            except ServiceUnavailable:
                continue
            except Exception as failure:  # whatever it is, the test tells of it
                failures.append(failure)
                return
            acknowledged[key] = content

    with Forebay(load(config)) as second:
        threads = [
            threading.Thread(target=write, args=(forebay, name))
            for forebay, name in ((operator, "a"), (second, "b"), (second, "c"))
        ]
        for thread in threads:
            thread.start()
        for _ in range(12):
            time.sleep(0.05)
            operator.mounting.mount("/bucket/sub", {"under": str(other)}, wait=LONG)
            time.sleep(0.05)
            operator.mounting.unmount("/bucket/sub", wait=LONG)
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    root = tmp_path / "root" / "bucket" / "sub"
    places = {"root": root, "mounted": other}
    found = {
        f"sub/{path.name}": (place, path.read_bytes())
        for place, directory in places.items()
        for path in directory.iterdir()
        if path.is_file() and path.name != "there"
    }
    assert {key: found[key][1] for key in acknowledged} == acknowledged
    assert {found[key][0] for key in acknowledged} == {"root", "mounted"}
    # What shows now is what the root has, byte for byte.
    bucket = operator.buckets.get("bucket")
    for key in list(acknowledged)[:200]:
        try:
            with operator.reads.get(bucket, key, lambda _: None) as opened:
                shown = opened.read(100)
        except (NoSuchKey, NoSuchBucket):
            shown = None
        assert shown == (acknowledged[key] if (root / key[4:]).exists() else None)
