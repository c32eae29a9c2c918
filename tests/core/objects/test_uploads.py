import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.checksums import ALGORITHMS, composite, full_object
from forebay.config import CacheConfig, TierConfig
from forebay.errors import (
    BodyError,
    ConditionFailed,
    EntityTooLarge,
    EntityTooSmall,
    InvalidPart,
    InvalidPartOrder,
    InvalidRequest,
    NoSuchKey,
    NoSuchUpload,
    SlowDown,
)
from forebay.objects import uploads
from forebay.objects.uploads import CompletedPart
from forebay.testing.matrix import STATES
from forebay.testing.opened import Content, content_of
from forebay.types import (
    Attributes,
    ByteRange,
    CommonPrefix,
    DeleteType,
    PersistState,
    WriteConditions,
    WriteType,
)

both = pytest.mark.parametrize("root", ["memory", "file"], indirect=True)
each_type = pytest.mark.parametrize("write_type", list(WriteType))
KEPT = Attributes({"content-type": "text/x"}, {"made": "of-parts"}, {"a": "b"})


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(uploads, "SMALLEST_PART", 100)


class Upload:
    """A multipart upload under way."""

    def __init__(self, opened, key="key", write_type=None, **options):
        self.opened, self.key, self.bucket = opened, key, opened.bucket
        self.uploads = opened.forebay.uploads
        self.id = self.uploads.create(
            self.bucket, key, attributes=KEPT, owner="t", requested=write_type, **options
        ).upload_id

    def part(self, number, content, checksums=None):
        body = Content(content)
        body.checksums = checksums or {}
        return self.uploads.put_part(self.bucket, self.key, self.id, number, body)

    def complete(self, parts, **options):
        listed = [CompletedPart(p, None) if isinstance(p, int) else p for p in parts]
        return self.uploads.complete(self.bucket, self.key, self.id, listed, **options)

    def parts(self, **options):
        _, found, more = self.uploads.parts(
            self.bucket, self.key, self.id, **{"limit": 1000, **options}
        )
        return [part.number for part in found], more

    def abort(self):
        self.uploads.abort(self.bucket, self.key, self.id)


def piece(number, size=150):
    return content_of(f"part {number}", size)


def etag_of(*contents):
    hashes = b"".join(hashlib.md5(content).digest() for content in contents)
    return f"{hashlib.md5(hashes).hexdigest()}-{len(contents)}"


@both
@each_type
def test_parts_in_any_order_make_one_object(opened, write_type):
    upload = Upload(opened, write_type=write_type)
    for number in (3, 1, 2):
        upload.part(number, piece(number))
        assert opened.listed() == {}
    written = upload.complete([1, 2, 3])
    whole = piece(1) + piece(2) + piece(3)
    assert written.write_type is write_type
    assert written.record.etag == etag_of(piece(1), piece(2), piece(3))
    for _ in range(2):
        record = opened.head("key")
        assert (record.etag, record.size, record.parts) == (written.record.etag, 450, 3)
        assert (record.headers, record.metadata, record.tags, record.owner) == (
            KEPT.headers,
            KEPT.metadata,
            KEPT.tags,
            "t",
        )
        assert [(p.number, p.length) for p in opened.forebay.reads.parts(record)] == [
            (1, 150),
            (2, 150),
            (3, 150),
        ]
        assert opened.get("key") == whole
        assert opened.listed() == {"key": 450}
        assert opened.leavings() == {}
        opened.persist()
    if write_type is not WriteType.MUST_CACHE:
        with opened.raw.open("bucket/key") as reader:
            assert reader.read(1000) == whole
        assert opened.head("key").state is PersistState.PERSISTED
    opened.forebay.deletes.delete(opened.bucket, "key")
    assert opened.leavings() == {}
    assert list(opened.forebay.cache.segments()) == []


@both
@each_type
def test_only_the_listed_parts_in_their_last_form_are_kept(opened, write_type):
    upload = Upload(opened, write_type=write_type)
    upload.part(1, piece("old"))
    upload.part(1, piece("new"))
    upload.part(5, piece("unlisted"))
    upload.part(7, piece("last", 10))
    upload.complete([1, 7])
    assert opened.leavings() == {}
    shelved = sorted(size for _, _, size in opened.forebay.cache.segments())
    local = opened.raw.capabilities.local_files
    kept = STATES[write_type] is not PersistState.PERSISTED or (
        write_type is WriteType.CACHE_THROUGH and not local
    )
    assert shelved == ([10, 150] if kept else [])
    assert opened.get("key") == piece("new") + piece("last", 10)


