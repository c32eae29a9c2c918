"""Measure reads of remote objects: cold, warm, and by a hundred clients at once.

An S3 server (a second Forebay, or moto) stands behind a proxy that delays every request. The
same objects are read directly, by 8 ranges of 8 MiB in parallel, and through Forebay, by one
plain GET; the medians of the rounds are compared, and the ratios printed. Who reads directly is
boto3, which is what the goal speaks of, and bare sockets, whose bytes nobody keeps: on few
cores the latter tells what the origin, the proxy and Forebay take from each other.

What was read once is read again, and a local object beside it, in turns, so that neither is
always the first after a pause; both are new in each round, for it makes a difference, too,
where in memory a file happens to lie.

usage: python tests/benchmarks/cold.py [--origin forebay|moto] [--rounds 5] [--delay 30] [--tls]
Needs the dev extra; openssl for `--tls`, with which the proxy speaks it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config
from compare import TICK, family, free_port

MIB = 1 << 20
SIZE = 64 * MIB
RANGE = 8 * MIB
SMALL = 64 << 10
CLIENTS = 100
SETTLE = 1.0
WARM = 2
USER = "bench"
SIGNED = f"AWS4-HMAC-SHA256 Credential={USER}/20260101/us-east-1/s3/aws4_request"
HERE = Path(__file__).parent


@contextlib.contextmanager
def running(command: list[str], log: Path, port: int) -> Iterator[int]:
    """Run a server until the end of the block; wait for its port first, give its pid."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "XDG_STATE_HOME": str(log.parent / "state")},
        )  # fmt: skip
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{command} did not start:\n{log.read_text()}")
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def delayed(target: int, delay: float, log: Path, certificate: Path | None) -> Iterator[int]:
    """Run the proxy; give its port."""
    command = [sys.executable, str(HERE / "delay.py"), str(target), str(delay), str(log)]
    process = subprocess.Popen(
        command if certificate is None else [*command, str(certificate)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def ask(
    port: int, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send one request on a connection of its own; give the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, body, {"Authorization": SIGNED, **headers})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status < 300, (answer.status, content[:500])
    return answer, content


class Client:
    """A connection that is kept, and a buffer that is used again."""

    def __init__(self, port: int, certificate: Path | None = None) -> None:
        self._port = port
        self._tls = certificate and ssl.create_default_context(cafile=str(certificate))
        self._connection = self._connect()
        self._buffer = bytearray(4 * MIB)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), 120)
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_hostname="127.0.0.1")

    def get(self, path: str, start: int = 0, stop: int | None = None) -> tuple[float, float]:
        """Get an object, or a range of it; give seconds to its first byte, and to its last."""
        wanted = "" if stop is None else f"Range: bytes={start}-{stop - 1}\r\n"
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {SIGNED}\r\n{wanted}\r\n"
        began = time.perf_counter()
        with contextlib.suppress(ConnectionError):
            self._connection.sendall(request.encode())
        got = b""
        while b"\r\n\r\n" not in got:
            received = self._connection.recv(65536)
            got += received
            if not received:  # moto closes after every answer
                self._connection = self._connect()
                self._connection.sendall(request.encode())
        head, _, rest = got.partition(b"\r\n\r\n")
        assert head.split()[1] in (b"200", b"206"), got[:500]
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        left, first = length - len(rest), time.perf_counter()
        if not rest:
            left -= self._connection.recv_into(self._buffer)
            first = time.perf_counter()
        while left:
            count = self._connection.recv_into(self._buffer)
            assert count, "the connection was cut"
            left -= count
        return first - began, time.perf_counter() - began


def direct(clients: list[Client], path: str, pool: ThreadPoolExecutor) -> float:
    """Read a whole object by parallel ranges; give the seconds."""
    began = time.perf_counter()
    starts = range(0, SIZE, RANGE)
    list(pool.map(lambda c, at: c.get(path, at, at + RANGE), clients, starts))
    return time.perf_counter() - began


