"""`serve` with everything behind it: real processes, spoken to by boto3."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.config import Config as ClientConfig
from botocore.exceptions import ClientError

from forebay.config import load
from forebay.errors import ConfigurationError
from forebay.server.listeners import bind, url_of
from forebay.server.workers import processes, serve

SERVE = """
import logging, sys
from forebay.config import load
from forebay.errors import ConfigurationError
from forebay.server.workers import serve
logging.basicConfig(level="INFO", format="%(message)s")
read = lambda: load(sys.argv[1])
try:
    code = serve(read(), reload=read, on_ready=lambda url: print(url, flush=True))
except ConfigurationError as error:
    code = f"refused: {error}"
sys.exit(code)
"""


class Served:
    """A server under test and the file it reads."""

    def __init__(self, folder: Path, workers: str, more: str) -> None:
        self.folder, self.workers = folder, workers
        (folder / "storage").mkdir(exist_ok=True)
        self.write(more)
        self.log = (folder / "log").open("ab")
        self.parent = subprocess.Popen(
            [sys.executable, "-c", SERVE, folder / "forebay.toml"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.url = self.parent.stdout.readline().decode().strip()
        self.clients = []

    def write(self, more: str) -> None:
        (self.folder / "forebay.toml").write_text(
            f'state = "state"\n[server]\nlisten = "127.0.0.1:0"\nworkers = {self.workers}\n'
            f'[mounts."/"]\nunder = "storage"\n{more}'
        )

    def client(self):
        self.clients.append(
            boto3.session.Session().client(
                "s3",
                endpoint_url=self.url,
                region_name="us-east-1",
                aws_access_key_id="ann",
                aws_secret_access_key="any",
                config=ClientConfig(retries={"total_max_attempts": 1}, max_pool_connections=16),
            )
        )
        return self.clients[-1]

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.parent.pid}/task/{self.parent.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def logged(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> int:
        self.parent.send_signal(signal.SIGTERM)
        return self.parent.wait(10)


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def begin(workers: str = "2", more: str = "") -> Served:
        started.append(Served(tmp_path, workers, more))
        return started[-1]

    yield begin
    for served in started:
        for client in served.clients:
            client.close()
        served.parent.kill()
        served.parent.wait()
        served.parent.stdout.close()
        served.log.close()


def test_what_one_worker_took_every_other_gives(start):
    served = start()
    assert len(served.children()) == 3
    s3 = served.client()
    s3.create_bucket(Bucket="bucket")
    keys = [f"key-{number}" for number in range(40)]

    def there_and_back(key: str) -> bool:
        s3.put_object(Bucket="bucket", Key=key, Body=key.encode() * 1000)
        return s3.get_object(Bucket="bucket", Key=key)["Body"].read() == key.encode() * 1000

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(there_and_back, keys))
    listed = s3.list_objects_v2(Bucket="bucket")["Contents"]
    assert [found["Key"] for found in listed] == sorted(keys)
    assert served.stop() == 0
    assert "Traceback" not in served.logged()


def test_what_was_acknowledged_outlives_a_killed_worker_and_a_restart(start):
    served = start()
    s3 = served.client()
    s3.create_bucket(Bucket="bucket")
    kept = []
    for number in range(30):
        if number == 15:
            os.kill(served.children()[0], signal.SIGKILL)
        with contextlib.suppress(Exception):
            s3.put_object(Bucket="bucket", Key=f"{number:02}", Body=b"x" * 50_000)
            kept.append(f"{number:02}")
    assert len(kept) >= 28, "only what was in flight may fail"
    until(lambda: len(served.children()) == 3)
    assert served.stop() == 0
    again = start()
    s3 = again.client()
    for key in kept:
        assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == b"x" * 50_000
    assert again.stop() == 0


def test_a_reload_brings_the_new_configuration(start):
    naming = '[properties]\n"alluxio.proxy.s3.bucket.naming.restrictions.enabled" = false\n'
    served = start()
    s3 = served.client()
    with pytest.raises(ClientError, match="InvalidBucketName"):
        s3.create_bucket(Bucket="UPPER")
    served.write("[mount]\n")
    served.parent.send_signal(signal.SIGHUP)
    until(lambda: "the old configuration stays" in served.logged())
    served.workers = "3"
    served.write(naming)
    served.parent.send_signal(signal.SIGHUP)
    until(lambda: "reload: done" in served.logged())
    assert "server.workers" in served.logged()
    served.client().create_bucket(Bucket="UPPER")
    assert served.stop() == 0


def test_memory_is_served_by_one_process(tmp_path):
    config = load(storage="memory://")
    assert processes(config) == 1
    with pytest.raises(ConfigurationError, match=r"2 processes cannot share .*mounts\./"):
        processes(load(storage="memory://", workers=2))


def test_one_worker_needs_no_child(start):
    served = start("1")
    assert served.children() == []
    s3 = served.client()
    s3.create_bucket(Bucket="bucket")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["bucket"]
    assert served.stop() == 0


def test_a_busy_port_is_refused_before_any_state_is_touched(tmp_path):
    with contextlib.closing(bind("127.0.0.1:0")) as taken:
        listen = url_of(taken).removeprefix("http://")
        path = tmp_path / "forebay.toml"
        path.write_text('state = "state"\n')
        (tmp_path / "storage").mkdir()
        config = load(path, storage=str(tmp_path / "storage"), listen=listen)
        with pytest.raises(ConfigurationError, match=r"cannot listen on .* in use"):
            serve(config)
    assert not (tmp_path / "state").exists()


def test_a_store_that_cannot_be_opened_is_refused(start):
    served = start(more='[mounts."/other"]\nunder = "nosuchscheme://x"\n')
    assert served.parent.wait(10) == 1
    assert "refused: mounts./other: " in served.logged()
    assert "Traceback" not in served.logged()
