"""Writers are killed in the middle of everything; what was acknowledged is there, whole."""

import hashlib
import importlib.util
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forebay.errors import NoSuchKey
from forebay.testing.opened import OpenedForebay

ROUNDS = int(os.environ.get("FOREBAY_ROUNDS", "8"))
WRITERS = 3
STORM = Path(__file__).with_name("storm.py")
_spec = importlib.util.spec_from_file_location("forebay_storm", STORM)
storm = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(storm)


class History:
    """What was asked of each key, and when it was acknowledged."""

    def __init__(self):
        nothing = {"name": None, "does": "delete", "at": -math.inf, "end": -math.inf}
        self.keys = {key: {None: nothing} for key in storm.KEYS}
        self.acknowledged = 0

    def read(self, logs):
        for log in sorted(logs.iterdir()):
            under_way = {}
            for line in log.read_text().splitlines():
                event = json.loads(line)
                assert "failed" not in event, event
                if "name" in event:
                    under_way[event["name"]] = event
                    event["end"] = math.inf
                    self.keys[event["key"]][event["name"]] = event
                elif "done" in event:
                    under_way[event["done"]]["end"] = event["at"]
                    self.acknowledged += 1
            log.unlink()

    def possible(self, key):
        """Give the operations that may be the last one: none was acknowledged before them."""
        newest = max(e["at"] for e in self.keys[key].values() if e["end"] < math.inf)
        return {name: e for name, e in self.keys[key].items() if e["end"] >= newest}

    def settle(self, key, name, etag):
        """Go on from what was found; what was in flight has ended one way or the other."""
        found = self.keys[key].get(name, {"name": None, "does": "delete"})
        self.keys[key] = {name: {**found, "at": -math.inf, "end": -math.inf, "etag": etag}}


class Field:
    """The directories of a storm and the program that forks its writers."""

    def __init__(self, tmp_path):
        self.root, self.state, self.logs = (tmp_path / name for name in ("root", "state", "logs"))
        self.logs.mkdir()
        self.program = subprocess.Popen(
            [sys.executable, str(STORM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self):
        with self.open() as opened:
            opened.forebay.buckets.create("bucket", "storm")
        return self

    def __exit__(self, *_):
        self.program.stdin.close()
        self.program.wait(10)
        self.program.stdout.close()

    def open(self):
        return OpenedForebay(storm.config(self.root, self.state))

    def begin(self, number):
        order = {"round": number, "writers": WRITERS, "seed": number}
        order |= {"root": str(self.root), "state": str(self.state), "logs": str(self.logs)}
        self.program.stdin.write(json.dumps(order).encode() + b"\n")
        self.program.stdin.flush()
        writers = json.loads(self.program.stdout.readline())
        end = time.monotonic() + 20
        while sum(log.stat().st_size > 0 for log in self.logs.iterdir()) < WRITERS:
            assert time.monotonic() < end, "the writers do not begin"
            time.sleep(0.005)
        return writers


def end(writers, number):
    for writer in writers:
        os.kill(writer, number)
    deadline = time.monotonic() + 20
    for writer in writers:
        while Path(f"/proc/{writer}").exists():
            assert time.monotonic() < deadline, "a writer does not end"
            time.sleep(0.002)


def etag_of(found, event):
    if event["does"] == "put":
        return hashlib.md5(found).hexdigest()
    hashes = b"".join(hashlib.md5(piece).digest() for piece in storm.pieces(found))
    return f"{hashlib.md5(hashes).hexdigest()}-3"


def check(opened, history):
    """Compare the namespace with what was acknowledged, and look for what was left behind."""
    bucket = opened.bucket
    listed = opened.listed()
    for key in storm.KEYS:
        possible = history.possible(key)
        try:
            with opened.forebay.reads.get(bucket, key, lambda _: None) as reader:
                found, record = b"".join(iter(lambda: reader.read(1 << 20), b"")), reader.record
        except NoSuchKey:
            found = record = name = None
            assert key not in listed
            deletes = [n for n, e in possible.items() if e["does"] == "delete"]
            assert deletes, f"{key} is lost; it has to be one of {possible}"
        else:
            name = storm.name_of(found)
            assert name is not None, f"{key} is torn: {found[:60]}"
            assert name in possible, f"{key} is {name}, older than one of {possible}"
            assert listed[key] == len(found) == record.size
            event = possible[name]
            # Nobody can tell the parts of an unacknowledged completion that was published.
            if event["end"] < math.inf or event["does"] == "put":
                assert record.etag == event.get("etag", etag_of(found, event)), event
        history.settle(key, name, record.etag if record else None)
    assert listed.keys() <= set(storm.KEYS)


def check_nothing_is_held(opened, field):
    forebay = opened.forebay
    opened.persist()
    forebay.uploads.expire(-1)
    forebay.housekeeping.sweep_orphans()
    assert opened.leavings() == {}
    assert forebay.persist.backlog().objects == 0
    assert list((field.root / ".forebay" / "staging").iterdir()) == []
    assert [entry.name for entry in (field.state / "owners").iterdir()] == [
        str(forebay._shared.owner.number)
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(50, marks=pytest.mark.slow)])
def test_a_storm_of_kills_loses_nothing_that_was_acknowledged(tmp_path, rounds):
    history, slowest = History(), 0.0
    chance = random.Random(7)
    with Field(tmp_path) as field:
        for number in range(rounds):
            writers = field.begin(number)
            time.sleep(chance.uniform(0.05, 0.3))
            if number % 3 == 2:
                # One dies, the others meet what it left, and end in good order.
                end([writers.pop(chance.randrange(WRITERS))], signal.SIGKILL)
                time.sleep(chance.uniform(0.05, 0.15))
                end(writers, signal.SIGTERM)
            else:
                end(writers, signal.SIGKILL)
            history.read(field.logs)
            began = time.monotonic()
            with field.open() as opened:
                slowest = max(slowest, time.monotonic() - began)
                check(opened, history)
                if number % 5 == 4 or number == rounds - 1:
                    check_nothing_is_held(opened, field)
    print(f"{rounds} rounds, {history.acknowledged} acknowledged, slowest start {slowest:.2f} s")
    assert history.acknowledged > rounds * 10
    assert slowest < 5
