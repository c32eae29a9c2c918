import itertools
import os
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.config import CacheConfig, MountConfig, TierConfig
from forebay.errors import (
    Corrupt,
    NoSuchKey,
    NotFound,
    ServiceUnavailable,
    SourceChanged,
    Unavailable,
)
from forebay.objects import uploads
from forebay.objects.read import FileReader
from forebay.objects.uploads import CompletedPart
from forebay.streams import BytesReader, Segment
from forebay.testing.faults import Around, UnderStoreLayer
from forebay.testing.opened import Content, content_of
from forebay.types import Attributes, ByteRange, WriteType

both = pytest.mark.parametrize("root", ["memory", "file"], indirect=True)
on_files = pytest.mark.parametrize("root", ["file"], indirect=True)
SIZE = 50_000


def in_parts(opened, key, content, write_type):
    made = opened.forebay.uploads.create(
        opened.bucket, key, attributes=Attributes(), owner=None, requested=write_type
    )
    cuts = [0, 10_000, 10_001, 35_000, len(content)]
    for number, (start, stop) in enumerate(itertools.pairwise(cuts), 1):
        opened.forebay.uploads.put_part(
            opened.bucket, key, made.upload_id, number, Content(content[start:stop])
        )
    opened.forebay.uploads.complete(
        opened.bucket, key, made.upload_id, [CompletedPart(n) for n in range(1, len(cuts))]
    )


@pytest.fixture
def small_pages(tmp_path):
    """A cache whose pages are smaller than the objects here."""
    tier = TierConfig(name="T", path=str(tmp_path / "state" / "pages"), capacity=64 << 20)
    return {"cache": CacheConfig(tiers=[tier], page_size=4096, inline_size=100)}


@pytest.fixture
def stocked(open_forebay, small_pages, monkeypatch):
    """Objects of the same bytes in every place that bytes can be read from."""
    monkeypatch.setattr(uploads, "SMALLEST_PART", 1)
    opened = open_forebay(**small_pages)
    opened.forebay.buckets.create("bucket", "tester")
    content = content_of("whole", SIZE)
    for write_type in WriteType:
        opened.put(write_type, content, write_type)
        in_parts(opened, f"parts {write_type}", content, write_type)
    opened.raw.put("bucket/outside", BytesReader(content), size=SIZE, attributes=Attributes())
    opened.put("inline", content[:100], WriteType.MUST_CACHE)
    opened.put("empty", b"", WriteType.MUST_CACHE)
    opened.put("empty through", b"", WriteType.THROUGH)
    return opened


def read(opened, key, byte_range=None, block=9_999):
    with opened.forebay.reads.get(opened.bucket, key, lambda _: byte_range) as found:
        pieces = found.segments
        sent = (
            None if pieces is None else b"".join(os.pread(p.fd, p.length, p.offset) for p in pieces)
        )
        got = b"".join(iter(lambda: found.read(block), b""))
    assert sent in (None, got)
    return got


@both
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_range_of_any_object_is_that_of_its_bytes(stocked, data):
    keys = sorted(stocked.listed())
    key = data.draw(st.sampled_from(keys))
    whole = content_of("whole", SIZE)[: stocked.head(key).size]
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    block = data.draw(st.sampled_from([1, 4095, 4096, 100_000])) if stop - start < 5_000 else 8_000
    assert read(stocked, key, ByteRange(start, stop), block) == whole[start:stop]
    assert read(stocked, key) == whole


@both
def test_every_object_is_whole_after_it_was_persisted_too(stocked):
    stocked.persist()
    for key, size in stocked.listed().items():
        assert read(stocked, key) == content_of("whole", SIZE)[:size], key
    assert stocked.leavings() == {}


def cache_of(opened, key, byte_range=None):
    with opened.forebay.reads.get(opened.bucket, key, lambda _: byte_range) as found:
        while found.read(100_000):
            pass
        return found.cache


def test_a_read_says_what_the_cache_had_of_it(stocked):
    first = ByteRange(0, 4096)
    assert cache_of(stocked, "MUST_CACHE") == "HIT"
    assert cache_of(stocked, "CACHE_THROUGH") == "HIT"
    assert cache_of(stocked, "outside", first) == "MISS"
    assert cache_of(stocked, "outside", first) == "HIT"
    assert cache_of(stocked, "outside") == "PARTIAL"
    assert cache_of(stocked, "outside") == "HIT"


@on_files
def test_files_are_served_from_where_they_are(stocked):
    for key in ("THROUGH", "outside", "parts CACHE_THROUGH"):
        with stocked.forebay.reads.get(stocked.bucket, key, lambda _: None) as found:
            assert found.cache == "BYPASS"
            assert [piece.length for piece in found.segments] == [SIZE]


