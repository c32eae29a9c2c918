"""Listing several mounts as one namespace, of any size."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.errors import AccessDenied, NoSuchKey, NotFound, ServiceUnavailable, Unavailable
from forebay.hookspecs import hookimpl
from forebay.objects import listing
from forebay.runtime import Forebay
from forebay.stores.listing import roll_up
from forebay.streams import BytesReader
from forebay.testing.faults import Around
from forebay.types import Attributes, Capabilities, ObjectInfo, PersistState

POINTS = ("", "a/", "a/b/", "c!/")
names = st.text("abc/!ü", max_size=6)


def listed(forebay, name, **query):
    page = forebay.listings.objects(forebay.buckets.get(name), **query)
    return [getattr(e, "key", None) or e.prefix for e in page.entries], page.truncated


def put(store, key, content=b"x"):
    store.put(key, BytesReader(content), size=len(content), attributes=Attributes())


def config_of(tmp_path, mounts):
    tier = TierConfig(name="SSD", path=str(tmp_path / "pages"), capacity=64 << 20)
    return Config(
        mounts=mounts,
        metadata=MetadataConfig(kind="memory"),
        cache=CacheConfig(tiers=[tier]),
        durability="process",
        state=str(tmp_path),
    )


# --- nesting, against a naive model ---------------------------------------------------------


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """Mounts in mounts: a bucket on its own store, and one that is a directory of the root."""
    paths = ["/", "/raw"] + [f"/{b}/{p.strip('/')}" for b in ("raw", "lake") for p in POINTS if p]
    mounts = {path: MountConfig(path, "memory://") for path in paths}
    with Forebay(config_of(tmp_path_factory.mktemp("nested"), mounts)) as forebay:
        yield forebay


def holder(key, points):
    """The longest mount point that a key lies below; the point itself is of the mount around."""
    return max((p for p in points if key.startswith(p) and (not p or key != p)), key=len)


def expected(keys, points, prefix, delimiter, after, limit):
    """What the namespace shows: common prefixes for mount points even if they are empty."""
    found = set()
    for key, shows_alone in [(k, True) for k in keys] + [(p, False) for p in points if p]:
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at >= 0:
            common = key[: at + len(delimiter)]
            if common > after and not after.startswith(common):
                found.add(common)
        elif shows_alone and key > after:
            found.add(key)
    ordered = sorted(found, key=str.encode)
    return ordered[:limit], len(ordered) > limit


@pytest.mark.parametrize("bucket", ["raw", "lake"])
@settings(max_examples=150)
@given(
    keys=st.dictionaries(names.filter(bool), st.sampled_from(POINTS), max_size=14),
    prefix=names,
    delimiter=st.sampled_from(["", "/", "/", "b"]),
    after=names,
    limit=st.integers(1, 8),
)
def test_a_listing_of_nested_mounts_is_what_a_naive_one_is(
    nested, bucket, keys, prefix, delimiter, after, limit
):
    for mount in nested.mounts:
        mount.store.close()  # it forgets everything
    put(nested.mounts.root.store, "lake/")
    visible = set()
    for key, point in keys.items():
        # Put into the mount at `point` whatever lies between: some of it stays hidden.
        full = point + key
        mount = nested.mounts.find(bucket, point + "x")
        put(mount.store, mount.under_key(bucket, full))
        if holder(full, POINTS) == point:
            visible.add(full)
    query = {"prefix": prefix, "delimiter": delimiter, "after": after, "limit": limit}
    wanted = expected(visible, POINTS, prefix, delimiter, after, limit)
    assert listed(nested, bucket, **query) == wanted


def test_a_bucket_that_only_mount_points_make(nested):
    for mount in nested.mounts:
        mount.store.close()
    assert listed(nested, "lake", delimiter="/") == (["a/", "c!/"], False)
    assert listed(nested, "lake", prefix="a/", delimiter="/") == (["a/b/"], False)
    assert listed(nested, "lake") == ([], False)
    names = [bucket.name for bucket in nested.buckets.list("tester", limit=10)[0]]
    assert names == ["lake", "raw"]


@pytest.mark.parametrize("bucket", ["raw", "lake"])
def test_a_mount_point_is_no_bucket_to_delete(nested, bucket):
    with pytest.raises(AccessDenied, match="unmount it"):
        nested.buckets.delete(nested.buckets.get(bucket))


# --- more keys than anybody wants in memory -------------------------------------------------


class Endless:
    """Holds 3,000,000 keys that are made when they are asked for, and counts those it made."""

    capabilities = Capabilities(any_key=True, atomic_put=True, shared_between_processes=True)
    COUNT = 3_000_000
    MADE = datetime(2026, 1, 1, tzinfo=UTC)

    def __init__(self):
        self.pulled = self.listings = 0

    @hookimpl
    def under_store_factory(self, scheme):
        return (lambda uri, options: self) if scheme == "endless" else None

    def _key(self, n):
        return f"part={n // 1_000_000}/{n:08d}"

    def list(self, prefix="", /, *, delimiter="", start_after=""):
        self.listings += 1
        return roll_up(
            self._infos(start_after), prefix=prefix, delimiter=delimiter, start_after=start_after
        )

    def _infos(self, start_after):
        low, high = 0, self.COUNT
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._key(middle) <= start_after else (low, middle)
        for n in range(low, self.COUNT):
            self.pulled += 1
            yield self.head(self._key(n))

    def head(self, key, /):
        if not key.startswith("part="):
            raise NotFound(key)
        return ObjectInfo(key, 7, self.MADE, f"v-{key}")

    @contextmanager
    def open(self, key, /, byte_range=None, *, if_match=None):
        raise NotFound(key)
        yield

    def close(self):
        pass


@pytest.fixture
def endless():
    return Endless()


@pytest.fixture
def huge(tmp_path, endless):
    """A bucket of 3,000,000 remote keys, the middle third of which a mount hides."""
    mounts = {
        "/": MountConfig("/", "memory://"),
        "/raw": MountConfig("/raw", "endless://", metadata_sync=60.0),
        "/hides": MountConfig("/hides", "endless://", metadata_sync=60.0),
        "/hides/part=1": MountConfig("/hides/part=1", "memory://"),
    }
    with Forebay(config_of(tmp_path, mounts), plugins=[endless]) as forebay:
        yield forebay


def test_the_first_page_of_a_huge_mount_pulls_one_page(huge, endless):
    keys, truncated = listed(huge, "raw")
    assert (len(keys), keys[0], keys[-1]) == (1000, "part=0/00000000", "part=0/00000999")
    assert truncated
    assert endless.pulled <= 1002
    assert endless.listings == 1


def test_every_further_page_begins_where_the_last_one_ended(huge, endless):
    after, found = "part=1/01999500", []
    for pages in range(1, 4):
        keys, _ = listed(huge, "raw", after=after)
        found += keys
        after = keys[-1]
        assert endless.pulled <= 1002 * pages
    assert found == [f"part={n // 1_000_000}/{n:08d}" for n in range(1_999_501, 2_002_501)]


def test_a_mount_point_is_leapt_over_however_much_it_hides(huge, endless):
    put(huge.mounts.find("hides", "part=1/x").store, "inner")
    keys, truncated = listed(huge, "hides", after="part=0/00999989")
    assert keys[:12] == [
        *(f"part=0/00{n}" for n in range(999990, 1000000)),
        "part=1/inner",
        "part=2/02000000",
    ]
    assert (len(keys), truncated) == (1000, True)
    assert endless.pulled <= 1000 + 2 * listing.PASSED
    assert endless.listings == 2


def test_what_lies_inside_a_mount_never_asks_the_store_around_it(huge, endless):
    put(huge.mounts.find("hides", "part=1/x").store, "sub/inner")
    assert listed(huge, "hides", prefix="part=1/sub/", delimiter="/")[0] == ["part=1/sub/inner"]
    assert (endless.pulled, endless.listings) == (0, 0)


class Down(Around):
    """A store that cannot be asked."""

    def list(self, prefix="", /, *, delimiter="", start_after=""):
        raise Unavailable("down")


def test_a_store_that_is_down_makes_only_its_own_listings_fail(nested):
    for mount in nested.mounts:
        mount.store.close()
    inner = nested.mounts.find("raw", "a/x")
    before = inner.store
    object.__setattr__(inner, "store", Down(before))
    for query in ({"prefix": "a/"}, {"prefix": "a/", "delimiter": "/"}, {}):
        with pytest.raises(ServiceUnavailable):
            listed(nested, "raw", **query)
    # Below a common prefix nothing is asked for, and a mount inside it stands alone.
    assert listed(nested, "raw", delimiter="/")[0] == ["a/", "c!/"]
    assert listed(nested, "raw", prefix="a/b/")[0] == []
    object.__setattr__(inner, "store", before)


# --- what a listing notices ---------------------------------------------------------------


@pytest.fixture
def aged(tmp_path):
    mounts = {
        "/": MountConfig("/", "memory://"),
        "/raw": MountConfig("/raw", "memory://", metadata_sync=3600.0),
    }
    with Forebay(config_of(tmp_path, mounts)) as forebay:
        yield forebay


@pytest.mark.parametrize("change", ["changed", "vanished"])
def test_what_a_listing_shows_otherwise_is_looked_at_before_its_age(aged, change):
    bucket, store = aged.buckets.get("raw"), aged.mounts.find("raw", "x").store
    keys = [f"key{n:02d}" for n in range(listing.SCAN_FROM + 4)]
    for key in keys:
        put(store, key)
        aged.reads.head(bucket, key)
    before = aged.reads.head(bucket, "key03")
    if change == "changed":
        put(store, "key03", b"changed")
    else:
        store.delete("key03")
    assert aged.reads.head(bucket, "key03") == before  # within its age
    sizes = {entry.key: entry.size for entry in aged.listings.objects(bucket).entries}
    if change == "changed":
        assert sizes["key03"] == 7
        found = aged.reads.head(bucket, "key03")
        assert (found.size, found.state) == (7, PersistState.PERSISTED)
    else:
        assert "key03" not in sizes
        with pytest.raises(NoSuchKey):
            aged.reads.head(bucket, "key03")
    # What is as it was keeps its age.
    assert aged.reads.head(bucket, "key04").synced
