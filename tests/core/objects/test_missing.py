"""What the cache lacks of an object, run by run."""

import pytest

from forebay.objects.missing import Missing
from forebay.streams import BLOCK, BytesReader
from forebay.types import Attributes, ByteRange, WriteType

PAGE = 1 << 20
SIZE = 4 * PAGE + 5


@pytest.fixture
def shared(opened):
    return opened.forebay.loading._shared


def outside(opened, size=SIZE):
    opened.raw.put("bucket/k", BytesReader(bytes(size)), size=size, attributes=Attributes())
    return opened.head("k")


def read(opened, start, stop):
    with opened.forebay.reads.get(opened.bucket, "k", lambda _: ByteRange(start, stop)) as some:
        while some.read(BLOCK):
            if not some._left:
                break
    opened.clean()


@pytest.mark.parametrize("root", ["memory"], indirect=True)
def test_runs_of_what_is_missing_then_nothing(opened, shared):
    record = outside(opened)
    read(opened, 2 * PAGE, 2 * PAGE + 1)
    missing = Missing(shared)
    assert missing.select(record) == ByteRange(0, 2 * PAGE)
    assert missing.select(record) == ByteRange(3 * PAGE, SIZE)
    assert not missing.settled
    assert missing.select(record) == ByteRange(0, 0)
    assert (missing.settled, missing.brought.present, missing.brought.unkept) == (True, SIZE, 0)


@pytest.mark.parametrize("root", ["memory"], indirect=True)
def test_what_was_fetched_and_did_not_stay_is_counted(opened, shared):
    record = outside(opened)
    missing = Missing(shared)
    assert missing.select(record) == ByteRange(0, SIZE)
    missing.brought.fetched = SIZE
    read(opened, 0, PAGE)
    missing.select(record)
    assert (missing.brought.present, missing.brought.unkept) == (0, SIZE - PAGE)


@pytest.mark.parametrize("root", ["memory"], indirect=True)
def test_another_version_begins_anew(opened, shared):
    missing = Missing(shared)
    assert missing.select(outside(opened)) == ByteRange(0, SIZE)
    opened.raw.put("bucket/k", BytesReader(b"new"), size=3, attributes=Attributes())
    assert missing.select(opened.head("k")) == ByteRange(0, 3)


def test_what_waits_to_be_persisted_is_there(opened, shared):
    opened.put("k", bytes(SIZE), WriteType.ASYNC_THROUGH)
    missing = Missing(shared)
    assert missing.select(opened.head("k")) == ByteRange(0, 0)
    assert (missing.settled, missing.brought.present) == (True, SIZE)
