"""From what lies in the cache back to the object: always the current one, or none."""

from __future__ import annotations

import pytest

from forebay.catalog import keys
from forebay.objects.residency import place_of
from forebay.objects.uploads import CompletedPart
from forebay.testing.opened import Content, content_of
from forebay.types import Attributes, WriteType

LARGE = content_of("large", 100_000)


def segments(opened):
    return {page.segment for _, page, _ in opened.forebay.cache.segments()}


def place(opened, segment):
    found = place_of(opened.forebay.housekeeping._shared, segment)
    return found and (found.bucket.name, found.key)


@pytest.mark.parametrize("write_type", list(WriteType))
def test_every_object_whose_bytes_may_be_cached_has_its_place(opened, write_type):
    opened.put("k", LARGE, write_type)
    record = opened.head("k")
    assert place(opened, record.object_id) == ("bucket", "k")
    for segment in segments(opened):
        assert place(opened, segment) == ("bucket", "k")
    opened.persist()
    now = opened.head("k")
    found = place_of(opened.forebay.housekeeping._shared, record.object_id)
    assert found.record == now
    assert found.mount.config.path == "/"


def test_an_object_that_came_from_behind_has_its_place(opened):
    opened.raw.put("bucket/k", Content(LARGE), size=len(LARGE), attributes=Attributes())
    assert opened.get("k") == LARGE
    (segment,) = segments(opened)
    assert place(opened, segment) == ("bucket", "k")
    opened.raw.put("bucket/k", Content(LARGE[1:]), size=len(LARGE) - 1, attributes=Attributes())
    assert opened.get("k") == LARGE[1:]
    assert place(opened, segment) is None
    assert place(opened, opened.head("k").object_id) == ("bucket", "k")


def test_a_small_object_has_a_place_once_it_is_persisted(opened):
    opened.put("k", b"small", WriteType.ASYNC_THROUGH)
    record = opened.head("k")
    assert place(opened, record.object_id) is None
    opened.persist()
    assert place(opened, record.object_id) == ("bucket", "k")


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("write_type", list(WriteType))
def test_what_is_gone_has_no_place_and_leaves_no_row(opened, write_type, again):
    opened.put("k", LARGE, write_type)
    record, shelved = opened.head("k"), segments(opened)
    if again:
        opened.put("k", b"", WriteType.THROUGH)
    else:
        opened.forebay.deletes.delete(opened.bucket, "k")
    for segment in {record.object_id, *shelved}:
        assert place(opened, segment) is None
    assert opened.held(keys.place_row("")) == []


def test_a_part_has_a_place_when_its_upload_is_complete(opened):
    uploads = opened.forebay.uploads
    made = uploads.create(opened.bucket, "k", attributes=Attributes(), owner="tester").upload_id
    part = uploads.put_part(opened.bucket, "k", made, 1, Content(LARGE))
    (segment,) = segments(opened)
    assert place(opened, segment) is None
    uploads.complete(opened.bucket, "k", made, [CompletedPart(1, part.etag)])
    assert place(opened, opened.head("k").object_id) == ("bucket", "k")
    opened.put("k", b"", WriteType.THROUGH)
    opened.clean()
    assert opened.held(keys.place_row("")) == []


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_what_is_read_from_where_it_is_has_no_place(opened, files):
    files.mkdir(exist_ok=True)
    (files / "k").write_bytes(LARGE)
    assert opened.get("k") == LARGE
    assert opened.held(keys.place_row("")) == []
