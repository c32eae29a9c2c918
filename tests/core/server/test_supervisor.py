"""Real processes over loopback: what a kill, a signal or a second instance does to them."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SITE = '''
"""A server of a tiny application; the file `version` says which one, and what is wrong with it."""
import logging, os, sys, time
from pathlib import Path
from forebay.errors import ConfigurationError
from forebay.server.listeners import bind, share, url_of
from forebay.server.workers import run

folder, count, timeout = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
logging.basicConfig(level="INFO", format="%(message)s")

def version():
    text = (folder / "version").read_text()
    if text == "faulty":
        raise ConfigurationError("server.threads: must be at least 1")
    def make():
        if text == "broken":
            raise ConfigurationError("the store cannot be opened")
        if (folder / "poison").exists():
            os._exit(7)
        (folder / f"opened-{os.getpid()}").touch()
        def app(environ, start_response):
            path = environ["PATH_INFO"]
            if path == "/slow":
                (folder / "slow-began").touch()
                time.sleep(float(environ["QUERY_STRING"]))
            body = f"{text} {os.getpid()}".encode()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        return app, (folder / f"closed-{os.getpid()}").touch
    return make

first = bind("127.0.0.1:0")
sys.exit(run(
    share(first, count), version(), threads=2, shutdown_timeout=timeout,
    reload=version if len(sys.argv) > 4 else None,
    on_ready=lambda: print(url_of(first), flush=True),
))
'''


class Running:
    """One server under test: its parent process, its log, and questions to it."""

    def __init__(self, folder: Path, *, workers: int, timeout: float, reload: bool) -> None:
        self.folder = folder
        script = folder / "site.py"
        script.write_text(SITE)
        self.log = (folder / "log").open("wb")
        self.parent = subprocess.Popen(
            [sys.executable, script, folder, str(workers), str(timeout), *(["r"] * reload)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        url = self.parent.stdout.readline().decode().strip()
        self.port = int(url.rsplit(":", 1)[1]) if url else 0

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.connect()
        return connection

    def ask(self, path: str = "/") -> tuple[str, int]:
        """Give the version that answered and its pid."""
        with contextlib.closing(self.connect()) as connection:
            return answer_of(connection, path)

    def pids(self, count: int) -> set[int]:
        """Ask until `count` different workers have answered."""
        found: set[int] = set()
        until(lambda: found.add(self.ask()[1]) or len(found) >= count)
        return found

    def logged(self) -> str:
        return (self.folder / "log").read_text()

    def signal(self, number: int) -> None:
        self.parent.send_signal(number)

    def wait(self) -> int:
        return self.parent.wait(5)


def answer_of(connection: http.client.HTTPConnection, path: str = "/") -> tuple[str, int]:
    connection.request("GET", path)
    version, pid = connection.getresponse().read().decode().split()
    return version, int(pid)


def until(condition: Callable[[], object], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def state(stat: Path) -> str:
    """Give the state of a process or thread: S sleeping, T stopped, Z zombie, empty for none."""
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int) -> bool:
    return state(Path(f"/proc/{pid}/stat")) not in ("", "Z")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(
        workers: int = 2, *, timeout: float = 5, reload: bool = True, version: str = "one"
    ) -> Running:
        (tmp_path / "version").write_text(version)
        started.append(Running(tmp_path, workers=workers, timeout=timeout, reload=reload))
        return started[-1]

    yield begin
    for running in started:
        running.parent.kill()
        running.parent.wait()
        running.parent.stdout.close()
        running.log.close()


@contextmanager
def in_thread(call: Callable[[], object]) -> Iterator[list[object]]:
    """Run `call` beside the block; the list holds its result, or the exception, afterwards."""
    result: list[object] = []

    def record() -> None:
        try:
            result.append(call())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=record)
    thread.start()
    try:
        yield result
    finally:
        thread.join(10)


# --- the life of the workers


def test_every_worker_serves_and_a_stop_ends_them_all(start):
    server = start(workers=3)
    pids = server.pids(3)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert not [pid for pid in pids if alive(pid)]
    assert {path.name for path in server.folder.glob("closed-*")} == {
        f"closed-{pid}" for pid in pids
    }


def test_a_killed_worker_is_replaced_and_no_connection_is_refused(start):
    server = start(workers=2)
    old = server.pids(2)
    victim = next(iter(old))
    os.kill(victim, signal.SIGSTOP)
    until(lambda: {state(stat) for stat in Path(f"/proc/{victim}/task").glob("*/stat")} == {"T"})
    # It accepts nothing any more, so these wait in the kernel, some of them in its queue.
    waiting = [server.connect() for _ in range(24)]
    for connection in waiting:
        connection.request("GET", "/")
    time.sleep(0.1)
    os.kill(victim, signal.SIGKILL)
    answered = set()
    for connection in waiting:
        version, pid = connection.getresponse().read().decode().split()
        assert version == "one"
        answered.add(int(pid))
        connection.close()
    assert victim not in answered
    assert answered - old, "the successor served what waited for the dead worker"
    assert f"(pid {victim}) ended by signal 9" in server.logged()
    assert not Path(f"/proc/{victim}").exists(), "no zombie"


def test_requests_go_on_while_workers_are_killed(start):
    server = start(workers=2)
    for _ in range(3):
        victim = server.ask()[1]
        os.kill(victim, signal.SIGKILL)
        until(lambda victim=victim: not alive(victim))
        assert {server.ask()[0] for _ in range(10)} == {"one"}


def test_a_worker_that_dies_again_and_again_is_restarted_later_and_later(start):
    server = start(workers=2)
    victim = server.ask()[1]
    began = time.monotonic()
    (server.folder / "poison").touch()
    os.kill(victim, signal.SIGKILL)
    until(lambda: server.logged().count("ended with code 7") >= 4)
    assert time.monotonic() - began >= 0.7, "it waited 0.1, 0.2 and 0.4 seconds"
    (server.folder / "poison").unlink()
    assert victim not in server.pids(2)


def test_a_server_whose_workers_never_start_gives_up(start, tmp_path):
    (tmp_path / "poison").touch()
    server = start()
    assert server.wait() == 1
    assert "before it served: giving up" in server.logged()


def test_a_server_whose_stores_cannot_be_opened_says_why(start):
    server = start(version="broken")
    assert server.wait() == 1
    assert "the store cannot be opened" in server.logged()
    assert "Traceback" not in server.logged()


# --- the end


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_a_slow_request(start, workers, number):
    server = start(workers)
    with in_thread(lambda: server.ask("/slow?0.5")) as answer:
        until((server.folder / "slow-began").exists)
        server.signal(number)
        assert server.wait() == 0
    assert answer[0][0] == "one"
    assert len(list(server.folder.glob("closed-*"))) == workers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_serves_what_has_connected(start, workers):
    server = start(workers)
    connections = [server.connect() for _ in range(10)]
    server.signal(signal.SIGTERM)
    for connection in connections:
        assert answer_of(connection)[0] == "one"
        connection.close()
    assert server.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_does_not_wait_longer_than_it_may(start, workers):
    server = start(workers, timeout=0.2)
    with in_thread(lambda: server.ask("/slow?20")) as answer:
        until((server.folder / "slow-began").exists)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - began < 12
    assert isinstance(answer[0], OSError | http.client.HTTPException)
    assert "1 requests in flight were cut off" in server.logged()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_ends_at_once(start, workers):
    server = start(workers)
    with in_thread(lambda: server.ask("/slow?14")) as answer:
        until((server.folder / "slow-began").exists)
        server.signal(signal.SIGTERM)
        until(lambda: "draining" in server.logged())
        began = time.monotonic()
        server.signal(signal.SIGINT)
        assert server.wait() == 128 + signal.SIGINT
        assert time.monotonic() - began < 8
    assert isinstance(answer[0], OSError | http.client.HTTPException)


def test_a_hang_up_without_a_reload_drains(start):
    server = start(workers=1, reload=False)
    server.signal(signal.SIGHUP)
    assert server.wait() == 0


def test_workers_end_when_their_parent_is_killed(start):
    server = start(workers=2)
    pids = server.pids(2)
    with in_thread(lambda: server.ask("/slow?0.5")) as answer:
        until((server.folder / "slow-began").exists)
        server.signal(signal.SIGKILL)
        server.wait()
        until(lambda: not [pid for pid in pids if alive(pid)])
    assert answer[0][0] == "one", "they drained"
    assert len(list(server.folder.glob("closed-*"))) == 2


# --- reload


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_replaces_the_workers_and_serves_throughout(start, workers):
    server = start(workers)
    old = server.pids(workers)
    (server.folder / "version").write_text("two")
    server.signal(signal.SIGHUP)
    answers = []
    kept = server.connect()
    until(lambda: answers.append(server.ask()) or answers[-1][0] == "two")
    if workers > 1:
        until(lambda: not [pid for pid in old if alive(pid)])
        assert not server.pids(workers) & old
    else:
        assert server.pids(1) == old, "one process stays the same"
    assert {version for version, _ in answers} <= {"one", "two"}
    kept.close()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_reload_lets_the_old_worker_finish(start):
    server = start(workers=2)
    with in_thread(lambda: server.ask("/slow?0.6")) as answer:
        until((server.folder / "slow-began").exists)
        (server.folder / "version").write_text("two")
        server.signal(signal.SIGHUP)
        until(lambda: "reload: done" in server.logged())
        until(lambda: server.ask()[0] == "two")  # the old worker accepts until it reads its signal
        assert {server.ask()[0] for _ in range(6)} == {"two"}
    assert answer[0][0] == "one"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("faulty", "server.threads: must be at least 1"),
        ("broken", "the store cannot be opened"),
    ],
)
def test_a_reload_that_fails_keeps_the_old_configuration(start, workers, version, line):
    server = start(workers)
    server.pids(workers)
    (server.folder / "version").write_text(version)
    server.signal(signal.SIGHUP)
    until(lambda: line in server.logged())
    until(lambda: "old configuration" in server.logged() or "given up" in server.logged())
    assert {server.ask()[0] for _ in range(6)} == {"one"}
    (server.folder / "version").write_text("two")
    server.signal(signal.SIGHUP)
    until(lambda: server.ask()[0] == "two")
