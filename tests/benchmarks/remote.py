"""Measure cold reads of a remote S3: the obstore under store beside boto3 with 8 x 8 MiB ranges.

The remote is a Forebay over a directory, in a process of its own, behind a proxy that holds every
request back for a while (another process). Rounds alternate between the candidates; medians are
compared. A range is cold when it is asked for with nothing of it cached anywhere on the way here.

usage: python tests/benchmarks/remote.py [--delay 30] [--size 64] [--rounds 7]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from forebay.types import ByteRange
from forebay_obstore.opening import open_store

MIB = 1 << 20
MOST_CONNECTIONS = 128


# --- the proxy --------------------------------------------------------------------------


def proxy(target: int, delay: float) -> None:
    """Forward connections to port `target`; what clients send waits for `delay` seconds.

    Prints its own port. Every connection has two threads; there are never more than a bound.
    """
    free = threading.BoundedSemaphore(MOST_CONNECTIONS)
    with socket.create_server(("127.0.0.1", 0), backlog=MOST_CONNECTIONS) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            free.acquire()
            threading.Thread(
                target=_connection, args=(client, target, delay, free), daemon=True
            ).start()


def _connection(
    client: socket.socket, target: int, delay: float, free: threading.BoundedSemaphore
) -> None:
    try:
        with client, socket.create_connection(("127.0.0.1", target)) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            down = threading.Thread(target=_splice, args=(server, client), daemon=True)
            down.start()
            with contextlib.suppress(OSError):
                while sent := client.recv(1 << 16):
                    time.sleep(delay)
                    server.sendall(sent)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_WR)
            down.join()
    finally:
        free.release()


def _splice(source: socket.socket, sink: socket.socket) -> None:
    """Move answers in the kernel, so that the proxy takes little of the machine."""
    reading, writing = os.pipe()
    try:
        while moved := os.splice(source.fileno(), writing, MIB):
            while moved:
                moved -= os.splice(reading, sink.fileno(), moved)
    except OSError:
        pass  # one of the two has gone
    finally:
        os.close(reading)
        os.close(writing)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


# --- what is measured -------------------------------------------------------------------


def in_parallel(size: int, get: Callable[[int, int], int]) -> Callable[[], int]:
    """Read an object by 8 ranges of 8 MiB at a time, as a miss does."""
    pool = ThreadPoolExecutor(8)
    starts = range(0, size, 8 * MIB)
    stops = [min(start + 8 * MIB, size) for start in starts]
    return lambda: sum(pool.map(get, starts, stops))


def boto_reader(client: Any, key: str, size: int) -> Callable[[], int]:
    """Read an object by boto3."""

    def get(start: int, stop: int) -> int:
        got = client.get_object(Bucket="remote", Key=key, Range=f"bytes={start}-{stop - 1}")
        return len(got["Body"].read())

    return in_parallel(size, get)


def store_reader(store: Any, key: str, size: int, named: str) -> Callable[[], int]:
    """Read an object by the under store."""

    def get(start: int, stop: int) -> int:
        return drained(store, key, ByteRange(start, stop), named)

    return in_parallel(size, get)


def drained(store: Any, key: str, byte_range: ByteRange | None, named: str) -> int:
    """Read a range to its end."""
    total = 0
    with store.open(key, byte_range, if_match=named) as reader:
        while block := reader.read(MIB):
            total += len(block)
    return total


def first_byte(store: Any, key: str, start: int, named: str | None) -> Callable[[], int]:
    """Read the first bytes of an 8 MiB range."""

    def read() -> int:
        with store.open(key, ByteRange(start, start + 8 * MIB), if_match=named) as reader:
            return len(reader.read(65536))

    return read


def timed(call: Callable[[], int], expected: int | None = None) -> float:
    """Give the seconds that a call takes."""
    began = time.perf_counter()
    got = call()
    took = time.perf_counter() - began
    if expected is not None and got != expected:
        raise SystemExit(f"{got} bytes instead of {expected}")
    return took


@contextlib.contextmanager
def child(*command: str, answer: bool = False) -> Iterator[str]:
    """Run a process, end it afterwards; give the first line it prints if it is to."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as one:
        try:
            assert one.stdout is not None
            line = ""
            if answer:
                with selectors.DefaultSelector() as ready:
                    ready.register(one.stdout, selectors.EVENT_READ)
                    if not ready.select(20):
                        raise SystemExit(f"{command[1]} did not start")
                line = one.stdout.readline().strip()
            yield line
        finally:
            one.send_signal(signal.SIGTERM)
            try:
                one.wait(10)
            except subprocess.TimeoutExpired:
                one.kill()


