"""Housekeeping: nothing is left that nothing refers to, and nothing goes that something does."""

from __future__ import annotations

import pytest

from forebay.catalog import keys
from forebay.objects.housekeeping import evictable
from forebay.testing.opened import Content, content_of
from forebay.types import Attributes, PageId, WriteType

LARGE = content_of("large", 100_000)


def segments(opened):
    return {page.segment for _, page, _ in opened.forebay.cache.segments()}


def test_what_an_overwrite_retires_is_taken_from_the_shelves(opened):
    opened.put("k", LARGE, WriteType.MUST_CACHE)
    before = segments(opened)
    opened.put("k", LARGE, WriteType.MUST_CACHE)
    opened.clean()
    assert len(segments(opened)) == 1
    assert not before & segments(opened)
    assert opened.leavings() == {}


@pytest.mark.parametrize(
    ("write_type", "may_go"),
    [
        (WriteType.MUST_CACHE, False),
        (WriteType.ASYNC_THROUGH, False),
        (WriteType.CACHE_THROUGH, True),
    ],
)
def test_only_a_copy_may_be_evicted(opened, write_type, may_go):
    opened.put("k", LARGE, write_type)
    (segment,) = segments(opened)
    shared = opened.forebay.housekeeping._shared
    assert may_go is evictable(shared, PageId(segment))
    assert evictable(shared, PageId(segment, 1 << 20, 0))
    opened.persist()
    assert (may_go or write_type is WriteType.ASYNC_THROUGH) is evictable(shared, PageId(segment))


def test_a_segment_that_was_not_committed_yet_may_not_be_evicted(opened):
    shared = opened.forebay.housekeeping._shared
    assert not evictable(shared, PageId(shared.owner.new_id()))


def test_parts_of_an_upload_may_not_be_evicted(opened):
    uploads = opened.forebay.uploads
    made = uploads.create(opened.bucket, "k", attributes=Attributes(), owner="tester").upload_id
    uploads.put_part(opened.bucket, "k", made, 1, Content(LARGE))
    (segment,) = segments(opened)
    assert not evictable(opened.forebay.housekeeping._shared, PageId(segment))
    uploads.abort(opened.bucket, "k", made)
    opened.clean()
    assert set() == segments(opened)


def test_old_completions_are_forgotten(opened, monkeypatch):
    from forebay.objects import housekeeping
    from forebay.objects.uploads import CompletedPart

    uploads = opened.forebay.uploads
    made = uploads.create(opened.bucket, "k", attributes=Attributes(), owner="tester").upload_id
    part = uploads.put_part(opened.bucket, "k", made, 1, Content(LARGE))
    uploads.complete(opened.bucket, "k", made, [CompletedPart(1, part.etag)])
    opened.forebay.housekeeping.end_uploads()
    assert len(opened.held(keys.COMPLETED)) == 1
    monkeypatch.setattr(housekeeping, "REMEMBERED", -1000)
    opened.forebay.housekeeping.end_uploads()
    assert opened.held(keys.COMPLETED) == []


def test_a_deleted_bucket_leaves_no_rows(opened):
    opened.put("k", LARGE, WriteType.CACHE_THROUGH)
    uploads = opened.forebay.uploads
    made = uploads.create(opened.bucket, "u", attributes=Attributes(), owner="tester").upload_id
    uploads.put_part(opened.bucket, "u", made, 1, Content(LARGE))
    opened.raw.delete("bucket/k")
    opened.forebay.buckets.delete(opened.bucket)
    opened.clean()
    for kind in (b"o", keys.UPLOADS, b"p", b"s", keys.TRASH):
        assert opened.held(kind) == [], kind
    assert set() == segments(opened)