@both
@pytest.mark.parametrize("write_type", list(WriteType))
@pytest.mark.parametrize("ending", ["overwritten", "deleted"])
def test_a_reader_finishes_on_the_version_it_began(stocked, write_type, ending):
    for key in (write_type.value, f"parts {write_type}"):
        with stocked.forebay.reads.get(stocked.bucket, key, lambda _: None) as found:
            got = found.read(10)
            if ending == "overwritten":
                stocked.put(key, content_of("newer", SIZE), WriteType.MUST_CACHE)
            else:
                stocked.forebay.deletes.delete(stocked.bucket, key)
            stocked.clean()
            got += b"".join(iter(lambda o=found: o.read(4096), b""))
        assert got == content_of("whole", SIZE)


def test_an_object_that_is_read_from_the_store_is_never_a_mixture(stocked):
    with stocked.forebay.reads.get(stocked.bucket, "outside", lambda _: None) as found:
        got = found.read(10)
        stocked.raw.put(
            "bucket/outside",
            BytesReader(content_of("other", SIZE)),
            size=SIZE,
            attributes=Attributes(),
        )
        got += b"".join(iter(lambda: found.read(4096), b""))
    assert got == content_of("whole", SIZE)
    assert read(stocked, "outside") == content_of("other", SIZE)


@on_files
@pytest.mark.parametrize("change", ["written to", "cut"])
def test_a_file_that_is_changed_in_place_while_it_is_read_breaks_the_read_off(
    stocked, files, change
):
    def read_on(found):
        found.read(10)
        if change == "cut":
            os.truncate(files / "outside", 100)
        else:
            (files / "outside").write_bytes(b"x" * SIZE)
            os.utime(files / "outside", (1, 1))
        while found.read(4096):
            pass

    with (
        stocked.forebay.reads.get(stocked.bucket, "outside", lambda _: None) as found,
        pytest.raises(SourceChanged),
    ):
        read_on(found)


def test_a_missing_object_is_none_and_costs_no_open_file(opened):
    with pytest.raises(NoSuchKey):
        opened.forebay.reads.get(opened.bucket, "key", lambda _: None)
    with pytest.raises(NoSuchKey):
        opened.forebay.reads.head(opened.bucket, "key")


@both
def test_what_the_selection_refuses_leaves_no_file_open(stocked, open_files):
    def refuse(record):
        raise LookupError(record.etag)

    keys = sorted(stocked.listed())
    for key in keys:
        read(stocked, key)
    stocked.clean()
    before = open_files()
    for key in keys:
        with pytest.raises(LookupError):
            stocked.forebay.reads.get(stocked.bucket, key, refuse)
    assert open_files() == before


@both
def test_reads_give_back_every_file_they_opened(stocked, open_files):
    for key in stocked.listed():
        read(stocked, key)
    stocked.clean()
    before = open_files()
    for key in stocked.listed():
        read(stocked, key, ByteRange(0, min(10, stocked.head(key).size)))
        read(stocked, key)
    assert open_files() == before


def test_the_only_copy_that_is_gone_is_never_replaced_by_an_older_one(stocked):
    stocked.put("outside", content_of("ours", SIZE), WriteType.MUST_CACHE)
    record = stocked.head("outside")
    stocked.forebay.cache.delete(record.segments[0].segment, SIZE)
    with pytest.raises(Corrupt):
        stocked.forebay.reads.get(stocked.bucket, "outside", lambda _: None)


@pytest.mark.parametrize("root", ["file", "memory"], indirect=True)
def test_an_object_that_is_persisted_while_it_is_opened_is_read(opened, monkeypatch):
    content = content_of("ours", SIZE)
    opened.put("k", content, WriteType.ASYNC_THROUGH)
    (ref,) = opened.head("k").segments
    real = opened.forebay.cache.open

    def late(segment):
        monkeypatch.undo()
        opened.persist()
        opened.clean()
        opened.forebay.cache.delete(ref.segment, ref.length)
        return real(segment)

    monkeypatch.setattr(opened.forebay.cache, "open", late)
    assert opened.get("k") == content


@pytest.mark.parametrize("key", ["CACHE_THROUGH", "parts CACHE_THROUGH"])
def test_a_copy_that_was_evicted_is_read_from_the_store(stocked, key):
    for ref in [*stocked.head(key).segments, *stocked.forebay.reads.parts(stocked.head(key))]:
        stocked.forebay.cache.delete(ref.segment, ref.length)
    assert read(stocked, key) == content_of("whole", SIZE)
    assert cache_of(stocked, key) == "HIT"


class Unreachable(Around):
    """A store that cannot be opened."""

    def open(self, *_, **__):
        from forebay.errors import Unavailable

        raise Unavailable("down")


