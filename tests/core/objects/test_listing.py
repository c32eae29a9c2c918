import itertools
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.errors import NoSuchBucket, ServiceUnavailable, Unavailable
from forebay.objects.sync import marker_digest
from forebay.streams import BytesReader
from forebay.testing.faults import Around
from forebay.testing.opened import OpenedForebay, content_of
from forebay.types import Attributes, CommonPrefix, DeleteType, WriteType

both = pytest.mark.parametrize("root", ["memory", "file"], indirect=True)
names = st.text("ab/!~ü", max_size=5)
keys = names.filter(bool)
PLACES = (
    "outside",
    *WriteType,
    "overwritten",
    "hidden",
    "deleted",
    "vanished",
    "changed",
)
bucket_names = (f"bucket{n}" for n in itertools.count())


# --- a naive model ------------------------------------------------------------------------


def expected(objects, prefix, delimiter, after, limit, folders):
    """List a dict of sizes as the contract says; a common prefix has no size.

    A folder is implied by its first entry, where that is a key.
    """
    entries = {}
    parents = set()
    for key in sorted(objects):
        if not key.startswith(prefix):
            continue
        above = [key[: n + 1] for n in range(len(prefix), len(key) - 1) if key[n] == "/"]
        new = [parent for parent in above if parent not in parents | objects.keys()]
        parents.update(above)
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at >= 0:
            common = key[: at + len(delimiter)]
            if common > after and not after.startswith(common):
                entries[common] = None
            continue
        if key > after:
            entries[key] = objects[key]
        if folders:
            entries.update((parent, 0) for parent in new if parent > after and parent != prefix)
    found = sorted(entries.items(), key=lambda entry: entry[0].encode())
    return found[:limit], len(found) > limit


def listed(forebay, bucket, **query):
    page = forebay.listings.objects(bucket, **query)
    found = [
        (e.prefix, None) if isinstance(e, CommonPrefix) else (e.key, e.size) for e in page.entries
    ]
    assert page.next_after == (found[-1][0] if found else "")
    return found, page.truncated


# --- where keys come from -------------------------------------------------------------------


def place(opened, bucket, key, where):
    """Bring a key into the namespace in one of many ways; give its size, None when not visible."""
    under = f"{bucket.name}/{key}"
    content = content_of(key, 3 + len(key))

    def put(write_type, content=content):
        opened.forebay.writes.put(
            bucket, key, _body(content), attributes=Attributes(), owner="t", requested=write_type
        )

    def outside(content=content):
        opened.raw.put(under, BytesReader(content), size=len(content), attributes=Attributes())

    match where:
        case WriteType():
            put(where)
        case "outside":
            outside()
        case "overwritten":
            outside(b"older")
            put(WriteType.MUST_CACHE)
        case "hidden":
            put(WriteType.THROUGH)
            opened.forebay.deletes.delete(bucket, key, requested=DeleteType.ALLUXIO_ONLY)
            return None
        case "deleted":
            put(WriteType.ASYNC_THROUGH)
            opened.forebay.deletes.delete(bucket, key)
            return None
        case "vanished":
            put(WriteType.THROUGH)
            opened.raw.delete(under)
            return None
        case "changed":
            put(WriteType.THROUGH, b"older")
            outside()
    return len(content)


def _body(content):
    from forebay.streams import ReaderBody

    return ReaderBody(BytesReader(content), len(content))


@pytest.fixture(scope="module")
def shared_forebay(tmp_path_factory):
    """One Forebay for all examples; each has a bucket of its own."""
    state = tmp_path_factory.mktemp("state")
    tier = TierConfig(name="T", kind="memory", capacity=64 << 20)
    config = Config(
        mounts={"/": MountConfig("/", "memory://")},
        metadata=MetadataConfig(kind="memory"),
        cache=CacheConfig(tiers=[tier]),
        state=str(state),
    )
    with OpenedForebay(config) as opened:
        yield opened


