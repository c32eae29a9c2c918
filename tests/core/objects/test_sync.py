import os

import pytest

from forebay.config import MountConfig
from forebay.errors import NoSuchBucket, ServiceUnavailable, Unavailable
from forebay.objects.sync import fresh, look, marker_digest
from forebay.streams import BytesReader
from forebay.testing.faults import Around
from forebay.types import Attributes, DeleteType, PersistState, WriteType

both = pytest.mark.parametrize("root", ["memory", "file"], indirect=True)
on_files = pytest.mark.parametrize("root", ["file"], indirect=True)


NONE = Attributes()


class Down(Around):
    """A store that cannot be asked."""

    def head(self, key, /):
        raise Unavailable("down")


def poke(opened, content, key="key", attributes=NONE):
    opened.raw.put(f"bucket/{key}", BytesReader(content), size=len(content), attributes=attributes)


@pytest.fixture
def with_sync(open_forebay, root):
    def with_sync(age):
        opened = open_forebay(mounts={"/": MountConfig("/", root, metadata_sync=age)})
        opened.forebay.buckets.create("bucket", "tester")
        return opened

    return with_sync


def go_down(opened):
    object.__setattr__(opened.forebay.mounts.root, "store", Down(opened.raw))


@both
@pytest.mark.parametrize("write_type", [WriteType.CACHE_THROUGH, WriteType.THROUGH])
def test_what_changed_outside_is_seen_at_the_next_look(opened, write_type):
    ours = opened.put("key", b"ours", write_type).record
    poke(opened, b"theirs!")
    record = opened.head("key")
    assert (record.size, record.owner) == (7, None)
    assert record.etag != ours.etag
    assert record.object_id != ours.object_id
    assert opened.get("key") == b"theirs!"
    assert opened.listed() == {"key": 7}
    assert opened.leavings() == {}