@each_type
def test_an_upload_takes_the_place_of_an_object_and_is_replaced_by_one(opened, write_type):
    for before in WriteType:
        opened.put("key", content_of("old", 500), before)
        upload = Upload(opened, write_type=write_type)
        upload.part(1, piece(1))
        upload.part(2, piece(2))
        assert opened.get("key") == content_of("old", 500)
        upload.complete([1, 2])
        assert opened.get("key") == piece(1) + piece(2)
        assert opened.leavings() == {}
    opened.put("key", b"new", write_type)
    assert opened.get("key") == b"new"
    assert opened.leavings() == {}
    assert sum(size for _, _, size in opened.forebay.cache.segments()) <= 3


@each_type
def test_a_repeated_completion_gets_the_first_answer(opened, write_type):
    upload = Upload(opened, write_type=write_type)
    upload.part(1, piece(1))
    first = upload.complete([1])
    opened.put("key", b"newer", WriteType.THROUGH)
    again = upload.complete([1])
    assert (again.record.etag, again.write_type, again.durability) == (
        first.record.etag,
        first.write_type,
        first.durability,
    )
    assert opened.get("key") == b"newer"
    with pytest.raises(NoSuchUpload):
        upload.complete([CompletedPart(1, "0" * 32)])
    with pytest.raises(NoSuchUpload):
        upload.part(1, piece(1))


@both
@each_type
def test_completions_at_the_same_time_get_one_answer(opened, write_type):
    upload = Upload(opened, write_type=write_type)
    for number in range(1, 6):
        upload.part(number, piece(number))

    def complete(number):
        written = upload.complete([1, 2, 3, 4, 5])
        if number % 3 == 0:
            opened.clean()
        return written.record.etag

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(complete, range(8)))
    assert answers == {etag_of(*map(piece, range(1, 6)))}
    assert opened.get("key") == b"".join(map(piece, range(1, 6)))
    assert opened.leavings() == {}


def test_what_s3_refuses_is_refused_and_changes_nothing(opened):
    upload = Upload(opened)
    first = upload.part(1, piece(1))
    upload.part(2, piece(2, 20))
    upload.part(3, piece(3))
    refused = [
        (InvalidPartOrder, [2, 1]),
        (InvalidPartOrder, [1, 1]),
        (InvalidPart, [1, 4]),
        (InvalidPart, [CompletedPart(1, "0" * 32)]),
        (InvalidPart, [CompletedPart(1, first.etag), CompletedPart(3, first.etag)]),
        (EntityTooSmall, [1, 2, 3]),
    ]
    for error, parts in refused:
        with pytest.raises(error):
            upload.complete(parts)
    with pytest.raises(InvalidRequest):
        upload.complete([1, 3], size=299)
    assert opened.head("key") is None
    assert upload.parts() == ([1, 2, 3], False)
    upload.complete([1, 3], size=300)
    assert opened.head("key").size == 300


def test_an_upload_of_another_key_or_name_is_none(opened):
    upload = Upload(opened)
    calls = [
        lambda key, upload_id: opened.forebay.uploads.get(opened.bucket, key, upload_id),
        lambda key, upload_id: opened.forebay.uploads.abort(opened.bucket, key, upload_id),
        lambda key, upload_id: opened.forebay.uploads.put_part(
            opened.bucket, key, upload_id, 1, Content(b"x")
        ),
        lambda key, upload_id: opened.forebay.uploads.complete(
            opened.bucket, key, upload_id, [CompletedPart(1)]
        ),
        lambda key, upload_id: opened.forebay.uploads.parts(opened.bucket, key, upload_id, limit=1),
    ]
    for call in calls:
        for key, upload_id in [
            ("other", upload.id),
            ("key", upload.id[:-1] + "x"),
            ("key", ""),
            ("key", "../../x"),
            ("key", "ü" * 30),
            ("key", "a" * 2000),
        ]:
            with pytest.raises(NoSuchUpload):
                call(key, upload_id)
    assert opened.leavings() == {}
    upload.abort()


@pytest.mark.parametrize("write_type", [None, WriteType.MUST_CACHE])
def test_conditions_of_a_completion_are_decided_when_it_commits(opened, write_type):
    upload = Upload(opened, write_type=write_type)
    upload.part(1, piece(1))
    with pytest.raises(NoSuchKey):
        upload.complete([1], conditions=WriteConditions(if_match="*"))
    etag = opened.put("key", b"there", WriteType.THROUGH).record.etag
    with pytest.raises(ConditionFailed):
        upload.complete([1], conditions=WriteConditions(if_none_match="*"))
    with pytest.raises(ConditionFailed):
        upload.complete([1], conditions=WriteConditions(if_match="0"))
    upload.complete([1], conditions=WriteConditions(if_match=etag))
    assert opened.get("key") == piece(1)
    assert opened.leavings() == {}


# --- checksums --------------------------------------------------------------------------------