@contextlib.contextmanager
def remote(directory: Path, size: int) -> Iterator[int]:
    """Serve one object of `size` bytes, and one small one; give the port."""
    bucket = directory / "remote"
    bucket.mkdir(parents=True)
    (bucket / "large").write_bytes(os.urandom(size))
    (bucket / "small").write_bytes(b"x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with child(
        sys.executable, "-m", "forebay", "serve", str(directory), "--listen", f"127.0.0.1:{port}",
        "--workers", "1",
    ):  # fmt: skip
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield port


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--delay", type=float, default=30, help="milliseconds a request")
    parser.add_argument("--size", type=int, default=64, help="MiB of the object")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--proxy", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.proxy:
        proxy(int(given.proxy[0]), float(given.proxy[1]))
    size = given.size * MIB
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="remote-")))
        os.environ["XDG_STATE_HOME"] = str(directory / "state")
        port = stack.enter_context(remote(directory / "data", size))
        seconds = str(given.delay / 1000)
        at = stack.enter_context(
            child(sys.executable, __file__, "--proxy", str(port), seconds, answer=True)
        )
        url = f"http://127.0.0.1:{at}"
        keys = {"access_key_id": "bench", "secret_access_key": "any"}
        store = open_store("s3://remote", {"endpoint_url": url, **keys})
        stack.callback(store.close)
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            **{f"aws_{name}": value for name, value in keys.items()},
            config=Config(max_pool_connections=16, s3={"addressing_style": "path"}),
        )
        stack.callback(client.close)
        report(given, size, store, client)


def report(given: argparse.Namespace, size: int, store: Any, client: Any) -> None:
    """Run the rounds and print the table."""
    named = store.head("large").fingerprint
    whole = {
        "boto3, 8 x 8 MiB": boto_reader(client, "large", size),
        "under store, 8 x 8 MiB": store_reader(store, "large", size, named),
        "under store, one request": lambda: drained(store, "large", None, named),
    }
    starts = iter(range(0, 1 << 40, MIB))

    def at() -> int:
        return next(starts) % max(1, size - 8 * MIB)

    first = {
        "1 byte (round trip)": lambda: timed(
            lambda: len(client.get_object(Bucket="remote", Key="small")["Body"].read()), 1
        ),
        "under store": lambda: timed(first_byte(store, "large", at(), named)),
        "under store, version not known": lambda: timed(first_byte(store, "large", at(), None)),
    }
    took: dict[str, list[float]] = {name: [] for name in whole}
    began: dict[str, list[float]] = {name: [] for name in first}
    for number in range(given.rounds + 1):
        for name, read in whole.items():
            seconds = timed(read, size)
            if number:  # the first round opens the connections
                took[name].append(seconds)
        for name, look in first.items():
            seconds = look()
            if number:
                began[name].append(seconds)
    print(f"| {given.size} MiB, {given.delay:g} ms a request | MB/s | x boto3 |\n|---|---|---|")
    against = statistics.median(took["boto3, 8 x 8 MiB"])
    for name, seconds_each in took.items():
        middle = statistics.median(seconds_each)
        print(f"| {name} | {size / middle / 1e6:.0f} | {against / middle:.2f} |")
    print("\n| first byte of a cold range | ms | beyond the delay, ms |\n|---|---|---|")
    for name, seconds_each in began.items():
        middle = statistics.median(seconds_each) * 1000
        print(f"| {name} | {middle:.1f} | {middle - given.delay:.1f} |")


if __name__ == "__main__":
    main()