@on_files
@pytest.mark.parametrize("in_place", [True, False])
def test_a_change_of_the_same_size_and_time_is_seen(opened, files, in_place):
    opened.put("key", b"ours", WriteType.THROUGH)
    before = (files / "key").stat()
    if in_place:
        (files / "key").write_bytes(b"THEM")
    else:
        (files / "new").write_bytes(b"THEM")
        (files / "new").rename(files / "key")
    os.utime(files / "key", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert opened.get("key") == b"THEM"
    assert opened.listed() == {"key": 4}


@on_files
def test_a_file_that_was_only_read_is_the_same_object(opened, files):
    ours = opened.put("key", b"ours", WriteType.THROUGH).record
    (files / "key").read_bytes()
    assert opened.head("key") == ours


@both
def test_an_object_from_outside_gets_an_etag_that_looks_like_no_md5_unless_it_is_one(opened):
    poke(opened, b"theirs")
    info = opened.raw.head("bucket/key")
    etag = opened.head("key").etag
    assert etag == info.etag if opened.raw.capabilities.strong_etag else "-" in etag
    assert etag == opened.forebay.listings.objects(opened.bucket).entries[0].etag


@both
def test_attributes_that_the_store_keeps_come_along(opened):
    given = Attributes({"content-type": "text/x"}, {"who": "they"}, {"tag": "1"})
    poke(opened, b"theirs", attributes=given)
    record = opened.head("key")
    if opened.raw.capabilities.attributes:
        assert (record.headers, record.metadata, record.tags) == (
            given.headers,
            given.metadata,
            given.tags,
        )


@both
@pytest.mark.parametrize("write_type", [WriteType.MUST_CACHE, WriteType.ASYNC_THROUGH])
def test_what_is_in_no_under_store_is_not_touched(opened, write_type):
    ours = opened.put("key", b"ours", write_type).record
    poke(opened, b"theirs")
    assert opened.head("key") == ours
    opened.raw.delete("bucket/key")
    assert opened.head("key") == ours
    assert opened.get("key") == b"ours"


@both
def test_what_was_hidden_shows_when_the_source_changes_and_only_then(opened):
    poke(opened, b"theirs")
    opened.forebay.deletes.delete(opened.bucket, "key", requested=DeleteType.ALLUXIO_ONLY)
    for _ in range(3):
        assert opened.head("key") is None
        assert opened.listed() == {}
    poke(opened, b"changed")
    assert opened.get("key") == b"changed"
    opened.forebay.deletes.delete(opened.bucket, "key", requested=DeleteType.ALLUXIO_ONLY)
    assert opened.head("key") is None
    opened.raw.delete("bucket/key")
    assert opened.head("key") is None


def test_with_an_age_the_store_is_asked_only_when_it_ran_out(with_sync):
    opened = with_sync(3600.0)
    opened.put("key", b"ours", WriteType.THROUGH)
    opened.raw.delete("bucket/key")
    assert opened.head("key") is not None
    assert look(opened.forebay._shared, opened.bucket, "key", force=True) is None


def test_a_clock_that_was_set_back_keeps_nothing_fresh(with_sync, monkeypatch):
    opened = with_sync(3600.0)
    record = opened.put("key", b"ours", WriteType.THROUGH).record
    mount = opened.forebay.mounts.root
    assert fresh(mount, record)
    monkeypatch.setattr("forebay.objects.sync.now_ms", lambda: record.synced - 1)
    assert not fresh(mount, record)


def test_never_means_only_at_the_first_look(with_sync):
    opened = with_sync(None)
    poke(opened, b"theirs")
    assert opened.head("key").size == 6
    poke(opened, b"changed")
    assert opened.head("key").size == 6
    # Bytes of two versions never meet: reading finds the change whatever the age.
    assert opened.get("key") == b"changed"


def test_a_store_that_is_down_is_not_a_deletion(with_sync):
    strict = with_sync(0.0)
    strict.put("key", b"ours", WriteType.CACHE_THROUGH)
    go_down(strict)
    with pytest.raises(ServiceUnavailable):
        strict.head("key")
    with pytest.raises(ServiceUnavailable):
        strict.head("other")


def test_with_an_age_a_known_object_is_given_while_the_store_is_down(with_sync):
    opened = with_sync(0.001)
    ours = opened.put("key", b"ours", WriteType.CACHE_THROUGH).record
    go_down(opened)
    assert opened.head("key").etag == ours.etag
    assert opened.get("key") == b"ours"
    with pytest.raises(ServiceUnavailable):
        opened.head("other")


def test_an_age_that_ran_out_is_written_down_anew(with_sync):
    opened = with_sync(0.001)
    before = opened.put("key", b"ours", WriteType.CACHE_THROUGH).record
    record = opened.head("key")
    while record.synced <= before.synced:
        record = opened.head("key")
    assert (record.seq, record.etag) == (before.seq, before.etag)


def test_a_bucket_that_is_gone_is_said_so(opened):
    bucket = opened.bucket
    opened.forebay.buckets.delete(bucket)
    with pytest.raises(NoSuchBucket):
        opened.forebay.reads.head(bucket, "key")


def test_a_namesake_of_a_deleted_bucket_is_another_bucket(opened):
    bucket = opened.bucket
    opened.forebay.buckets.delete(bucket)
    opened.forebay.buckets.create("bucket", "tester")
    with pytest.raises(NoSuchBucket):
        opened.forebay.reads.head(bucket, "key")


def test_the_digest_of_a_marker_is_that_of_nothing():
    assert marker_digest() == "d41d8cd98f00b204e9800998ecf8427e"


@both
def test_records_of_what_vanished_are_removed(opened):
    opened.put("key", b"ours", WriteType.CACHE_THROUGH)
    opened.raw.delete("bucket/key")
    assert opened.head("key") is None
    assert opened.held(b"o") == []
    assert opened.leavings() == {}
    assert opened.put("key", b"new", WriteType.ASYNC_THROUGH).record.state is (
        PersistState.TO_BE_PERSISTED
    )


@both
@pytest.mark.parametrize("age", [0.0, 3600.0])
def test_a_look_takes_back_no_tags_that_were_set_meanwhile(with_sync, monkeypatch, age):
    opened = with_sync(age)
    opened.put("key", b"bytes", WriteType.THROUGH)
    head = opened.raw.head

    def looks(*given, **options):
        monkeypatch.setattr(opened.raw, "head", head)
        info = head(*given, **options)
        opened.forebay.writes.set_tags(opened.bucket, "key", {"set": "meanwhile"})
        return info

    monkeypatch.setattr(opened.raw, "head", looks)
    look(opened.forebay.housekeeping._shared, opened.bucket, "key", force=True)
    assert opened.head("key").tags == {"set": "meanwhile"}
