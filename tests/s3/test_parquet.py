"""DuckDB and PyArrow read a partitioned Parquet dataset through mounts: cold, warm, and right.

Each question is asked of the files themselves first. The origin counts what it is asked for.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import inspect
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import asyncssh
import duckdb
import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.fs
import pytest

import forebay
from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig

_spec = importlib.util.spec_from_file_location(
    "servers", Path(__file__).parents[1] / "plugins" / "servers.py"
)
_servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_servers)

YEARS, MONTHS, REGIONS = range(2021, 2025), range(1, 13), ("east", "north", "south", "west", "öst")
FILES = len(YEARS) * len(MONTHS) * len(REGIONS)
ROWS = 40
"""Rows of each file; hundreds of small files are the worst case for requests."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Write the dataset below a bucket's directory: 240 files in as many partitions."""
    root = tmp_path_factory.mktemp("origin")
    places = [(y, m, r) for y in YEARS for m in MONTHS for r in REGIONS for _ in range(ROWS)]
    table = pyarrow.table(
        {
            "year": pyarrow.array([y for y, _, _ in places], pyarrow.int32()),
            "month": pyarrow.array([m for _, m, _ in places], pyarrow.int32()),
            "region": [r for _, _, r in places],
            "id": range(len(places)),
            "amount": [(n * 7919) % 10_007 for n in range(len(places))],
            "note": [f"note {n % 97}" * (n % 5) for n in range(len(places))],
        }
    )
    pyarrow.dataset.write_dataset(
        table,
        root / "lake" / "sales",
        format="parquet",
        partitioning=["year", "month", "region"],
        partitioning_flavor="hive",
        max_partitions=FILES,
        max_open_files=20,
    )
    assert len(list(root.rglob("*.parquet"))) == FILES
    return root


# --- origins that count ------------------------------------------------------------------


@contextlib.contextmanager
def counting(url, counts):
    """Stand before an S3 server; count requests for bytes, for listings and for heads."""
    far = urlsplit(url)

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            kind = "data" if self.command == "GET" else "head"
            kind = next((k for k in ("list", "tagging") if f"?{k}" in self.path), kind)
            counts[kind] += 1
            with contextlib.closing(http.client.HTTPConnection(far.hostname, far.port)) as ahead:
                ahead.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    ahead.putheader(name, value)
                ahead.endheaders()
                answer = ahead.getresponse()
                content = answer.read()
            if kind == "data":
                counts["bytes"] += len(content)
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Between) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def s3_origin(lake):
    """A second Forebay over the files, behind a proxy that counts."""
    counts = Counter()
    with forebay.Gateway(lake) as gateway, counting(gateway.url, counts) as url:
        options = {"endpoint_url": url, "access_key_id": "origin", "secret_access_key": "any"}
        yield MountConfig("/lake", "s3://lake", options=options, metadata_sync=3600.0), counts


@pytest.fixture(scope="module")
def sftp_origin(lake):
    """An SFTP server over the files that counts what it is asked for."""
    counts = Counter()

    class Counting(asyncssh.SFTPServer):
        async def read(self, file_obj, offset, size):
            content = await _waited(super().read(file_obj, offset, size))
            counts["data"] += bool(content)
            counts["bytes"] += len(content)
            return content

        def stat(self, path):
            counts["head"] += 1
            return super().stat(path)

        def lstat(self, path):
            counts["head"] += 1
            return super().lstat(path)

        def fstat(self, file_obj):
            counts["head"] += 1
            return super().fstat(file_obj)

        def scandir(self, path):
            counts["list"] += 1
            return super().scandir(path)

    with _servers.sftp_server(lake, sftp_factory=Counting) as (url, _):
        options = {"known_hosts": False}
        yield MountConfig("/lake", f"{url}/lake", options=options, metadata_sync=3600.0), counts


async def _waited(answer):
    return await answer if inspect.isawaitable(answer) else answer


@pytest.fixture
def origin(request):
    return request.getfixturevalue(f"{request.param}_origin")


# --- the clients -------------------------------------------------------------------------


