"""Records are small, and come back as they were."""

from __future__ import annotations

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
