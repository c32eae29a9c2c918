"""A cache half as large as what is asked for: as good as its policy, never over its capacity."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from forebay.server.gateway import Gateway
from forebay.types import PageId
from forebay_eviction import FACTORIES

PAGE = 4096
PAGES = 256
KEYS = 2 * PAGES
SCAN = 64


def requests(count):
    """Zipf over twice the pages of the cache, and scans of keys that never come again."""
    choose = random.Random(5)
    weights = [1 / (rank + 1) ** 0.9 for rank in range(KEYS)]
    scanned = KEYS
    for number, key in enumerate(choose.choices(range(KEYS), weights, k=count)):
        yield key
        if number % 600 == 599:
            yield from range(scanned, scanned + SCAN)
            scanned += SCAN


def predicted(keys):
    """Simulate the policy alone; give its hit ratio."""
    policy = FACTORIES["s3fifo"]({"capacity": PAGES * PAGE})
    there, hits = set(), 0
    for key in keys:
        page = PageId("object", PAGE, key)
        if page in there:
            policy.on_get(page)
            hits += 1
            continue
        if len(there) == PAGES:
            victim = next(policy.victims())
            policy.on_delete(victim)
            there.remove(victim)
        policy.on_put(page, PAGE)
        there.add(page)
    return hits / len(keys)


def body(key):
    return f"{key:08d}".encode() * (PAGE // 8)


class Sampler:
    """Adds up the files of a tier over and over; `most` is the most bytes there ever were.

    A look takes a while, in which one page may go and another come, or one may move. What two
    looks find was all there between them.
    """

    def __init__(self, path):
        self.path = path
        self.most = self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(0.01):
            before, after = self._look(), self._look()
            found = sum(min(before[file], after[file]) for file in before.keys() & after.keys())
            self.most = max(self.most, found)
            self.looks += 1

    def _look(self):
        """Give the sizes of all files by their numbers, which they keep when they move."""
        found = {}
        for folder in [self.path / "staging", *(self.path / "data").glob("*")]:
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        known = entry.stat()
                        found[known.st_ino] = known.st_size
        return found

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Another Forebay that has the objects."""
    root = tmp_path_factory.mktemp("origin")
    (root / "lake" / "data").mkdir(parents=True)
    for key in range(KEYS + 20 * SCAN):
        (root / "lake" / "data" / f"{key:08d}").write_bytes(body(key))
    with Gateway(root) as gateway:
        yield gateway


class Served:
    """`forebay serve` over the origin, with a cache of `PAGES` pages."""

    def __init__(self, folder, origin, workers):
        self.pages = folder / "pages"
        (folder / "forebay.toml").write_text(f"""
state = "state"
[server]
listen = "127.0.0.1:0"
workers = {workers}
[cache]
page_size = {PAGE}
[[cache.tiers]]
name = "SSD"
path = "pages"
capacity = {PAGES * PAGE}
[mounts."/"]
under = "s3://lake"
options = {{ endpoint_url = "{origin.url}", access_key_id = "a", secret_access_key = "b" }}
metadata_sync = "never"
""")
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "forebay", "serve", "--config", folder / "forebay.toml"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        line = self.process.stdout.readline()
        assert "http" in line, (folder / "log").read_text()
        self.port = int(line.split("127.0.0.1:")[1].split("/")[0].split()[0])
        self.connections = [
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=60) for _ in range(8)
        ]

    def get(self, key, connection=None):
        """Read an object; give what the answer says of the cache."""
        connection = connection or self.connections[0]
        connection.request("GET", f"/data/{key:08d}")
        answer = connection.getresponse()
        content = answer.read()
        assert (answer.status, content) == (200, body(key))
        return answer.headers["x-forebay-cache"]

    def children(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in Path(path).read_text().split()]

    def close(self):
        for connection in self.connections:
            connection.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self.log.close()


@pytest.fixture
def serve(tmp_path, origin):
    pytest.importorskip("obstore", reason="the origin is S3")
    started = []

    def serve(workers):
        started.append(Served(tmp_path, origin, workers))
        return started[-1]

    yield serve
    for served in started:
        served.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_hit_ratio_is_that_of_the_policy_and_the_capacity_holds(serve, workers):
    keys = list(requests(1800))
    served = serve(workers)
    choose = random.Random(1)
    with Sampler(served.pages) as sampler:
        hits = sum(served.get(key, choose.choice(served.connections)) == "HIT" for key in keys)
    wanted = predicted(keys)
    print(f"{workers} workers: {hits / len(keys):.4f}, the policy {wanted:.4f}")
    assert sampler.looks > 50
    assert 0.9 * PAGES * PAGE < sampler.most <= PAGES * PAGE
    assert abs(hits / len(keys) - wanted) <= 0.02


@pytest.mark.timeout(300)
def test_kills_of_the_housekeeping_while_it_evicts_stop_nothing(serve):
    served = serve(2)
    keys = list(requests(800))
    with Sampler(served.pages) as sampler:
        for number, key in enumerate(keys):
            served.get(key, served.connections[number % 8])
            if number % 200 == 150:
                os.kill(max(served.children()), signal.SIGKILL)
    assert sampler.most <= PAGES * PAGE
    end = time.monotonic() + 60
    while served.get(0) != "HIT":
        assert time.monotonic() < end, "the cache takes no pages any more"
        time.sleep(0.1)
    assert "Traceback" not in (served.pages.parent / "log").read_text()