@given(
    st.dictionaries(keys, st.sampled_from(PLACES), max_size=12),
    names,
    st.sampled_from(["", "/", "a", "b/"]),
    names,
    st.integers(1, 14),
    st.booleans(),
)
@settings(max_examples=300)
def test_a_listing_is_what_a_naive_one_is(
    shared_forebay, where, prefix, delimiter, after, limit, folders
):
    opened = shared_forebay
    bucket = opened.forebay.buckets.create(next(bucket_names), "t")
    sizes = {key: place(opened, bucket, key, how) for key, how in where.items()}
    visible = {key: size for key, size in sizes.items() if size is not None}
    query = {"prefix": prefix, "delimiter": delimiter, "after": after, "limit": limit}
    wanted = expected(visible, prefix, delimiter, after, limit, folders)
    assert listed(opened.forebay, bucket, **query, folders=folders) == wanted
    assert opened.forebay.listings.exists(bucket, prefix) == any(
        key.startswith(prefix) for key in visible
    )


@given(
    st.dictionaries(keys, st.sampled_from(PLACES), max_size=14),
    st.sampled_from(["", "/", "a"]),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=100)
def test_pages_together_are_the_whole(shared_forebay, where, delimiter, limit, folders):
    opened = shared_forebay
    bucket = opened.forebay.buckets.create(next(bucket_names), "t")
    sizes = {key: place(opened, bucket, key, how) for key, how in where.items()}
    visible = {key: size for key, size in sizes.items() if size is not None}
    whole, _ = expected(visible, "", delimiter, "", 1000, folders)
    found, after, truncated = [], "", True
    while truncated:
        page, truncated = listed(
            opened.forebay, bucket, delimiter=delimiter, after=after, limit=limit, folders=folders
        )
        found += page
        after = page[-1][0] if page else ""
        assert len(found) <= len(whole)
    assert found == whole


@both
def test_all_ways_of_being_there_over_each_store(opened):
    where = {f"{n % 3}/{how}": how for n, how in enumerate(PLACES)}
    bucket = opened.bucket
    sizes = {key: place(opened, bucket, key, how) for key, how in where.items()}
    visible = {key: size for key, size in sizes.items() if size is not None}
    for delimiter, folders in (("", False), ("/", False), ("", True)):
        wanted = expected(visible, "", delimiter, "", 1000, folders)
        found = listed(opened.forebay, bucket, delimiter=delimiter, folders=folders)
        assert found == wanted
    opened.persist()
    assert listed(opened.forebay, bucket) == expected(visible, "", "", "", 1000, False)


@both
def test_a_listing_shows_what_head_shows(opened):
    for number, how in enumerate(PLACES):
        place(opened, opened.bucket, f"key{number}", how)
    for entry in opened.forebay.listings.objects(opened.bucket).entries:
        record = opened.head(entry.key)
        assert (entry.size, entry.etag, entry.modified, entry.owner) == (
            record.size,
            record.etag,
            record.modified,
            record.owner,
        )


def test_nothing_is_listed_of_nothing(opened):
    assert listed(opened.forebay, opened.bucket) == ([], False)
    opened.put("key", b"x", WriteType.MUST_CACHE)
    assert listed(opened.forebay, opened.bucket, limit=0) == ([], False)


@pytest.mark.parametrize("count", [17, 40])
def test_many_keys_of_two_sources_come_in_one_order(opened, count):
    for number in range(count):
        place(opened, opened.bucket, f"{number:03}", PLACES[number % 5])
    wanted = [f"{number:03}" for number in range(count)]
    assert list(opened.listed()) == wanted
    page = opened.forebay.listings.objects(opened.bucket, limit=count)
    assert (len(page.entries), page.truncated) == (count, False)


def test_implied_folders_are_empty_objects(opened):
    opened.put("a/b", b"x", WriteType.THROUGH)
    folder = opened.forebay.listings.objects(opened.bucket, folders=True).entries[0]
    assert (folder.key, folder.size, folder.etag) == ("a/", 0, marker_digest())


def test_a_prefix_whose_objects_are_all_hidden_is_none(opened):
    for key in ("a/1", "a/2", "b/1"):
        opened.put(key, b"x", WriteType.THROUGH)
    for key in ("a/1", "a/2"):
        opened.forebay.deletes.delete(opened.bucket, key, requested=DeleteType.ALLUXIO_ONLY)
    assert listed(opened.forebay, opened.bucket, delimiter="/") == ([("b/", None)], False)


# --- nested mounts ----------------------------------------------------------------------------


