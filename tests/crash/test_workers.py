"""Real workers behind one port: racing creators, and kill -9 in a storm of PUTs."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

KEYS = [f"k{number}" for number in range(20)]


class Server:
    """A `forebay serve` of two workers over a directory, started as often as a test wants."""

    def __init__(self, root, state):
        self.root, self.state = root, state
        self.process = None
        self.port = 0

    def start(self):
        command = [sys.executable, "-m", "forebay", "serve", str(self.root), "--workers", "2"]
        self.log = (self.state / "log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--listen", f"127.0.0.1:{self.port}"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
        )
        line = self.process.stdout.readline()
        self.port = int(re.search(r":(\d+)/", line)[1])

    def workers(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path) as children:
            return [int(pid) for pid in children.read().split()]

    def kill(self, *, everything):
        workers = self.workers()
        if everything:
            self.process.kill()
        for pid in workers if everything else workers[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if everything:
            self.close()

    def close(self):
        self.process.wait(20)
        self.process.stdout.close()
        self.log.close()

    def ask(self, method, path, body=b"", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()


@pytest.fixture
def server(tmp_path):
    (tmp_path / "state").mkdir()
    server = Server(tmp_path / "root", tmp_path / "state")
    server.start()
    assert server.ask("PUT", "/bucket")[0] == 200
    yield server
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
        server.close()


@pytest.mark.parametrize("write_type", ["THROUGH", "ASYNC_THROUGH", "MUST_CACHE"])
def test_of_a_hundred_creators_over_all_workers_exactly_one_wins(server, write_type):
    def create(number):
        headers = {"If-None-Match": "*", "x-forebay-write-type": write_type}
        return server.ask("PUT", "/bucket/one", f"body {number}".encode(), **headers)[0]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(create, range(100)))
    assert answers.count(200) == 1
    assert set(answers) <= {200, 409, 412}
    winner = answers.index(200)
    assert server.ask("GET", "/bucket/one")[2] == f"body {winner}".encode()


class Storm:
    """Threads that PUT over and over, and remember what was acknowledged of each key."""

    def __init__(self, server, types):
        self.server = server
        self.types = types
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.acknowledged = {}  # key -> body acknowledged last
        self.later = {}  # key -> bodies sent since, whose fate is unknown
        self.count = 0
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(4)]

    def run(self, number):
        mine = KEYS[number::4]  # one writer a key: what was acknowledged last is certain
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            key = mine[turn % len(mine)]
            body = f"{key} {time.monotonic_ns()} ".encode() * (1 + 997 * (turn % 40))
            with self.lock:
                self.later.setdefault(key, []).append(body)
            try:
                status, headers, _ = self.server.ask(
                    "PUT",
                    f"/bucket/{key}",
                    body,
                    **{"x-forebay-write-type": self.types[turn % len(self.types)]},
                )
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
                continue
            if status == 200:
                assert headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
                with self.lock:
                    self.acknowledged[key] = body
                    self.later[key] = []
                    self.count += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def check(server, storm):
    """Every acknowledged object is there: it, or one that was sent after it, and whole."""
    for key, body in storm.acknowledged.items():
        status, headers, found = server.ask("GET", f"/bucket/{key}")
        assert status == 200, (key, status, found)
        assert found == body or found in storm.later[key], f"{key} is neither old nor new"
        if "-" not in headers["etag"]:
            assert headers["etag"] == f'"{hashlib.md5(found).hexdigest()}"'


TYPES = ["THROUGH", "ASYNC_THROUGH", "MUST_CACHE", "CACHE_THROUGH"]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("rounds", [15, pytest.param(50, marks=pytest.mark.faults)])
def test_kills_of_workers_in_a_storm_lose_nothing_that_was_acknowledged(server, rounds):
    storm = Storm(server, TYPES)
    with storm:
        for turn in range(rounds):
            time.sleep(0.15 + 0.01 * (turn % 7))
            server.kill(everything=False)
    time.sleep(0.3)
    check(server, storm)
    assert storm.count > rounds


@pytest.mark.timeout(240)
@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=pytest.mark.faults)])
def test_kills_of_everything_in_a_storm_lose_nothing_that_was_acknowledged(server, rounds):
    remembered, later, count = {}, {}, 0
    for turn in range(rounds):
        storm = Storm(server, TYPES)
        storm.acknowledged, storm.later = remembered, later
        with storm:
            time.sleep(0.3 + 0.03 * (turn % 5))
            server.kill(everything=True)
            storm.stopping.set()
        server.port = 0
        server.start()
        check(server, storm)
        count += storm.count
    assert count > rounds
