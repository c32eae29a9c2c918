"""A storm of writers that can be killed: run as a program, it forks them when it is told to.

Reads one JSON document a line: ``{"root", "state", "logs", "round", "writers", "seed"}``; forks
the writers, answers with their process ids and reads on. Each writer opens a Forebay of its own
on the same catalog, directory and tier, and notes in its log when an operation began and when
it was acknowledged.
"""

import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.objects import uploads
from forebay.objects.uploads import CompletedPart
from forebay.runtime import Forebay
from forebay.streams import BytesReader, ReaderBody
from forebay.types import Attributes, DeleteType, WriteType

KEYS = [f"{folder}key{number}" for folder in ("", "deep/er/") for number in range(20)]
PARTS = (3_000, 2_000, 70_000)
NONE = Attributes()


def config(root, state):
    """Give the configuration that writers and checker share."""
    tier = TierConfig(name="SSD", path=f"{state}/pages", capacity=1 << 30)
    return Config(
        mounts={"/": MountConfig("/", Path(root).as_uri())},
        metadata=MetadataConfig(path=f"{state}/catalog.db"),
        cache=CacheConfig(tiers=[tier]),
        durability="process",
        state=str(state),
    )


def content(name, size):
    """Make the bytes of an operation: its name first, then what nothing else has."""
    head = f"{name} {size}\n".encode()
    return (head + hashlib.sha512(head).digest() * (size // 64 + 1))[: max(size, len(head))]


def name_of(found):
    """Say whose bytes these are; None when they are torn or nobody's."""
    name, _, size = found.partition(b"\n")[0].decode("utf-8", "replace").rpartition(" ")
    whole = content(name, int(size)) if size.isdigit() else b""
    return name if found == whole else None


def pieces(whole):
    """Cut the bytes of a multipart upload."""
    first, second, _ = PARTS
    return [whole[:first], whole[first : first + second], whole[first + second :]]


def body(some):
    return ReaderBody(BytesReader(some), len(some))


class Writer:
    """One process of the storm."""

    def __init__(self, order, number):
        self.name = f"{order['round']}-{number}"
        self.log = os.open(
            Path(order["logs"], self.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        self.seed = order["seed"] * 100 + number
        self.config = config(order["root"], order["state"])
        self.stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.stopping.set())

    def note(self, **what):
        os.write(self.log, json.dumps({**what, "at": time.monotonic_ns()}).encode() + b"\n")

    def run(self):
        with Forebay(self.config) as forebay:
            self.note(opened=True)
            bucket = forebay.buckets.get("bucket")
            threads = [
                threading.Thread(target=self.work, args=(forebay, bucket, number))
                for number in range(2)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def work(self, forebay, bucket, thread):
        choose = random.Random(self.seed * 10 + thread)
        for count in range(100_000):
            if self.stopping.is_set():
                return
            name = f"{self.name}-{thread}-{count}"
            try:
                self.once(forebay, bucket, name, choose)
            except Exception as failure:
                self.note(failed=f"{name}: {type(failure).__name__}: {failure}")

    def once(self, forebay, bucket, name, choose):
        key, kind = choose.choice(KEYS), choose.random()
        write_type = choose.choice(list(WriteType))
        if kind < 0.15:
            delete_type = choose.choice(list(DeleteType))
            self.note(name=name, key=key, does="delete")
            forebay.deletes.delete(bucket, key, requested=delete_type)
        elif kind < 0.3:
            whole = content(name, sum(PARTS))
            self.note(name=name, key=key, does="parts", type=write_type)
            upload = forebay.uploads.create(
                bucket, key, attributes=NONE, owner="storm", requested=write_type
            ).upload_id
            parts = [
                forebay.uploads.put_part(bucket, key, upload, number, body(piece))
                for number, piece in enumerate(pieces(whole), 1)
            ]
            listed = [CompletedPart(part.number, part.etag) for part in parts]
            forebay.uploads.complete(bucket, key, upload, listed)
        else:
            whole = content(name, int(10 ** choose.uniform(1.5, 5.5)))
            self.note(name=name, key=key, does="put", type=write_type)
            forebay.writes.put(
                bucket, key, body(whole), attributes=NONE, owner="storm", requested=write_type
            )
        self.note(done=name)


def main():
    uploads.SMALLEST_PART = 1_000
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        children = []
        for number in range(order["writers"]):
            child = os.fork()
            if not child:
                status = 1
                try:
                    Writer(order, number).run()
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        print(json.dumps(children), flush=True)


if __name__ == "__main__":
    main()