class PyArrow:
    """PyArrow's dataset over its own S3 client."""

    def __init__(self, gateway=None, files=None):
        self.place, self.system = (f"{files}/lake/sales", None) if files else ("lake/sales", None)
        if gateway is not None:
            self.system = pyarrow.fs.S3FileSystem(
                endpoint_override=urlsplit(gateway.url).netloc,
                scheme="http",
                access_key="tester",
                secret_key="any",
                region="us-east-1",
            )

    def answers(self):
        data = pyarrow.dataset.dataset(
            self.place, filesystem=self.system, format="parquet", partitioning="hive"
        )
        field = pyarrow.compute.field
        whole = data.to_table(columns=["year", "region", "amount"])
        grouped = whole.group_by(["year", "region"]).aggregate([("amount", "sum")])
        few = data.to_table(filter=(field("year") == 2023) & (field("region") == "öst"))
        keys = [("year", "ascending"), ("region", "ascending")]
        return [
            data.count_rows(),
            grouped.sort_by(keys).to_pylist(),
            few.sort_by("id").to_pylist(),
        ]


class DuckDB:
    """DuckDB over its extension httpfs, an S3 client of its own."""

    def __init__(self, gateway=None, files=None):
        self.connection = duckdb.connect(config={"threads": 4})
        self.place = f"{files}/lake/sales" if files else "s3://lake/sales"
        if gateway is not None:
            package = Path(importlib.util.find_spec("duckdb_extension_httpfs").origin).parent
            (extension,) = package.rglob("*.duckdb_extension")
            self.connection.execute(f"LOAD '{extension}'")
            self.connection.execute(
                "CREATE SECRET (TYPE s3, KEY_ID 'tester', SECRET 'any', REGION 'us-east-1',"
                f" ENDPOINT '{urlsplit(gateway.url).netloc}', URL_STYLE 'path', USE_SSL false)"
            )

    def answers(self):
        data = f"read_parquet('{self.place}/**/*.parquet', hive_partitioning = true)"
        return [
            self.connection.sql(query).fetchall()
            for query in (
                f"SELECT count(*), sum(amount), count(DISTINCT note) FROM {data}",
                f"SELECT year, region, sum(amount) FROM {data} GROUP BY ALL ORDER BY ALL",
                f"SELECT * FROM {data} WHERE year = 2023 AND region = 'öst' ORDER BY id",
            )
        ]


@pytest.fixture
def make_gateway(tmp_path):
    """Serve one mount by a Forebay that has seen nothing yet."""
    with contextlib.ExitStack() as stack:

        def make_gateway(mount):
            tier = TierConfig(name="SSD", path=str(tmp_path / "pages"), capacity=512 << 20)
            (tmp_path / "root").mkdir()
            config = Config(
                mounts={"/": MountConfig("/", (tmp_path / "root").as_uri()), mount.path: mount},
                metadata=MetadataConfig(kind="sqlite", path=str(tmp_path / "catalog.db")),
                cache=CacheConfig(tiers=[tier]),
                durability="process",
                state=str(tmp_path / "state"),
            )
            return stack.enter_context(forebay.Gateway(config))

        yield make_gateway


def report(capsys, title, first, second, counts):
    def shown(count):
        kinds = [f"{number} {kind}" for kind, number in sorted(count.items()) if kind != "bytes"]
        return f"{', '.join(kinds)} ({count['bytes'] >> 10} KiB)"

    with capsys.disabled():
        print(f"\n{title}: cold {first:.2f} s, {shown(counts[0])}", end="; ")
        print(f"warm {second:.2f} s, {shown(counts[1])}", end=" ")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("origin", ["s3", "sftp"], indirect=True)
@pytest.mark.parametrize("client", [PyArrow, DuckDB])
def test_answers_are_those_of_the_files_and_warm_ones_ask_for_no_data(
    lake, origin, client, make_gateway, request, record_property, capsys
):
    mount, counts = origin
    expected = client(files=lake).answers()
    gateway = make_gateway(mount)
    asked, took = [], []
    for _ in range(2):
        counts.clear()
        started = time.monotonic()
        # A client of its own each time: nothing may be remembered but by Forebay.
        assert client(gateway=gateway).answers() == expected
        took.append(time.monotonic() - started)
        asked.append(Counter(counts))
    cold, warm = asked
    report(capsys, request.node.name.partition("[")[2][:-1], *took, asked)
    record_property("origin", {"cold": dict(cold), "warm": dict(warm), "files": FILES})
    size = sum(path.stat().st_size for path in lake.rglob("*.parquet"))
    # A small file is one page, which is fetched once; a slow machine may try one again.
    assert FILES <= cold["data"] <= 1.1 * FILES
    assert size <= cold["bytes"] <= 1.1 * size
    assert warm["data"] == 0
    assert warm["bytes"] == 0
