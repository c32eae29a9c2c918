import pytest

from forebay.errors import InvalidArgument, NoSuchBucket
from forebay.objects import free
from forebay.testing.opened import content_of
from forebay.types import WriteType

LARGE = content_of("large", 2_500_000)
SMALL = content_of("small", 100)


def held(opened):
    return {page for _, page, _ in opened.forebay.cache.segments()}


@pytest.mark.parametrize("write_type", [WriteType.CACHE_THROUGH, WriteType.THROUGH])
def test_copies_go_at_once_and_a_reader_finds_the_bytes_again(opened, write_type):
    opened.put("a/key", LARGE, write_type)
    assert opened.get("a/key") == LARGE
    assert held(opened)
    freed = opened.forebay.free.free("s3://bucket/a")
    assert (freed.objects, freed.size, freed.kept, freed.next_after) == (1, 2_500_000, 0, "")
    assert held(opened) == set()
    assert {*opened.leavings()} <= {"uses of nothing"}, "as after an eviction"
    assert opened.get("a/key") == LARGE
    assert opened.forebay.free.free("/").size == 2_500_000


@pytest.mark.parametrize("write_type", [WriteType.MUST_CACHE, WriteType.ASYNC_THROUGH])
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["inline", "segment"])
def test_the_only_copy_is_kept_and_counted(opened, write_type, content):
    opened.put("key", content, write_type)
    freed = opened.forebay.free.free("s3://bucket")
    assert (freed.objects, freed.size) == (0, 0)
    assert (freed.kept, freed.kept_size, freed.first_kept) == (1, len(content), "s3://bucket/key")
    assert opened.get("key") == content
    opened.forebay.unpersisted.set_going()
    opened.persist()
    freed = opened.forebay.free.free("s3://bucket")
    assert (freed.kept, freed.size) == (0, len(content) if content is LARGE else 0)
    assert opened.get("key") == content


def test_only_what_is_named_goes(opened):
    for key in ("a/1", "ab", "b"):
        opened.put(key, LARGE, WriteType.CACHE_THROUGH)
    assert opened.forebay.free.free("s3://bucket/a").objects == 1
    assert len(held(opened)) == 2


def test_many_objects_go_run_by_run(opened, monkeypatch):
    monkeypatch.setattr(free, "CHUNK", 2)
    monkeypatch.setattr(free, "RUN", 0)
    for number in range(5):
        opened.put(f"k{number}", LARGE, WriteType.CACHE_THROUGH)
    runs, after = [], ""
    while True:
        runs.append(opened.forebay.free.free("/", after))
        after = runs[-1].next_after
        if not after:
            break
    assert [run.objects for run in runs] == [2, 2, 1]
    assert held(opened) == set()


def test_the_parts_of_an_upload_that_is_persisted_go(opened):
    from forebay.objects.uploads import CompletedPart
    from forebay.testing.opened import Content
    from forebay.types import Attributes

    uploads = opened.forebay.uploads
    upload = uploads.create(
        opened.bucket, "key", attributes=Attributes(), owner=None, requested=None
    ).upload_id
    uploads.put_part(opened.bucket, "key", upload, 1, Content(LARGE))
    uploads.complete(opened.bucket, "key", upload, [CompletedPart(1)])
    opened.clean()
    before = opened.get("key")
    opened.forebay.free.free("/")
    assert held(opened) == set()
    assert opened.get("key") == before == LARGE


def test_what_cannot_be_is_refused(opened):
    with pytest.raises(InvalidArgument):
        opened.forebay.free.free("bucket/a")
    with pytest.raises(NoSuchBucket):
        opened.forebay.free.free("s3://none")
    with pytest.raises(InvalidArgument):
        opened.forebay.free.free("s3://bucket", after="odd")
