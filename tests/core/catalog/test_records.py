"""Records are small, and come back as they were."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from forebay.catalog.records import (
    Bucket,
    Completed,
    Intent,
    Job,
    MountRow,
    Part,
    Record,
    SegmentRef,
    Trash,
    Upload,
    Whiteout,
    decode,
    encode,
)
from forebay.types import PersistState

RECORD = Record(
    "id", 7, 11, "etag", 1_700_000_000_000, PersistState.TO_BE_PERSISTED, 1,
    owner="me", headers={"content-type": "text/x"}, tags={"k": "v"},
    segments=[SegmentRef("seg", 11)],
)  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        RECORD,
        Bucket(1, "b", 2, "me", {"k": "v"}),
        Intent(1, 2, "b", RECORD, "print"),
        Whiteout(1, None, 2),
        Job("id", 1, "b", 2, 3),
        Upload("u", 1, "k", 2),
        Part(1, 2, "etag", "seg", 3),
        Completed(1, "k", "digest", 2, RECORD),
        MountRow("file:///x", 3),
        Trash("id", [("seg", 5)], pages=5, runs=True),
    ],
    ids=lambda row: type(row).__name__,
)
def test_a_record_comes_back_as_it_was(row):
    assert row == decode(type(row), encode(row))


def test_a_record_of_a_small_object_takes_less_than_200_bytes():
    assert len(encode(RECORD)) < 200


def test_a_record_written_before_a_field_was_added_still_reads():
    import msgspec

    short = msgspec.msgpack.encode(["id", 7, 11, "etag", 5, "PERSISTED", 1])
    assert decode(Record, short) == Record("id", 7, 11, "etag", 5, PersistState.PERSISTED, 1)


FIRST = """
import os, sys, threading
from forebay.catalog.records import Record, decode, encode
from forebay.types import PersistState
value = encode(Record("id", 1, 0, "", 0, PersistState.PERSISTED, 1, parts=1))
sys.setswitchinterval(1e-6)
for _ in range(100):
    if not (child := os.fork()):
        begin = threading.Barrier(8)
        def reads():
            begin.wait()
            decode(Record, value)
        threads = [threading.Thread(target=reads) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_threads_that_read_the_first_records_of_a_process_at_once_do_not_crash_it():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", FIRST], env=environment, timeout=60, check=True)
