"""Copies: by the store where it can, by moving the bytes where it cannot, the same to see."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from forebay.catalog import keys
from forebay.catalog.records import Record
from forebay.checksums import composite
from forebay.config import MountConfig
from forebay.errors import (
    AccessDenied,
    ConditionFailed,
    NoSuchKey,
    NotSupported,
    PermissionDenied,
    ServiceUnavailable,
    StorageError,
    Unavailable,
)
from forebay.events import ObjectWritten
from forebay.objects import intents
from forebay.objects.copies import AT_STORE, Target, etag_of_copy
from forebay.objects.shared import derived_etag
from forebay.objects.uploads import CompletedPart
from forebay.objects.write import Writes
from forebay.streams import BytesReader
from forebay.testing.opened import KEPT, Content, content_of
from forebay.types import (
    Attributes,
    DeleteType,
    Durability,
    ObjectInfo,
    PersistState,
    WriteConditions,
    WriteType,
)
from forebay_memory.under import MemoryUnderStore

THROUGH = [WriteType.CACHE_THROUGH, WriteType.THROUGH]
BODY = content_of("source", AT_STORE + 5)
MD5 = hashlib.md5(BODY).hexdigest()


class Origin(MemoryUnderStore):
    """A store of another machine that can copy; notes which calls move what."""

    capabilities = replace(
        MemoryUnderStore.capabilities, persistent=True, shared_between_processes=True
    )

    def __init__(self):
        super().__init__()
        self.calls = []
        self.before = self.after = lambda: None

    def open(self, *args, **more):
        self.calls.append("open")
        return super().open(*args, **more)

    def put(self, *args, **more):
        self.calls.append("put")
        return super().put(*args, **more)

    def copy(self, source, target, /, *, attributes, if_match):
        self.calls.append("copy")
        self.before()
        with super().open(source, if_match=if_match) as reader:
            size = reader.info.size
            info = super().put(target, reader, size=size, attributes=attributes)
        self.after()
        return info

    def poke(self, key, content, etag=None):
        """Put an object as others do, with whatever the store makes of its ETag."""
        info = super().put(key, BytesReader(content), size=None, attributes=KEPT)
        if etag is not None:
            found = self._objects[key]
            self._objects[key] = replace(found, info=replace(info, etag=etag))

    def close(self):
        pass


@pytest.fixture
def root():
    return "origin://one"


@pytest.fixture
def opening(open_forebay, origins):
    """Open a Forebay over the two origins, as another process would."""

    def opening():
        mounts = {
            "/": MountConfig("/", "origin://one", options={"retries": 0}),
            "/bucket/two": MountConfig("/bucket/two", "origin://two", options={"retries": 0}),
        }
        return open_forebay(mounts=mounts, plugins=[origins])

    return opening


@pytest.fixture
def opened(opening, origins):
    opened = opening()  # the mount makes the bucket
    opened.put("source", BODY, WriteType.THROUGH)
    origins.one.calls.clear()
    return opened


def copy(opened, key="target", write_type=WriteType.CACHE_THROUGH, source="source", **more):
    select = more.pop("select", lambda record: None)
    attributes = more.pop("attributes", None)
    target = Target(
        opened.bucket,
        key,
        lambda record: attributes or Attributes(record.headers, record.metadata, record.tags),
        "copier",
        requested=write_type,
        **more,
    )
    return opened.forebay.copies.copy(opened.bucket, source, select, target)


# --- which way ---------------------------------------------------------------------------


@pytest.mark.parametrize("write_type", THROUGH)
def test_the_store_copies_and_no_byte_comes_here(opened, origins, write_type):
    written = copy(opened, write_type=write_type)
    assert origins.one.calls == ["copy"]
    assert (written.write_type, written.durability) == (write_type, Durability.UNDER_STORE)
    record = opened.head("target")
    assert msgspec.structs.replace(record, dated=0) == written.record
    assert (record.size, record.etag, record.owner) == (len(BODY), MD5, "copier")
    assert record.state is PersistState.PERSISTED
    assert (record.headers, record.metadata, record.tags) == (
        KEPT.headers, KEPT.metadata, KEPT.tags,
    )  # fmt: skip
    assert origins.one.head("bucket/target").attributes == KEPT
    assert origins.events[-1] == ObjectWritten("bucket", "target", len(BODY), MD5, write_type.value)
    assert opened.get("target") == BODY
    assert opened.listed() == {"source": len(BODY), "target": len(BODY)}
    assert opened.leavings() == {}


def small(opened, origins):
    opened.put("source", BODY[: AT_STORE - 1], WriteType.THROUGH)
    return {}


def unpersisted(opened, origins):
    opened.put("source", BODY, WriteType.ASYNC_THROUGH)
    return {}


REASONS = {
    "few bytes": small,
    "a source that no store has": unpersisted,
    "MUST_CACHE": lambda *_: {"write_type": WriteType.MUST_CACHE},
    "ASYNC_THROUGH": lambda *_: {"write_type": WriteType.ASYNC_THROUGH},
    "another checksum": lambda *_: {"algorithm": "sha256"},
    "another mount": lambda *_: {"key": "two/target"},
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_bytes_are_moved_because_of(opened, origins, reason):
    more = REASONS[reason](opened, origins)
    content = opened.get("source")
    written = copy(opened, **more)
    assert "copy" not in origins.one.calls + origins.two.calls
    assert written.record.etag == hashlib.md5(content).hexdigest()
    assert opened.get(more.get("key", "target")) == content
    opened.persist()
    assert opened.leavings() == {}


def test_within_a_nested_mount_its_own_store_copies(opened, origins):
    opened.put("two/source", BODY, WriteType.THROUGH)
    copy(opened, "two/target", source="two/source")
    assert (origins.one.calls, origins.two.calls) == ([], ["put", "copy"])
    assert opened.get("two/target") == BODY


def test_between_buckets_of_one_store_the_store_copies(opened, origins):
    other = opened.forebay.buckets.create("other", "tester")
    target = Target(other, "k", lambda record: KEPT, None)
    origins.one.calls.clear()
    opened.forebay.copies.copy(opened.bucket, "source", lambda record: None, target)
    assert origins.one.calls == ["copy"]
    assert origins.one.head("other/k").size == len(BODY)


@pytest.mark.parametrize("refusal", [NotSupported, StorageError, PermissionDenied])
def test_what_the_store_does_not_copy_is_moved(opened, origins, refusal):
    def refuse():
        raise refusal("no copies here")

    origins.one.before = refuse
    assert copy(opened).record.etag == MD5
    assert origins.one.calls == ["copy", "open", "put"]
    assert opened.get("target") == BODY
    assert opened.leavings() == {}


def test_a_copy_that_came_out_shorter_is_moved_again(opened, origins, monkeypatch):
    def short(self, source, target, **more):
        return MemoryUnderStore.put(
            self, target, BytesReader(b"x"), size=1, attributes=Attributes()
        )

    monkeypatch.setattr(Origin, "copy", short)
    copy(opened)
    assert opened.get("target") == BODY
    assert opened.leavings() == {}


# --- which version -----------------------------------------------------------------------


def test_another_version_than_the_selected_is_never_copied(opened, origins):
    newer = content_of("newer", AT_STORE + 5)
    seen = []

    def select(record):
        seen.append(record.etag)
        if len(seen) == 1:
            origins.one.poke("bucket/source", newer)

    record = copy(opened, select=select).record
    assert seen == [MD5, hashlib.md5(newer).hexdigest()]
    assert record.etag == seen[1]
    assert origins.one.calls == ["copy", "copy"]
    assert opened.get("target") == newer
    assert opened.leavings() == {}


def test_a_source_that_vanished_is_no_source(opened, origins):
    with pytest.raises(NoSuchKey):
        copy(opened, select=lambda record: origins.one.delete("bucket/source"))
    assert opened.get("target") is None
    assert opened.listed() == {}
    assert opened.leavings() == {}


def test_a_version_that_is_refused_is_not_copied(opened, origins):
    class Refused(Exception):
        pass

    def select(record):
        if record.etag != MD5:
            raise Refused
        origins.one.poke("bucket/source", content_of("newer", AT_STORE))

    with pytest.raises(Refused):
        copy(opened, select=select)
    assert opened.head("target") is None


def test_a_source_that_changes_all_the_time_is_given_up(opened, origins, monkeypatch):
    monkeypatch.setattr("forebay.objects.copies.TRIES", 3)
    versions = iter(range(100))
    origins.one.before = lambda: origins.one.poke(
        "bucket/source", content_of(str(next(versions)), AT_STORE)
    )
    with pytest.raises(ServiceUnavailable, match="changes faster"):
        copy(opened)
    assert opened.leavings() == {}


def test_a_copy_onto_itself_takes_new_metadata(opened, origins):
    new = Attributes(metadata={"new": "1"})
    written = copy(opened, "source", attributes=new)
    assert origins.one.calls == ["copy"]
    record = opened.head("source")
    assert (record.metadata, record.etag) == ({"new": "1"}, MD5)
    assert written.record == msgspec.structs.replace(record, dated=0)
    assert opened.get("source") == BODY
    assert opened.leavings() == {}


# --- conditions --------------------------------------------------------------------------


def test_conditions_of_the_target_are_decided_before_the_store_is_asked(opened, origins):
    absent = WriteConditions(if_none_match="*")
    copy(opened, conditions=absent)
    origins.one.calls.clear()
    for conditions in (absent, WriteConditions(if_match="other")):
        with pytest.raises(ConditionFailed):
            copy(opened, conditions=conditions)
    assert origins.one.calls == []
    copy(opened, conditions=WriteConditions(if_match=MD5))
    assert origins.one.calls == ["copy"]


def test_a_creator_who_is_overtaken_never_touches_the_store(opened, origins, monkeypatch):
    take = intents.take

    def late(*args, **more):
        monkeypatch.undo()
        opened.put("target", b"there", WriteType.THROUGH)
        return take(*args, **more)

    monkeypatch.setattr(intents, "take", late)
    with pytest.raises(ConditionFailed):
        copy(opened, conditions=WriteConditions(if_none_match="*"))
    assert origins.one.calls == ["put"]
    assert opened.get("target") == b"there"


def test_a_read_only_mount_takes_no_copy(open_forebay, opened, origins):
    mounts = {"/": MountConfig("/", "origin://one", read_only=True)}
    other = open_forebay(mounts=mounts, plugins=[origins])
    with pytest.raises(AccessDenied):
        copy(other)
    assert origins.one.calls == []


# --- checksums and ETags -----------------------------------------------------------------


def with_checksum(opened, name, value, kind):
    content = Content(BODY)
    content.checksums = {name: value}
    opened.forebay.writes.put(
        opened.bucket, "source", content,
        attributes=KEPT, owner=None, requested=WriteType.THROUGH, checksum_type=kind,
    )  # fmt: skip


@pytest.mark.parametrize("asked", ["", "crc32"])
def test_a_checksum_of_the_whole_goes_along(opened, origins, asked):
    crc = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
    with_checksum(opened, "crc32", crc, "FULL_OBJECT")
    origins.one.calls.clear()
    record = copy(opened, algorithm=asked).record
    assert (record.checksums, record.checksum_type) == ({"crc32": crc}, "FULL_OBJECT")
    assert origins.one.calls == ["copy"]


def test_a_checksum_of_checksums_does_not(opened, origins):
    sha = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    with_checksum(opened, "sha256", composite("sha256", [sha]), "COMPOSITE")
    record = copy(opened).record
    assert (record.checksums, record.checksum_type) == ({"sha256": sha}, "FULL_OBJECT")
    assert "copy" not in origins.one.calls


def test_those_of_parts_are_joined_where_they_can_be(opened, origins, monkeypatch):
    monkeypatch.setattr("forebay.objects.uploads.SMALLEST_PART", 1)
    uploads, bucket = opened.forebay.uploads, opened.bucket
    upload = uploads.create(
        bucket, "source", attributes=KEPT, owner=None,
        checksum_algorithm="crc32", requested=WriteType.THROUGH,
    )  # fmt: skip
    for number, piece in ((1, BODY[:1000]), (2, BODY[1000:])):
        content = Content(piece)
        crc = base64.b64encode(zlib.crc32(piece).to_bytes(4, "big")).decode()
        content.checksums = {"crc32": crc}
        uploads.put_part(bucket, "source", upload.upload_id, number, content)
    parts = [CompletedPart(1), CompletedPart(2)]
    source = uploads.complete(bucket, "source", upload.upload_id, parts).record
    assert source.checksum_type == "COMPOSITE"
    origins.one.calls.clear()
    record = copy(opened).record
    crc = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
    assert (record.checksums, record.checksum_type) == ({"crc32": crc}, "FULL_OBJECT")
    assert record.etag == source.etag
    assert record.etag.endswith("-2")
    assert origins.one.calls == ["copy"]
    assert opened.get("target") == BODY


MULTIPART, OTHER = "a" * 32 + "-3", "b" * 32
MINE = {"write_type": "THROUGH"}


@pytest.mark.parametrize(
    ("source", "stored", "expected"),
    [
        ({"etag": MD5, **MINE}, MD5, MD5),
        ({"etag": MD5, **MINE}, OTHER, MD5),  # encrypted at the store, made here
        ({"etag": MD5, **MINE}, MULTIPART, MD5),
        ({"etag": MD5, **MINE}, None, MD5),
        ({"etag": MD5}, MD5, MD5),
        ({"etag": MD5}, OTHER, derived_etag("print")),
        ({"etag": MD5}, MULTIPART, MULTIPART),
        ({"etag": MD5}, None, derived_etag("print")),
        ({"etag": MULTIPART}, OTHER, MULTIPART),
        ({"etag": MULTIPART, **MINE}, OTHER, MULTIPART),
        ({"etag": derived_etag("x")}, None, derived_etag("x")),
    ],
)
def test_nothing_looks_like_an_md5_that_may_be_none(source, stored, expected):
    record = Record("id", 1, 3, modified=0, state=PersistState.PERSISTED, generation=1, **source)
    info = ObjectInfo("k", 3, datetime.now(UTC), "print", stored)
    assert etag_of_copy(record, info) == expected


@pytest.mark.parametrize("etag", [None, MULTIPART, OTHER])
def test_the_etag_is_the_same_after_a_look_at_the_store(opened, opening, origins, etag):
    origins.one.poke("bucket/foreign", BODY, etag)
    record = copy(opened, source="foreign").record
    assert origins.one.calls == ["copy"]
    assert record.etag == MD5 if etag is None else "-" in record.etag
    opened.forebay.close()
    again = opening()
    looked = again.head("target")  # such a mount is asked at every look
    assert (looked.etag, looked.owner) == (record.etag, "copier")
    assert again.get("target") == BODY


# --- when things go wrong ----------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("there", [True, False], ids=["over an object", "new"])
def test_a_copy_whose_store_goes_down_is_the_old_object_or_the_new_one(
    opened, origins, moment, there
):
    def down():
        raise Unavailable("no answer")

    if there:
        opened.put("target", b"old", WriteType.THROUGH)
    setattr(origins.one, moment, down)
    with pytest.raises(ServiceUnavailable, match="the under store of / is down"):
        copy(opened)
    assert opened.get("target") == {
        ("before", True): b"old", ("before", False): None,
    }.get((moment, there), BODY)  # fmt: skip
    setattr(origins.one, moment, lambda: None)
    assert opened.leavings() == {}


def test_a_later_object_of_the_cache_and_a_later_delete_stay(opened, origins):
    origins.one.before = lambda: opened.put("target", b"later", WriteType.MUST_CACHE)
    copy(opened)
    assert opened.get("target") == b"later"
    opened.put("target", b"old", WriteType.THROUGH)
    origins.one.before = lambda: opened.forebay.deletes.delete(
        opened.bucket, "target", requested=DeleteType.ALLUXIO_ONLY
    )
    copy(opened)
    assert opened.get("target") is None
    assert opened.listed() == {"source": len(BODY)}
    assert opened.leavings() == {}


class Died(BaseException):
    """Stands for the end of the process: nothing of it is run any more."""


DEATHS = ["the intent was taken", "the store had copied", "the record was to be committed"]


@pytest.mark.parametrize(
    ("etag", "there"), [("md5", True), ("md5", False), ("of parts", True)], ids=str
)
@pytest.mark.parametrize("death", DEATHS)
def test_whoever_meets_the_intent_of_a_dead_copy_settles_it(
    opened, opening, origins, monkeypatch, death, there, etag
):
    def die(*args, **more):
        raise Died

    source = "source"
    if etag == "of parts":
        source = "foreign"
        origins.one.poke("bucket/foreign", BODY, MULTIPART)
    if there:
        opened.put("target", b"old", WriteType.THROUGH)
    other = opening()
    monkeypatch.setattr(Writes, "settle_later", lambda *_: None)
    if death == DEATHS[0]:
        origins.one.before = die
    elif death == DEATHS[1]:
        origins.one.after = die
    else:
        monkeypatch.setattr(intents, "commit_published", die)
    with pytest.raises(Died):
        copy(opened, source=source)
    monkeypatch.undo()
    assert len(other.held(keys.INTENTS)) == 1
    opened.forebay._shared.owner.close()
    old = b"old" if there else None
    assert other.get("target") == (old if death == DEATHS[0] else BODY)
    if death != DEATHS[0]:
        record = other.head("target")
        # Where no MD5 tells that it is ours, the store tells what it has.
        assert record.etag == MD5
        assert record.owner == ("copier" if etag == "md5" else None)
        assert (record.headers, record.metadata, record.tags) == (
            KEPT.headers, KEPT.metadata, KEPT.tags,
        )  # fmt: skip
    assert other.leavings() == {}
    other.put("target", b"newest", WriteType.THROUGH)
    assert other.get("target") == b"newest"


def test_a_commit_that_fails_is_settled_at_once(opened, origins, monkeypatch):
    def fail(*args, **more):
        raise StorageError("the catalog is gone")

    with monkeypatch.context() as broken:
        broken.setattr(intents, "commit_published", fail)
        with pytest.raises(StorageError):
            copy(opened)
    assert origins.one.calls[0] == "copy"
    assert opened.get("target") == BODY
    assert opened.head("target").owner == "copier"
    assert opened.leavings() == {}