def test_without_the_store_what_is_cached_is_read_and_the_rest_unavailable(stocked):
    mount = stocked.forebay.mounts.root
    object.__setattr__(mount, "store", Unreachable(mount.store))
    assert read(stocked, "CACHE_THROUGH") == content_of("whole", SIZE)
    with pytest.raises(ServiceUnavailable):
        stocked.forebay.reads.get(stocked.bucket, "outside", lambda _: None)


@both
@pytest.mark.parametrize("write_type", list(WriteType))
def test_readers_of_a_key_that_is_overwritten_all_the_time_see_whole_versions(opened, write_type):
    opened.put("key", content_of("0", 20_000), write_type)
    stop = threading.Event()
    failures = []
    known = {content_of(str(number), 20_000) for number in range(61)}

    def look():
        while not stop.is_set():
            try:
                with opened.forebay.reads.get(opened.bucket, "key", lambda _: None) as found:
                    got = b"".join(iter(lambda o=found: o.read(7_000), b""))
                if got not in known:
                    failures.append("torn")
            except Exception as failure:
                failures.append(repr(failure))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 61):
        opened.put("key", content_of(str(number), 20_000), write_type)
        opened.clean()
        if number % 20 == 0:
            opened.persist()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_version_to_persist_that_is_gone_is_not_found(opened):
    record = opened.put("key", b"old", WriteType.ASYNC_THROUGH).record
    opened.put("key", b"new", WriteType.ASYNC_THROUGH)
    with pytest.raises(NotFound):
        opened.forebay.reads.open_record(opened.bucket, "key", record)


def test_pieces_of_files_are_read_one_after_another(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDONLY)
    reader = FileReader([Segment(fd, 2, 3), Segment(fd, 0, 0), Segment(fd, 8, 2)])
    assert [reader.read(2) for _ in range(4)] == [b"23", b"4", b"89", b""]
    short = FileReader([Segment(fd, 8, 5)])
    assert short.read(10) == b"89"
    with pytest.raises(SourceChanged):
        short.read(10)
    os.close(fd)


class Down(Around):
    """A store that cannot be reached while it is `down`."""

    down = False

    def head(self, *args, **more):
        self.check()
        return self.inner.head(*args, **more)

    def open(self, *args, **more):
        self.check()
        return self.inner.open(*args, **more)

    def check(self):
        if self.down:
            raise Unavailable("down")


def behind_our_back(store, key="k", size=50_000):
    content = content_of(key, size)
    store.put(f"bucket/{key}", BytesReader(content), size=size, attributes=Attributes())
    return content


def told(opened, key="k"):
    with opened.forebay.reads.get(opened.bucket, key, lambda _: None) as found:
        content = b"".join(iter(lambda: found.read(100_000), b""))
        return found.cache, found.age, content


@pytest.mark.parametrize("sync", [0.0, 0.05, 3600.0, None])
def test_what_is_cached_is_read_while_the_store_is_down_and_said_to_be_stale(
    open_forebay, sync, monkeypatch
):
    layer = UnderStoreLayer(Down)
    mount = MountConfig("/", "memory://", metadata_sync=sync)
    opened = open_forebay(mounts={"/": mount}, plugins=[layer])
    opened.forebay.buckets.create("bucket", "tester")
    (store,) = layer.stores
    content = behind_our_back(opened.raw)
    assert told(opened) == ("MISS", 0, content)
    assert told(opened) == ("HIT", 0, content)
    store.down = True
    time.sleep(1.1)
    if sync == 0.0:
        with pytest.raises(ServiceUnavailable):
            told(opened)
    else:
        cache, age, got = told(opened)
        assert (cache, got) == ("STALE" if sync == 0.05 else "HIT", content)
        assert age >= 1
    with pytest.raises(ServiceUnavailable):
        told(opened, "other")
    store.down = False
    cache, age, got = told(opened)
    assert (cache, got) == ("HIT", content)
    assert age == 0 if sync in (0.0, 0.05) else age >= 1


def test_who_reads_range_after_range_is_read_ahead_for(opened):
    content = behind_our_back(opened.raw, size=6 << 20)
    asked, mount = [], opened.forebay.mounts.root

    class Noted(Around):
        def open(self, key, /, byte_range=None, **more):
            asked.append((byte_range.start >> 20, byte_range.stop >> 20))
            return self.inner.open(key, byte_range, **more)

    object.__setattr__(mount, "store", Noted(mount.store))
    for start in range(4):
        wanted = ByteRange(start << 20, (start + 1) << 20)
        with opened.forebay.reads.get(opened.bucket, "k", lambda _: wanted) as found:  # noqa: B023
            assert (
                b"".join(iter(lambda o=found: o.read(1 << 20), b""))
                == content[wanted.start : wanted.stop]
            )
        opened.clean()
    assert asked == [(0, 1), (1, 2), (2, 3), (3, 5), (5, 6)]
