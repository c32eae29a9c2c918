"""The memory of listings: asks a store once an age, and never shows less than was written."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.errors import BucketNotEmpty
from forebay.objects.mounts import Mount
from forebay.objects.scans import Scans
from forebay.streams import BytesReader
from forebay.testing.faults import Around, UnderStoreLayer
from forebay.testing.opened import Content, OpenedForebay, content_of
from forebay.types import Attributes, DeleteType, WriteType

HOUR = MountConfig("/", "memory://", metadata_sync=3600.0)
names = (f"bucket{n}" for n in itertools.count())


class Counting(Around):
    """Counts the listings that are begun, and the entries given."""

    def __init__(self, store):
        super().__init__(store)
        self.begun = self.given = 0

    def list(self, *args, **options):
        self.begun += 1
        for entry in self.inner.list(*args, **options):
            self.given += 1
            yield entry


@pytest.fixture
def counted(open_forebay, root):
    """A Forebay that may believe a listing for an hour, and the counter of its store."""
    layer = UnderStoreLayer(Counting)
    config = MountConfig("/", root, metadata_sync=3600.0)
    opened = open_forebay(mounts={"/": config}, plugins=[layer])
    opened.forebay.buckets.create("bucket", "tester")
    return opened, layer.stores[0]


def outside(opened, key, content=b"outside"):
    opened.raw.put(
        f"bucket/{key}", BytesReader(content), size=len(content), attributes=Attributes()
    )


def test_a_listing_is_asked_for_once_an_age(counted):
    opened, store = counted
    for n in range(30):
        outside(opened, f"a/{n:02}")
    listings, bucket = opened.forebay.listings, opened.bucket
    first = listings.objects(bucket, prefix="a/")
    asked = store.begun
    assert asked
    assert listings.objects(bucket, prefix="a/") == first
    assert store.begun == asked
    outside(opened, "a/99")
    assert listings.objects(bucket, prefix="a/") == first
    assert len(listings.objects(bucket, prefix="a/", certain=True).entries) == 31
    assert len(listings.objects(bucket, prefix="a/").entries) == 31


def test_pages_are_remembered_and_a_shorter_one_goes_on_where_it_ended(counted):
    opened, store = counted
    for n in range(30):
        outside(opened, f"{n:02}")
    listings, bucket = opened.forebay.listings, opened.bucket
    assert len(listings.objects(bucket, limit=4).entries) == 4
    given, begun = store.given, store.begun
    assert len(listings.objects(bucket, limit=4).entries) == 4
    assert (store.given, store.begun) == (given, begun)
    assert len(listings.objects(bucket).entries) == 30
    assert store.given - given == 25
    assert len(listings.objects(bucket, limit=2).entries) == 2
    assert len(listings.objects(bucket).entries) == 30
    assert store.given - given == 25


@pytest.mark.parametrize("write_type", list(WriteType))
def test_what_is_written_shows_at_once(counted, write_type):
    opened, _ = counted
    outside(opened, "a")
    assert opened.listed() == {"a": 7}
    opened.put("b", b"four", write_type)
    assert opened.listed() == {"a": 7, "b": 4}
    while opened.forebay.persist.run_one():
        pass
    assert opened.listed() == {"a": 7, "b": 4}
    opened.forebay.deletes.delete(opened.bucket, "b")
    assert opened.listed() == {"a": 7}


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_a_write_of_another_process_shows_at_once(counted, open_forebay, root):
    opened, _ = counted
    assert opened.listed() == {}
    other = open_forebay(mounts={"/": MountConfig("/", root, metadata_sync=3600.0)})
    other.put("b", b"four", WriteType.THROUGH)
    assert opened.listed() == {"b": 4}
    other.forebay.deletes.delete(other.bucket, "b")
    assert opened.listed() == {}


def test_a_bucket_is_not_deleted_by_what_a_listing_remembers(counted):
    opened, _ = counted
    assert opened.listed() == {}
    outside(opened, "a")
    with pytest.raises(BucketNotEmpty):
        opened.forebay.buckets.delete(opened.bucket, None)


def test_always_remembers_nothing(opened):
    outside(opened, "a")
    assert opened.listed() == {"a": 7}
    outside(opened, "b")
    assert opened.listed() == {"a": 7, "b": 7}


def test_a_listing_is_believed_for_its_age_and_until_a_change():
    scans = Scans(limit=3)
    store = Counting(None)
    store.list = lambda *args, **options: iter(())
    mount = Mount(HOUR, store, 1, None, "")
    list(scans.listed(mount, "a", "", "", began=5, scan=None))
    assert scans.find(mount, "a", "", "", changed=5) is not None
    assert scans.find(mount, "a", "", "", changed=6) is None
    assert scans.find(Mount(HOUR, store, 2, None, ""), "a", "", "", changed=0) is None
    short = MountConfig("/", "memory://", metadata_sync=1e-9)
    assert scans.find(Mount(short, store, 1, None, ""), "a", "", "", changed=0) is None
    for prefix in "bcd":
        list(scans.listed(mount, prefix, "", "", began=5, scan=None))
    assert scans.find(mount, "a", "", "", changed=0) is None
    assert scans.find(mount, "d", "", "", changed=0) is not None


@pytest.fixture(scope="module")
def shared_forebay(tmp_path_factory):
    """One Forebay for all examples; each has a bucket of its own."""
    config = Config(
        mounts={"/": HOUR},
        metadata=MetadataConfig(kind="memory"),
        cache=CacheConfig(tiers=[TierConfig(name="T", kind="memory", capacity=64 << 20)]),
        state=str(tmp_path_factory.mktemp("state")),
    )
    with OpenedForebay(config) as opened:
        yield opened


KEYS = ["a", "a/", "a/b", "a/c/d", "a/c/e", "b", "b/b"]
steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(KEYS), st.sampled_from(list(WriteType))),
    st.tuples(st.just("delete"), st.sampled_from(KEYS), st.sampled_from(list(DeleteType))),
    st.tuples(st.just("persist")),
    st.tuples(
        st.just("list"),
        st.sampled_from(["", "a", "a/", "a/c/"]),
        st.sampled_from(["", "/"]),
        st.sampled_from(["", "a/", "a/b"]),
        st.integers(1, 9),
    ),
)


@given(st.lists(steps, max_size=25))
@settings(max_examples=150)
def test_what_is_remembered_never_differs_from_what_is_asked_anew(shared_forebay, todo):
    forebay = shared_forebay.forebay
    bucket = forebay.buckets.create(next(names), "tester")
    for number, step in enumerate(todo):
        match step:
            case ("put", key, write_type):
                forebay.writes.put(
                    bucket,
                    key,
                    Content(content_of(f"{key}{number}", number)),
                    attributes=Attributes(),
                    owner="tester",
                    requested=write_type,
                )
            case ("delete", key, delete_type):
                forebay.deletes.delete(bucket, key, requested=delete_type)
            case ("persist",):
                while forebay.persist.run_one():
                    pass
            case ("list", prefix, delimiter, after, limit):
                query = {"prefix": prefix, "delimiter": delimiter, "after": after, "limit": limit}
                believed = forebay.listings.objects(bucket, **query)
                assert believed == forebay.listings.objects(bucket, **query, certain=True)
                assert believed == forebay.listings.objects(bucket, **query)