def checksum(name, content):
    sum_ = ALGORITHMS[name].new()
    sum_.update(content)
    return sum_.base64()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("crc32", "COMPOSITE"),
        ("sha256", "COMPOSITE"),
        ("crc32", "FULL_OBJECT"),
        ("crc64nvme", "FULL_OBJECT"),
    ],
)
def test_checksums_of_parts_make_that_of_the_whole(opened, name, kind):
    upload = Upload(opened, checksum_algorithm=name, checksum_type=kind)
    contents = [piece(1), piece(2)]
    sums = [checksum(name, content) for content in contents]
    for number, (content, sum_) in enumerate(zip(contents, sums, strict=True), 1):
        upload.part(number, content, {name: sum_})
    wanted = (
        full_object(name, [(s, 150) for s in sums])
        if kind == "FULL_OBJECT"
        else composite(name, sums)
    )
    with pytest.raises(BodyError, match="checksum"):
        upload.complete([1, 2], checksums={name: checksum(name, b"other")})
    record = upload.complete([1, 2], checksums={name: wanted}).record
    assert (record.checksums, record.checksum_type) == ({name: wanted}, kind)
    if kind == "FULL_OBJECT":
        assert wanted == checksum(name, b"".join(contents))


# --- lists ------------------------------------------------------------------------------------


def test_parts_are_listed_by_number_in_pages(opened):
    upload = Upload(opened)
    for number in (10_000, 2, 1, 300):
        upload.part(number, b"x")
    assert upload.parts() == ([1, 2, 300, 10_000], False)
    assert upload.parts(limit=2) == ([1, 2], True)
    assert upload.parts(after=2, limit=2) == ([300, 10_000], False)
    assert upload.parts(after=10_000) == ([], False)
    assert upload.parts(after=1 << 40) == ([], False)


def test_uploads_are_listed_by_key_and_id_in_pages(opened):
    made = sorted((key, Upload(opened, key).id) for key in ("a", "a", "a/1", "a/2", "b", "ü"))

    def ids(**options):
        page = opened.forebay.uploads.list(opened.bucket, **{"limit": 1000, **options})
        return [
            entry.prefix if isinstance(entry, CommonPrefix) else (entry.key, entry.upload_id)
            for entry in page.entries
        ], page

    assert ids()[0] == made
    assert ids(prefix="a/")[0] == made[2:4]
    assert ids(delimiter="/")[0] == [*made[:2], "a/", *made[4:]]
    assert ids(key_marker="a")[0] == made[2:]
    assert ids(key_marker="a", upload_id_marker=made[0][1])[0] == made[1:]
    assert ids(limit=0)[0] == []
    for delimiter in ("", "/"):
        found, key, upload_id, more = [], "", "", True
        while more:
            some, page = ids(
                limit=1, delimiter=delimiter, key_marker=key, upload_id_marker=upload_id
            )
            found += some
            key, upload_id, more = page.next_key, page.next_upload_id, page.truncated
            assert len(found) <= 6
        assert found == ids(delimiter=delimiter)[0]


# --- the end of uploads -----------------------------------------------------------------------


def test_an_aborted_upload_leaves_nothing(opened):
    upload = Upload(opened)
    upload.part(1, piece(1))
    upload.part(2, piece(2))
    upload.abort()
    with pytest.raises(NoSuchUpload):
        upload.parts()
    with pytest.raises(NoSuchUpload):
        upload.abort()
    assert opened.leavings() == {}
    assert list(opened.forebay.cache.segments()) == []


@pytest.mark.parametrize("ending", ["abort", "complete"])
def test_a_part_that_comes_with_the_end_is_in_it_or_leaves_nothing(opened, ending):
    for turn in range(30):
        upload = Upload(opened, f"key{turn}")
        upload.part(1, piece(1))
        start = threading.Barrier(2)

        def late(upload=upload, start=start):
            start.wait()
            try:
                upload.part(1, piece("late"))
            except NoSuchUpload:
                return False
            return True

        with ThreadPoolExecutor(1) as pool:
            in_time = pool.submit(late)
            start.wait()
            if ending == "abort":
                upload.abort()
            else:
                upload.complete([1])
            in_time.result()
        if ending == "complete":
            assert opened.get(f"key{turn}") in (piece(1), piece("late"))
    assert opened.leavings() == {}
    opened.forebay.persist.run_one()


def test_abandoned_uploads_expire_and_others_do_not(opened, monkeypatch):
    old = Upload(opened, "old")
    old.part(1, piece(1))
    before = uploads.now_ms
    monkeypatch.setattr(uploads, "now_ms", lambda: before() + 3_600_000)
    touched = Upload(opened, "touched")
    assert opened.forebay.uploads.expire(1800) == 1
    with pytest.raises(NoSuchUpload):
        old.parts()
    assert touched.parts() == ([], False)
    assert opened.forebay.uploads.expire(1800) == 0
    assert opened.leavings() == {}
    assert list(opened.forebay.cache.segments()) == []


