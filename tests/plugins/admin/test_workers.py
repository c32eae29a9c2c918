"""Commands against several worker processes and their housekeeping: any of them answers."""

import json
import os
import signal
import time
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config

MIB = 1 << 20


def client(serving):
    return boto3.client(
        "s3",
        endpoint_url=serving.url,
        region_name="us-east-1",
        aws_access_key_id="me",
        aws_secret_access_key="any",
        config=Config(s3={"addressing_style": "path"}),
    )


def read(serving, number, times=1):
    """Read an object, over a new connection each time so that both workers come to it."""
    for _ in range(times):
        s3 = client(serving)
        s3.get_object(Bucket="lake", Key=f"{number:05}")["Body"].read()
        s3.close()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def told(serving, *arguments):
    return json.loads(serving.ask(*arguments, "--json"))


@pytest.mark.timeout(300)
def test_every_worker_tells_the_same_truth(serving):
    serving.capacity = "8 MiB"
    origin = serving.origin(6, 2 * MIB)
    serving.start()
    told(serving, "load", "s3://lake/00000")
    assert told(serving, "stat", "s3://lake/00000")["held"]["size"] == 2 * MIB
    read(serving, 0, times=6)
    assert origin.read.count("bucket/00000") == 1
    # Workers tell of their hits by datagrams, which may take a moment.
    until(lambda: min(o["hits"] for o in told(serving, "explain", "/lake/00000")["pieces"]) >= 3)
    assert told(serving, "cache")["complete"]
    assert told(serving, "cache")["tiers"][0]["tally"]["admitted"] == 2

    told(serving, "pin", "s3://lake/00000")
    for number in range(1, 6):
        read(serving, number, times=2)
    until(lambda: told(serving, "cache")["tiers"][0]["tally"]["evicted"] > 0)
    assert told(serving, "stat", "s3://lake/00000")["held"]["size"] == 2 * MIB
    assert origin.read.count("bucket/00000") == 1
    gone = [
        piece
        for number in range(1, 6)
        for piece in told(serving, "explain", f"s3://lake/{number:05}")["pieces"]
        if not piece["tiers"]
    ]
    assert gone
    assert {(one["evicted"], one["evicted_from"]) for one in gone if one["evicted"]} == {
        ("room", "SSD")
    }

    freed = told(serving, "free", "s3://lake")
    assert freed["size"] > 0
    assert told(serving, "stat", "s3://lake/00000")["held"]["size"] == 0
    until(lambda: told(serving, "cache")["tiers"][0]["used"] == 0)


@pytest.mark.timeout(300)
def test_commands_go_on_when_any_process_dies(serving):
    origin = serving.origin(60, 20_000)
    serving.start()
    origin.pause = 0.05
    job = told(serving, "load", "s3://lake", "--detach")
    # One after the other: workers, and the process that loads.
    for pid in serving.children():
        os.kill(pid, signal.SIGKILL)
        until(lambda: urlopen(f"{serving.url}/-/ready", timeout=30).status == 200)
        assert told(serving, "loads")["loads"][0]["id"] == job["id"]
        assert told(serving, "status")["version"]
    until(lambda: told(serving, "loads")["loads"][0]["state"] == "DONE")
    done = told(serving, "loads")["loads"][0]
    assert (done["objects"], done["failed"]) == (60, 0)
    entries = [json.loads(line) for line in serving.ask("ls", "s3://lake", "--json").splitlines()]
    assert {one["held"] for one in entries} == {20_000}
    until(lambda: told(serving, "cache")["complete"])