@pytest.fixture
def nested(open_forebay, root):
    mounts = {
        "/": MountConfig("/", root),
        "/bucket/in": MountConfig("/bucket/in", "memory://in"),
        "/bucket/in/deep": MountConfig("/bucket/in/deep", "memory://deep"),
        "/raw": MountConfig("/raw", "memory://raw"),
    }
    return open_forebay(mounts=mounts)


def test_mounts_are_listed_in_one_order(nested):
    sizes = {"a": 1, "in/a": 2, "in/deep/x": 3, "in/z": 4, "inside": 5, "z": 6}
    for key, size in sizes.items():
        nested.put(key, b"x" * size, WriteType.THROUGH)
    bucket = nested.forebay.buckets.get("bucket")
    for delimiter, prefix, after in itertools.product(
        ("", "/"), ("", "in", "in/", "in/deep/", "z"), ("", "in/a", "in/deep/x", "y")
    ):
        query = {"prefix": prefix, "delimiter": delimiter, "after": after}
        wanted = expected(sizes, prefix, delimiter, after, 1000, False)
        assert listed(nested.forebay, bucket, **query) == wanted, query


def test_a_mount_hides_what_the_store_around_it_has_there(nested):
    outer = nested.under.stores[0].inner
    outer.put("bucket/in/shadow", BytesReader(b"x"), size=1, attributes=Attributes())
    assert nested.head("in/shadow") is None
    assert "in/shadow" not in nested.listed()


# --- stores that fail -------------------------------------------------------------------------


class Down(Around):
    def list(self, *_, **__):
        raise Unavailable("down")


class DownMidway(Around):
    def list(self, *args, **options):
        yield from itertools.islice(self.inner.list(*args, **options), 1)
        raise Unavailable("down")


@contextmanager
def instead(opened, store):
    mount = opened.forebay.mounts.root
    before = mount.store
    object.__setattr__(mount, "store", store(before))
    yield
    object.__setattr__(mount, "store", before)


@pytest.mark.parametrize("broken", [Down, DownMidway])
def test_a_store_that_is_down_is_not_an_empty_listing(opened, broken):
    for key in ("a", "b", "c"):
        opened.put(key, b"x", WriteType.THROUGH)
    with instead(opened, broken), pytest.raises(ServiceUnavailable):
        opened.listed()
    assert list(opened.listed()) == ["a", "b", "c"]


def test_a_bucket_that_is_gone_cannot_be_listed(opened):
    bucket = opened.bucket
    opened.forebay.buckets.delete(bucket)
    with pytest.raises(NoSuchBucket):
        opened.forebay.listings.objects(bucket)


# --- changes between the store's answer and the catalog's ---------------------------------------


class Meanwhile(Around):
    """A store during whose listing something happens."""

    def list(self, *args, **options):
        found = list(self.inner.list(*args, **options))
        self.happens()
        return iter(found)


@pytest.mark.parametrize("write_type", list(WriteType))
@pytest.mark.parametrize("old", [None, *WriteType])
def test_a_key_written_while_the_store_is_listed_is_the_old_or_the_new_one(opened, write_type, old):
    if old is not None:
        opened.put("key", b"old", old)

    def meanwhile():
        opened.put("key", b"newer", write_type)

    with instead(opened, Meanwhile):
        opened.forebay.mounts.root.store.happens = meanwhile
        assert opened.listed() in ([{"key": 5}, {}] if old is None else [{"key": 3}, {"key": 5}])
    assert opened.listed() == {"key": 5}


@pytest.mark.parametrize("delete_type", list(DeleteType))
@pytest.mark.parametrize("write_type", list(WriteType))
def test_a_key_deleted_while_the_store_is_listed_does_not_come_back(
    opened, write_type, delete_type
):
    opened.put("key", b"old", write_type)

    def meanwhile():
        opened.forebay.deletes.delete(opened.bucket, "key", requested=delete_type)

    with instead(opened, Meanwhile):
        opened.forebay.mounts.root.store.happens = meanwhile
        opened.listed()
    assert opened.listed() == {}
    assert opened.held(b"o") == []


def test_an_object_persisted_while_the_store_is_listed_stays_listed(opened):
    opened.put("key", b"old", WriteType.ASYNC_THROUGH)
    with instead(opened, Meanwhile):
        opened.forebay.mounts.root.store.happens = opened.persist
        assert opened.listed() == {"key": 3}
    assert opened.listed() == {"key": 3}