def by_boto3(port: int, certificate: Path | None) -> Callable[[str, ThreadPoolExecutor], float]:
    """Give what `direct` is for a boto3 client of 8 connections, which keeps what it reads."""
    s3 = boto3.client(
        "s3",
        endpoint_url=f"{'http' if certificate is None else 'https'}://127.0.0.1:{port}",
        verify=None if certificate is None else str(certificate),
        aws_access_key_id=USER,
        aws_secret_access_key="any",
        region_name="us-east-1",
        config=Config(max_pool_connections=8, s3={"addressing_style": "path"}),
    )

    def one(path: str, at: int) -> bytes:
        bucket, key = path[1:].split("/", 1)
        answer = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={at}-{at + RANGE - 1}")
        return answer["Body"].read()

    def read(path: str, pool: ThreadPoolExecutor) -> float:
        began = time.perf_counter()
        parts = list(pool.map(one, [path] * 8, range(0, SIZE, RANGE)))
        took = time.perf_counter() - began
        assert [len(part) for part in parts] == [RANGE] * 8
        return took

    return read


def crowd(port: int, path: str) -> None:
    """Have a hundred clients ask for the same range at once."""
    together = threading.Barrier(CLIENTS)
    failed: list[BaseException] = []

    def one() -> None:
        try:
            client = Client(port)
            together.wait()
            client.get(path, 0, SMALL)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]


def cpu_of(pid: int) -> float:
    """Give the CPU seconds that a server and its children have used so far."""
    stats = (Path(f"/proc/{one}/stat").read_text() for one in family(pid))
    ticks = (stat.rpartition(")")[2].split()[11:13] for stat in stats)
    return sum(int(user) + int(system) for user, system in ticks) / TICK


