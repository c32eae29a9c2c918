import time

import pytest

from forebay.config import CacheConfig, MountConfig, TierConfig
from forebay.errors import InvalidArgument, NoSuchBucket, NoSuchKey, PermissionDenied
from forebay.events import BreakerOpened
from forebay.objects.breakers import note
from forebay.objects.explain import Cost
from forebay.objects.shared import now_ms
from forebay.testing.faults import Around, UnderStoreLayer
from forebay.testing.opened import content_of
from forebay.types import PageId, WriteType

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
    opened.clean()
    held = opened.forebay.explain.stat("/bucket/key").held
    assert (held.place, held.size, held.tiers) == ("pages", 2_500_000, {"SSD": 2_500_000})
    record = opened.head("key")
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


# --- pieces, and what a read would cost -------------------------------------------------------


class Counted(Around):
    """Counts what a read asks of the under store."""

    def __init__(self, store):
        super().__init__(store)
        self.heads, self.ranges = 0, []

    def head(self, key, /):
        self.heads += 1
        return self.inner.head(key)

    def open(self, key, /, byte_range=None, *, if_match=None):
        self.ranges.append(byte_range)
        return self.inner.open(key, byte_range, if_match=if_match)


@pytest.fixture
def counted(open_forebay):
    """A Forebay whose under store is counted."""
    layer = UnderStoreLayer(Counted)
    opened = open_forebay(plugins=[layer])
    opened.forebay.buckets.create("bucket", "tester")
    opened.counted = layer.stores[0]
    return opened


@pytest.mark.parametrize(
    "missing",
    [
        [],
        [0],
        [7, 8],
        [0, 1, 2, 3],
        [1, 3, 5, 7, 9],
        list(range(20)),
        [5, 6, 7, 8, 9, 15, 16, 19],
    ],
    ids=str,
)
def test_the_cost_that_is_told_is_what_a_read_then_asks(counted, missing):
    size = 19 * (1 << 20) + 5
    counted.put("key", content_of("x", size), WriteType.THROUGH)
    counted.get("key")
    counted.clean()
    record = counted.head("key")
    for index in missing:
        counted.forebay.cache.drop(PageId(record.object_id, 1 << 20, index))
    told = counted.forebay.explain.explain("s3://bucket/key")
    assert [one.index for one in told.pieces if not one.tiers] == missing
    counted.counted.heads, counted.counted.ranges = 0, []
    assert counted.get("key") == content_of("x", size)
    asked = counted.counted.ranges
    assert told.cost.requests == len(asked)
    assert told.cost.size == sum(one.length for one in asked)
    assert told.cost.looks == counted.counted.heads
    counted.clean()
    after = counted.forebay.explain.explain("s3://bucket/key")
    assert (after.cost.requests, after.cost.size) == (0, 0)


def test_what_ran_out_is_told_and_not_renewed(open_forebay, root, monkeypatch):
    layer = UnderStoreLayer(Counted)
    mounts = {"/": MountConfig("/", root, metadata_sync=60.0)}
    opened = open_forebay(plugins=[layer], mounts=mounts)
    opened.forebay.buckets.create("bucket", "tester")
    opened.put("key", LARGE, WriteType.CACHE_THROUGH)
    later = now_ms() + 61_000
    monkeypatch.setattr("forebay.objects.sync.now_ms", lambda: later)
    layer.stores[0].heads = 0
    explain = opened.forebay.explain.explain
    for _ in range(2):
        assert explain("s3://bucket/key").cost == Cost(1, 0, 0)
    assert layer.stores[0].heads == 0
    note(opened.forebay._shared, BreakerOpened(root, "writes", "read-only"))
    assert explain("s3://bucket/key").cost == Cost(1, 0, 0)
    note(opened.forebay._shared, BreakerOpened(root, "reads", "it hangs"))
    assert explain("s3://bucket/key").cost == Cost(1, 0, 0, "it hangs", stale=True)
    opened.get("key")
    assert layer.stores[0].heads == 1
    assert explain("s3://bucket/key").cost == Cost(0, 0, 0, "it hangs")


def test_no_look_is_told_where_none_is_made(open_forebay, root):
    layer = UnderStoreLayer(Counted)
    mounts = {"/": MountConfig("/", root, metadata_sync=60.0)}
    opened = open_forebay(plugins=[layer], mounts=mounts)
    opened.forebay.buckets.create("bucket", "tester")
    opened.put("key", LARGE, WriteType.CACHE_THROUGH)
    assert opened.forebay.explain.explain("s3://bucket/key").cost == Cost(0, 0, 0)
    layer.stores[0].heads = 0
    opened.get("key")
    assert (layer.stores[0].heads, layer.stores[0].ranges) == (0, [])


