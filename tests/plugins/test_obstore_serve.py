"""`forebay serve s3://…` with several workers: the way operators run it, forks included."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

import forebay

ACCESS = {"aws_access_key_id": "tester", "aws_secret_access_key": "any"}


@pytest.fixture
def far():
    with (
        forebay.Gateway("memory://") as server,
        contextlib.closing(boto3.client("s3", endpoint_url=server.url, **ACCESS)) as client,
    ):
        client.create_bucket(Bucket="far")
        yield client


@pytest.fixture
def near(far, tmp_path):
    """Serve ``s3://far/root`` by two workers; the place and the keys come by the environment."""
    command = [sys.executable, "-m", "forebay", "serve", "s3://far/root", "--workers", "2"]
    environment = {name.upper(): text for name, text in ACCESS.items()}
    environment |= {"AWS_ENDPOINT_URL": far.meta.endpoint_url, "XDG_STATE_HOME": str(tmp_path)}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | environment,
        ) as served,
    ):
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+/", served.stdout.readline())
            assert found, (tmp_path / "log").read_text()
            with contextlib.closing(boto3.client("s3", endpoint_url=found[0], **ACCESS)) as client:
                yield client
        finally:
            served.send_signal(signal.SIGTERM)
            assert served.wait(30) == 0


def test_workers_share_a_bucket_of_another_server(near, far):
    near.create_bucket(Bucket="lake")
    sizes = [*range(0, 800_000, 50_000), 9_000_000, 9_000_000]
    bodies = {f"dir/{n}": random.Random(n).randbytes(size) for n, size in enumerate(sizes)}

    def put(key):
        near.put_object(Bucket="lake", Key=key, Body=bodies[key], Metadata={"of": key})

    def get(key):
        found = near.get_object(Bucket="lake", Key=key)
        return found["Body"].read() == bodies[key] and found["Metadata"] == {"of": key}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, bodies))
        assert all(pool.map(get, bodies))
    for key, body in bodies.items():
        assert far.get_object(Bucket="far", Key=f"root/lake/{key}")["Body"].read() == body
    assert "Uploads" not in far.list_multipart_uploads(Bucket="far")
    for key in bodies:  # what nobody here has seen before
        far.put_object(Bucket="far", Key=f"root/lake/cold/{key}", Body=bodies[key])
    with ThreadPoolExecutor(8) as pool:
        read = pool.map(
            lambda key: near.get_object(Bucket="lake", Key=f"cold/{key}")["Body"].read(), bodies
        )
        assert list(read) == list(bodies.values())