def measure(
    origin: int,
    far: int,
    forebay: int,
    pid: int,
    log: Path,
    rounds: int,
    certificate: Path | None = None,
) -> dict[str, list[float]]:
    """Measure everything; give the figures by name, seconds unless they count something."""
    figures: dict[str, list[float]] = {}

    def note(what: str, value: float) -> None:
        figures.setdefault(what, []).append(value)

    ask(origin, "PUT", "/lake")
    ask(forebay, "PUT", "/local")
    content = os.urandom(MIB) * (SIZE // MIB)
    pool = ThreadPoolExecutor(8)
    straight = [Client(far, certificate) for _ in range(8)]
    through = Client(forebay)
    ask(origin, "PUT", "/lake/warm-up", content)
    boto = by_boto3(far, certificate)
    boto("/lake/warm-up", pool)
    direct(straight, "/lake/warm-up", pool)
    through.get("/far/warm-up")
    for turn in range(rounds):
        key = f"object-{turn}"
        ask(origin, "PUT", f"/lake/{key}", content)
        # An object that Forebay has not met yet costs one round trip more.
        ask(forebay, "HEAD", f"/far/{key}")
        note("first byte, direct", straight[0].get(f"/lake/{key}", 20 * MIB, 20 * MIB + SMALL)[0])
        note("first byte", through.get(f"/far/{key}", 20 * MIB, 20 * MIB + SMALL)[0])
        ask(origin, "PUT", f"/lake/whole-{turn}", content)
        ask(forebay, "HEAD", f"/far/whole-{turn}")
        note("64 MiB, boto3", boto(f"/lake/whole-{turn}", pool))
        note("64 MiB, direct", direct(straight, f"/lake/whole-{turn}", pool))
        ask(forebay, "PUT", f"/local/object-{turn}", content)
        paths = {
            "first read": f"/far/whole-{turn}",
            "second read": f"/far/whole-{turn}",
            "local object": f"/local/object-{turn}",
        }

        def read(what: str, paths: dict[str, str] = paths) -> None:
            before = cpu_of(pid)
            note(f"64 MiB, {what}", through.get(paths[what])[1])
            note(f"{what}, cpu", cpu_of(pid) - before)

        read("first read")
        # What was fetched goes to its shelf when nobody reads; the second read is of pages.
        time.sleep(SETTLE)
        through.get("/far/warm-up", 0, RANGE)
        pair = ["second read", "local object"] if turn % 2 else ["local object", "second read"]
        for what in (pair + pair[::-1]) * WARM:
            read(what)
        ask(origin, "PUT", f"/lake/crowd-{turn}", content[:MIB])
        ask(forebay, "HEAD", f"/far/crowd-{turn}")
        crowd(forebay, f"/far/crowd-{turn}")
        note("requests for 100 clients", log.read_text().count(f"GET /lake/crowd-{turn} "))
    return figures


def report(figures: dict[str, list[float]]) -> str:
    """Give the medians and the ratios as a Markdown table."""
    median = {what: statistics.median(values) for what, values in figures.items()}

    def pace(what: str) -> str:
        return f"{SIZE / median[f'64 MiB, {what}'] / 1e6:,.0f} MB/s"

    def ratio(base: str, what: str) -> str:
        bases, others = figures[f"64 MiB, {base}"], figures[f"64 MiB, {what}"]
        each = len(others) // len(figures["first byte"])  # of one round
        middle = statistics.median(
            sum(bases[at : at + each]) / sum(others[at : at + each])
            for at in range(0, len(others), each)
        )
        return f"{middle:.2f} of {base}, {median[f'{what}, cpu'] * 1000:.0f} ms CPU"

    first, straight = median["first byte"] * 1000, median["first byte, direct"] * 1000
    rows = [
        ("64 MiB by 8 ranges of 8 MiB in parallel, boto3", pace("boto3"), ""),
        ("the same by bare sockets, direct", pace("direct"), ""),
        ("64 MiB, first read", pace("first read"), ratio("boto3", "first read") + " (0.8)"),
        ("the same", "", ratio("direct", "first read")),
        (
            "64 MiB, local object",
            pace("local object"),
            f"{median['local object, cpu'] * 1000:.0f} ms CPU",
        ),
        (
            "64 MiB, second read",
            pace("second read"),
            ratio("local object", "second read") + " (0.95)",
        ),
        ("first byte of a range, direct", f"{straight:.1f} ms", ""),
        ("first byte of a cold range", f"{first:.1f} ms", f"{first - straight:+.1f} ms (+10)"),
        (
            f"requests for {CLIENTS} clients of a cold page",
            f"{max(figures['requests for 100 clients']):.0f}",
            "(1)",
        ),
    ]
    lines = ["| read | figure | ratio (goal) |", "|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def servers(origin: str, port: int, directory: Path) -> list[str]:
    """Give the command of the server that is the origin."""
    if origin == "moto":
        return [sys.executable, "-m", "moto.server", "-p", str(port)]
    (directory / "origin").mkdir()
    return [
        sys.executable, "-m", "forebay", "serve", str(directory / "origin"),
        "--listen", f"127.0.0.1:{port}",
    ]  # fmt: skip


def certified(directory: Path) -> Path:
    """Make a certificate of 127.0.0.1 and its key, both in one file."""
    made = directory / "certificate.pem"
    command = "openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
    more = ["subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:FALSE"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", more[0], "-addext", more[1]]
    subprocess.run(
        [*command.split(), *name, "-keyout", str(made), "-out", str(directory / "public.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    with made.open("ab") as file:
        file.write((directory / "public.pem").read_bytes())
    return made


def run(
    origin: str, rounds: int, delay: float, directory: Path, *, tls: bool = False
) -> dict[str, list[float]]:
    """Start everything, measure, stop everything."""
    certificate = certified(directory) if tls else None
    far, near, log = free_port(), free_port(), directory / "requests"
    log.touch()
    (directory / "local").mkdir()
    with (
        running(servers(origin, far, directory), directory / "origin.log", far),
        delayed(far, delay, log, certificate) as proxy,
    ):
        options = {
            "endpoint_url": f"{'https' if tls else 'http'}://127.0.0.1:{proxy}",
            "access_key_id": USER,
            "secret_access_key": "any",
            "region": "us-east-1",
            **({"ca_file": str(directory / "public.pem")} if tls else {"allow_http": True}),
        }
        table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in options.items())
        config = directory / "forebay.toml"
        config.write_text(
            f'durability = "process"\nstate = "{directory}/near"\n'
            f'[mounts."/"]\nunder = "{directory}/local"\n'
            f'[mounts."/far"]\nunder = "s3://lake"\noptions = {{ {table} }}\n'
        )
        serve = [sys.executable, "-m", "forebay", "serve", "--config", str(config)]
        listen = ["--listen", f"127.0.0.1:{near}"]
        with running([*serve, *listen], directory / "forebay.log", near) as pid:
            public = directory / "public.pem" if tls else None
            return measure(far, proxy, near, pid, log, rounds, public)


def main() -> None:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--origin", choices=["forebay", "moto"], default="forebay")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--delay", type=float, default=30, help="milliseconds a request")
    options.add_argument("--tls", action="store_true", help="reach the origin by https")
    options.add_argument("--json", type=Path, help="write every measurement there")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="forebay-cold-") as directory:
        figures = run(given.origin, given.rounds, given.delay, Path(directory), tls=given.tls)
    print(report(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
