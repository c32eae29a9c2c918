import pytest

from forebay.config import MountConfig
from forebay.errors import InvalidArgument, NoSuchBucket, NoSuchKey, PermissionDenied
from forebay.testing.opened import content_of
from forebay.types import WriteType

SMALL, LARGE = content_of("small", 100), content_of("large", 2_500_000)
on_files = pytest.mark.parametrize("root", ["file"], indirect=True)


@pytest.mark.parametrize(
    ("write_type", "content", "place", "tiers"),
    [
        (WriteType.MUST_CACHE, SMALL, "catalog", {}),
        (WriteType.MUST_CACHE, b"", "catalog", {}),
        (WriteType.MUST_CACHE, LARGE, "segments", {"SSD": 2_500_000}),
        (WriteType.CACHE_THROUGH, LARGE, "segments", {"SSD": 2_500_000}),
        (WriteType.THROUGH, LARGE, "nowhere", {}),
    ],
)
def test_stat_tells_where_the_bytes_are(opened, write_type, content, place, tiers):
    opened.put("a/key", content, write_type)
    stat = opened.forebay.explain.stat("s3://bucket/a/key")
    assert (stat.path, stat.size) == ("s3://bucket/a/key", len(content))
    assert (stat.held.place, stat.held.tiers) == (place, tiers)
    assert stat.held.size == (0 if place == "nowhere" else len(content))
    assert stat.write_type == write_type
    assert (stat.mount, stat.under_key) == ("/", "bucket/a/key")
    assert stat.etag == opened.head("a/key").etag
    assert stat.metadata == {"made-by": "matrix"}


def test_stat_counts_the_pages_that_reads_brought(opened):
    opened.put("key", LARGE, WriteType.THROUGH)
    assert opened.get("key") == LARGE
    held = opened.forebay.explain.stat("/bucket/key").held
    assert (held.place, held.size, held.tiers) == ("pages", 2_500_000, {"SSD": 2_500_000})
    record = opened.head("key")
    from forebay.types import PageId

    opened.forebay.cache.drop(PageId(record.object_id, 1 << 20, 1))
    assert opened.forebay.explain.stat("/bucket/key").held.size == 2_500_000 - (1 << 20)


@on_files
def test_stat_of_a_file_says_that_it_is_read_from_there(opened):
    opened.put("key", LARGE, WriteType.CACHE_THROUGH)
    held = opened.forebay.explain.stat("s3://bucket/key").held
    assert (held.place, held.size, held.tiers) == ("file", 2_500_000, {})


def test_stat_sees_what_came_in_behind_our_back(opened):
    from forebay.streams import BytesReader
    from forebay.types import Attributes

    opened.raw.put("bucket/new", BytesReader(b"x"), size=1, attributes=Attributes())
    assert opened.forebay.explain.stat("s3://bucket/new").state == "PERSISTED"


def test_stat_tells_why_an_object_is_not_persisted(opened):
    opened.fail("start", PermissionDenied)
    opened.put("key", SMALL, WriteType.ASYNC_THROUGH)
    opened.persist()
    stat = opened.forebay.explain.stat("s3://bucket/key")
    assert (stat.state, stat.persist_attempts, stat.persist_parked) == ("TO_BE_PERSISTED", 1, True)
    assert "PermissionDenied" in stat.persist_reason
    status = opened.forebay.explain.status()
    assert [job.path for job in status.failing] == ["s3://bucket/key"]
    assert status.waiting.parked == 1


def test_stat_shows_no_password_of_an_under_store(open_forebay, make_config):
    mounts = {"/": MountConfig("/", "memory://me:secret@root")}
    opened = open_forebay(mounts=mounts)
    opened.forebay.buckets.create("bucket", "tester")
    opened.put("key", SMALL, WriteType.MUST_CACHE)
    assert "secret" not in repr(opened.forebay.explain.stat("s3://bucket/key"))


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("s3://bucket/none", NoSuchKey, "there is no object s3://bucket/none"),
        ("s3://bukket/key", NoSuchBucket, "did you mean bucket"),
        ("bucket/key", InvalidArgument, "did you mean s3://bucket/key"),
        ("s3://bucket", InvalidArgument, "names no object"),
    ],
)
def test_stat_refuses_in_words(opened, path, error, says):
    with pytest.raises(error, match=says):
        opened.forebay.explain.stat(path)


def test_a_listing_shows_folders_objects_and_what_is_held(opened):
    opened.put("a/one", LARGE, WriteType.THROUGH)
    opened.put("a/two", LARGE, WriteType.CACHE_THROUGH)
    opened.put("a/deep/three", SMALL, WriteType.ASYNC_THROUGH)
    opened.put("a", SMALL, WriteType.MUST_CACHE)
    listed = opened.forebay.explain.listing("s3://bucket/a")
    assert listed.next_after == ""
    assert [(e.path, e.folder, e.size, e.state, e.held) for e in listed.entries] == [
        ("s3://bucket/a", False, 100, "NOT_PERSISTED", 100),
        ("s3://bucket/a/deep/", True, 0, "", 0),
        ("s3://bucket/a/one", False, 2_500_000, "PERSISTED", 0),
        ("s3://bucket/a/two", False, 2_500_000, "PERSISTED", 2_500_000),
    ]
    assert [e.path for e in opened.forebay.explain.listing("/").entries] == ["s3://bucket"]
    below = opened.forebay.explain.listing("s3://bucket/a/", recursive=True).entries
    assert below[0].path == "s3://bucket/a/deep/three"


@pytest.mark.parametrize("recursive", [True, False])
def test_a_listing_goes_on_where_it_stopped(opened, recursive):
    for key in ("a", "a/1", "a/2", "a/3/x", "a/3/y", "a/4", "ab"):
        opened.put(key, SMALL, WriteType.MUST_CACHE)
    ask = opened.forebay.explain.listing
    whole = [e.path for e in ask("s3://bucket/a", recursive=recursive).entries]
    assert len(whole) == (6 if recursive else 5)
    runs, after = [], ""
    while True:
        run = ask("s3://bucket/a", recursive=recursive, after=after, limit=1)
        runs += [e.path for e in run.entries]
        after = run.next_after
        if not after:
            break
    assert runs == whole


def test_a_listing_of_an_object_that_changed_outside_claims_nothing_held(opened):
    from forebay.streams import BytesReader
    from forebay.types import Attributes

    opened.put("key", LARGE, WriteType.CACHE_THROUGH)
    opened.raw.put("bucket/key", BytesReader(b"other"), size=5, attributes=Attributes())
    (entry,) = opened.forebay.explain.listing("s3://bucket").entries
    assert (entry.size, entry.held) == (5, 0)