def test_a_part_keeps_an_upload_alive(opened, monkeypatch):
    upload = Upload(opened)
    before = uploads.now_ms
    monkeypatch.setattr(uploads, "now_ms", lambda: before() + 3_600_000)
    upload.part(1, piece(1))
    assert opened.forebay.uploads.expire(1800) == 0
    assert upload.parts() == ([1], False)


def test_uploads_go_with_their_bucket(opened):
    upload = Upload(opened)
    upload.part(1, piece(1))
    opened.forebay.buckets.delete(opened.bucket)
    assert opened.leavings() == {}
    assert list(opened.forebay.cache.segments()) == []
    opened.forebay.buckets.create("bucket", "t")
    with pytest.raises(NoSuchUpload):
        opened.forebay.uploads.get(opened.bucket, "key", upload.id)


def test_a_part_without_room_is_refused_and_can_be_sent_again(opened):
    upload = Upload(opened)
    opened.fill()
    with pytest.raises(SlowDown):
        upload.part(1, piece(1))
    opened.fill(False)
    with pytest.raises(BodyError):
        upload.uploads.put_part(upload.bucket, "key", upload.id, 1, Content(piece(1), "digest"))
    assert upload.parts() == ([], False)
    assert opened.leavings() == {}
    upload.part(1, piece(1))
    upload.complete([1])
    assert opened.get("key") == piece(1)


@pytest.mark.parametrize("told", [True, False])
def test_a_part_larger_than_the_cache_can_never_be(open_forebay, told):
    tier = TierConfig(name="MEM", kind="memory", capacity=1 << 20)
    opened = open_forebay(cache=CacheConfig(tiers=[tier]))
    opened.forebay.buckets.create("bucket", "tester")
    upload = Upload(opened)
    body = Content(b"x" * (3 << 19))
    if not told:
        body.length = None
    with pytest.raises(EntityTooLarge, match=r"1\.5 MiB can never stay .* which has 1\.0 MiB"):
        upload.uploads.put_part(upload.bucket, "key", upload.id, 1, body)
    assert opened.leavings() == {}


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_an_upload_survives_a_restart(open_forebay, opened):
    upload = Upload(opened, write_type=WriteType.MUST_CACHE)
    upload.part(1, piece(1))
    opened.forebay.close()
    again = open_forebay()
    upload.opened, upload.uploads = again, again.forebay.uploads
    again.forebay.housekeeping.sweep_orphans()
    upload.part(2, piece(2))
    upload.complete([1, 2])
    assert again.get("key") == piece(1) + piece(2)
    assert again.leavings() == {}


# --- many parts -------------------------------------------------------------------------------


@both
@each_type
def test_three_hundred_parts_are_one_object(opened, write_type):
    upload = Upload(opened, write_type=write_type)
    contents = [piece(number, 101 + number) for number in range(1, 301)]
    for number, content in enumerate(contents, 1):
        upload.part(number, content)
    record = upload.complete(range(1, 301)).record
    whole = b"".join(contents)
    assert record.etag == etag_of(*contents)
    assert opened.get("key") == whole
    assert [p.number for p in opened.forebay.reads.parts(record)] == list(range(1, 301))
    for start, stop in ((0, 1), (5_000, 50_000), (len(whole) - 300, len(whole))):
        wanted = ByteRange(start, stop)
        with opened.forebay.reads.get(opened.bucket, "key", lambda _, w=wanted: w) as opening:
            assert b"".join(iter(lambda o=opening: o.read(4096), b"")) == whole[start:stop]
    opened.persist()
    assert opened.get("key") == whole
    assert opened.leavings() == {}
    opened.forebay.deletes.delete(opened.bucket, "key", requested=DeleteType.ALLUXIO_AND_UFS)
    assert opened.leavings() == {}
    assert opened.held(b"l") + opened.held(b"y") + opened.held(b"s") + opened.held(b"p") == []
    assert list(opened.forebay.cache.segments()) == []


def test_a_read_of_many_parts_is_not_disturbed_by_what_comes_after(opened):
    upload = Upload(opened, write_type=WriteType.MUST_CACHE)
    contents = [piece(number) for number in range(1, 101)]
    for number, content in enumerate(contents, 1):
        upload.part(number, content)
    upload.complete(range(1, 101))
    with opened.forebay.reads.get(opened.bucket, "key", lambda _: None) as reader:
        got = reader.read(200)
        opened.put("key", b"newer", WriteType.MUST_CACHE)
        opened.clean()
        assert len(list(opened.forebay.cache.segments())) == 100
        got += b"".join(iter(lambda: reader.read(4096), b""))
    assert got == b"".join(contents)
    opened.clean()
    assert list(opened.forebay.cache.segments()) == []
    assert opened.leavings() == {}
