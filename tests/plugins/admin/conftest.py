"""What the tests of operators' commands share: gateways and servers, and the commands."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from forebay.cli import main
from forebay.errors import StorageError
from forebay.server.gateway import Gateway
from forebay.testing.faults import Around, UnderStoreLayer
from forebay_admin.client import Server


class Operator:
    """Runs commands against one gateway."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.forebay = gateway.forebay
        token = Path(gateway.config.state, "admin.token").read_text().strip()
        self.server = Server(gateway.url, token)
        self._environment = {"FOREBAY_SERVER": gateway.url, "FOREBAY_ADMIN_TOKEN": token}

    def run(self, *arguments, status=0):
        """Run a command; give what it printed."""
        result = CliRunner().invoke(main, [str(a) for a in arguments], env=self._environment)
        assert result.exit_code == status, result.output
        return result.stdout if not status else result.stderr

    def json(self, *arguments):
        """Run a command with --json; give what it printed."""
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def operate():
    """Make an operator of a gateway."""
    return Operator


class Slow(Around):
    """Counts what is opened, and takes its time over it: `pause` seconds, and a permit if asked."""

    def __init__(self, store):
        super().__init__(store)
        self.opened = []
        self.pause = 0.0
        self.permits = None
        self.bad = set()

    def hold(self, after):
        """Let so many objects through, and no other one before `release`."""
        self.permits = threading.Semaphore(after)

    def release(self):
        """Let through what is held back, and all that comes."""
        permits, self.permits = self.permits, None
        permits.release(1000)

    def open(self, key, /, *given, **options):
        self.opened.append(key)
        if key in self.bad:
            raise StorageError(f"{key} is bad")
        time.sleep(self.pause)
        if (permits := self.permits) is not None:
            assert permits.acquire(timeout=100), "it was never released"
        return self.inner.open(key, *given, **options)


@pytest.fixture
def slow_store():
    """The layer of under stores that counts, and takes its time."""
    return Slow


class Origin:
    """A second Forebay as S3, which counts what is read of it and takes its time over it."""

    def __init__(self, folder, objects, size):
        (folder / "bucket").mkdir(parents=True)
        for number in range(objects):
            (folder / "bucket" / f"{number:05}").write_bytes(os.urandom(16) * (size // 16))
        self._layer = UnderStoreLayer(Slow)
        self.gateway = Gateway(folder, state=folder.parent / "origin-state", plugins=[self._layer])

    @property
    def read(self):
        """Every object that was opened, as often as it was."""
        return [key for key in self._layer.stores[0].opened if key.startswith("bucket/")]

    @property
    def pause(self):
        """Seconds that opening an object takes."""
        return self._layer.stores[0].pause

    @pause.setter
    def pause(self, seconds):
        self._layer.stores[0].pause = seconds

    def hold(self, after):
        """Let so many objects be read, and no other one before `release`."""
        self._layer.stores[0].hold(after)

    def release(self):
        """Let everything be read."""
        self._layer.stores[0].release()


class Serving:
    """A server of two workers in processes of its own, over an origin mounted at /lake."""

    def __init__(self, folder):
        self._folder = folder
        self._stack = ExitStack()
        self._server = None
        self.capacity = "1 GiB"

    def origin(self, objects, size):
        """Start the origin with so many objects of so many bytes."""
        self._origin = Origin(self._folder / "origin", objects, size)
        self._stack.enter_context(self._origin.gateway)
        return self._origin

    def start(self):
        """Start the server, and wait until it serves."""
        url = self._origin.gateway.url
        options = (
            f'{{ endpoint_url = "{url}", region = "us-east-1", '
            'access_key_id = "tester", secret_access_key = "any" }'
        )
        (self._folder / "forebay.toml").write_text(f"""
state = "state"
durability = "process"
[server]
listen = "127.0.0.1:0"
workers = 2
[[cache.tiers]]
name = "SSD"
path = "pages"
capacity = "{self.capacity}"
[mounts."/"]
under = "root"
[mounts."/lake"]
under = "s3://bucket"
options = {options}
""")
        command = [sys.executable, "-m", "forebay", "serve"]
        with (self._folder / "log").open("a") as log:
            self._server = subprocess.Popen(
                [*command, "--config", str(self._folder / "forebay.toml")],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not (self._folder / "state" / "endpoint").exists():
            assert self._server.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @property
    def url(self):
        """Where the server is."""
        return (self._folder / "state" / "endpoint").read_text().strip()

    def ask(self, *arguments):
        """Run a command; give what it printed."""
        command = [sys.executable, "-m", "forebay", *arguments]
        done = subprocess.run(
            [*command, "--config", str(self._folder / "forebay.toml")],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def children(self):
        """Give the process ids of the server's children."""
        pid = self._server.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(one) for one in children]

    def kill(self):
        """Kill every process of the server."""
        for pid in [self._server.pid, *self.children()]:
            os.kill(pid, signal.SIGKILL)
        self._server.wait()
        self._server = None
        (self._folder / "state" / "endpoint").unlink()

    def stop(self):
        """End all in good order."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(60)
        self._stack.close()


@pytest.fixture
def serving(tmp_path):
    """A server in processes of its own, over an origin."""
    (tmp_path / "root").mkdir()
    serving = Serving(tmp_path)
    try:
        yield serving
    finally:
        serving.stop()