@pytest.mark.parametrize(
    ("write_type", "content", "kinds", "cost"),
    [
        (WriteType.MUST_CACHE, SMALL, [], Cost(0, 0, 0)),
        (WriteType.MUST_CACHE, LARGE, ["segment", "page", "page", "page"], Cost(0, 0, 0)),
        (WriteType.CACHE_THROUGH, LARGE, ["segment", "page", "page", "page"], Cost(1, 0, 0)),
        (WriteType.THROUGH, LARGE, ["page", "page", "page"], Cost(1, 1, 2_500_000)),
    ],
)
def test_every_piece_is_told(opened, write_type, content, kinds, cost):
    opened.put("key", content, write_type)
    told = opened.forebay.explain.explain("s3://bucket/key")
    assert [one.kind for one in told.pieces] == kinds
    assert told.cost == cost
    assert told.complete
    if "segment" in kinds:
        assert told.pieces[0].tiers == ["SSD"]
    pages = [one for one in told.pieces if one.kind == "page"]
    assert sum(one.stop - one.start for one in pages) in (0, len(content))


@on_files
def test_a_file_of_this_machine_costs_nothing(opened):
    opened.put("key", LARGE, WriteType.CACHE_THROUGH)
    told = opened.forebay.explain.explain("s3://bucket/key")
    assert (told.pieces, told.cost) == ([], Cost(0, 0, 0))


def test_hits_are_told(opened):
    opened.put("key", LARGE, WriteType.THROUGH)
    for _ in range(4):
        opened.get("key")
        opened.clean()
    told = opened.forebay.explain.explain("s3://bucket/key")
    assert [one.hits for one in told.pieces] == [3, 3, 3]


def test_why_a_page_went_is_told(open_forebay, tmp_path):
    tier = TierConfig(name="SSD", path=str(tmp_path / "small"), capacity=4 << 20, eviction="lru")
    opened = open_forebay(cache=CacheConfig(tiers=[tier]))
    opened.forebay.buckets.create("bucket", "tester")
    for key in ("a", "b", "c"):
        opened.put(key, content_of(key, 2 << 20), WriteType.THROUGH)
        opened.get(key)
        opened.clean()
    told = opened.forebay.explain.explain("s3://bucket/a")
    gone = [one for one in told.pieces if not one.tiers]
    assert gone
    assert {(one.evicted, one.evicted_from) for one in gone} == {("room", "SSD")}
    assert all(abs(one.evicted_at - time.time()) < 600 for one in gone)
    opened.get("a")
    opened.clean()
    told = opened.forebay.explain.explain("s3://bucket/a")
    assert {one.evicted for one in told.pieces if one.tiers} == {""}


def test_a_pinned_object_outlives_what_wants_its_room(open_forebay, tmp_path):
    tier = TierConfig(name="SSD", path=str(tmp_path / "small"), capacity=4 << 20, eviction="lru")
    opened = open_forebay(cache=CacheConfig(tiers=[tier]))
    opened.forebay.buckets.create("bucket", "tester")
    opened.forebay.pins.pin("s3://bucket/pinned")
    for write_type in (WriteType.THROUGH, WriteType.CACHE_THROUGH):
        opened.put("pinned", content_of("pinned", 2 << 20), write_type)
        opened.get("pinned")
        opened.clean()
        for number in range(6):
            opened.put(f"k{number}", content_of(str(number), 1 << 20), WriteType.THROUGH)
            opened.get(f"k{number}")
            opened.clean()
        held = opened.forebay.explain.stat("s3://bucket/pinned").held
        assert held.size == 2 << 20
    opened.forebay.pins.unpin("s3://bucket/pinned")
    for number in range(6):
        opened.put(f"k{number}", content_of(f"again {number}", 1 << 20), WriteType.THROUGH)
        opened.get(f"k{number}")
        opened.clean()
    assert opened.forebay.explain.stat("s3://bucket/pinned").held.size < 2 << 20


def test_pieces_come_in_runs(opened):
    opened.put("key", LARGE, WriteType.CACHE_THROUGH)
    ask = opened.forebay.explain.explain
    names, after = [], ""
    while True:
        run = ask("s3://bucket/key", after=after, limit=1)
        names += [(one.kind, one.index) for one in run.pieces]
        after = run.next_after
        if not after:
            break
    assert names == [("segment", 0), ("page", 0), ("page", 1), ("page", 2)]
