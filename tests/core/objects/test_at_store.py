"""Uploads whose parts go to an under store that takes them: what it is asked for, and when."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import pytest

from forebay.catalog import keys
from forebay.catalog.records import AtStore, Part, decode, encode
from forebay.catalog.records import Upload as UploadRow
from forebay.config import MountConfig
from forebay.errors import (
    ConditionalRequestConflict,
    ConditionFailed,
    InvalidPart,
    KeyTooLong,
    NoSpace,
    NoSuchBucket,
    NoSuchUpload,
    NotFound,
    NotSupported,
    PermissionDenied,
    ServiceUnavailable,
    StorageError,
    Unavailable,
)
from forebay.events import ObjectWritten
from forebay.objects import intents, uploads
from forebay.objects.at_store import PartsAtStore
from forebay.objects.uploads import CompletedPart
from forebay.objects.write import Writes
from forebay.streams import BLOCK, BytesReader
from forebay.testing.opened import KEPT, Content, content_of
from forebay.types import Durability, PersistState, WriteConditions, WriteType
from forebay_memory.under import MemoryUnderStore

each_type = pytest.mark.parametrize("write_type", [WriteType.CACHE_THROUGH, WriteType.THROUGH])
KEPT_HERE, LET_GO = WriteType.CACHE_THROUGH, WriteType.THROUGH


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(uploads, "SMALLEST_PART", 100)


class Origin(MemoryUnderStore):
    """A store of another machine that takes parts; notes what it is asked for.

    `before` and `after` hold what is run around a call, by its name.
    """

    capabilities = replace(
        MemoryUnderStore.capabilities, persistent=True, shared_between_processes=True
    )

    def __init__(self):
        super().__init__()
        self.calls, self.uploads, self.before, self.after = [], {}, {}, {}
        self.begun, self.encrypts = 0, False

    def _visit(self, name, call):
        self.calls.append(name)
        self.before.get(name, lambda: None)()
        answer = call()
        self.after.get(name, lambda: None)()
        return answer

    def put(self, *args, **more):
        return self._visit("put", lambda: super(Origin, self).put(*args, **more))

    def open(self, *args, **more):
        self.calls.append("open")
        return super().open(*args, **more)

    def begin_upload(self, key, /, *, attributes):
        def begin():
            self.begun += 1
            self.uploads[f"t{self.begun}"] = (key, attributes, {})
            return f"t{self.begun}"

        return self._visit("begin", begin)

    def put_part(self, key, token, number, body, /, *, size, md5):
        content = b"".join(iter(lambda: body.read(BLOCK), b""))
        assert (len(content), hashlib.md5(content).hexdigest()) == (size, md5)

        def take():
            self._upload(key, token)[number] = content
            return f"<{md5}>"

        return self._visit(f"part {number}", take)

    def complete_upload(self, key, token, parts, /):
        def complete():
            have = self._upload(key, token)
            hashes = [hashlib.md5(have.get(one.number, b"none")) for one in parts]
            if [f"<{h.hexdigest()}>" for h in hashes] != [one.tag for one in parts]:
                raise NotFound("no such part")
            _, attributes, _ = self.uploads.pop(token)
            whole = BytesReader(b"".join(have[one.number] for one in parts))
            info = super(Origin, self).put(key, whole, size=None, attributes=attributes)
            etag = hashlib.md5(b"".join(h.digest() for h in hashes)).hexdigest()
            etag = f"{'e' * 32 if self.encrypts else etag}-{len(parts)}"
            found = self._objects[key]
            self._objects[key] = replace(found, info=replace(info, etag=etag))
            return self._objects[key].info

        return self._visit("complete", complete)

    def abort_upload(self, key, token, /):
        self._visit("abort", lambda: self.uploads.pop(token, None))

    def _upload(self, key, token):
        if token not in self.uploads:
            raise NotFound("no such upload")
        assert self.uploads[token][0] == key
        return self.uploads[token][2]

    def close(self):
        pass


@pytest.fixture
def root():
    return "origin://one"


@pytest.fixture
def origin(origins):
    return origins.one


@pytest.fixture
def opening(open_forebay, origins):
    """Open a Forebay, as another process would."""

    def opening(uri="origin://one"):
        mounts = {
            "/": MountConfig("/", uri, options={"retries": 0, "breaker_failures": 0}),
            "/bucket/two": MountConfig("/bucket/two", "origin://two", options={"retries": 0}),
        }
        return open_forebay(mounts=mounts, plugins=[origins])

    return opening


@pytest.fixture
def opened(opening):
    return opening()


class Upload:
    """An upload under way; `of` another process is the same one there."""

    def __init__(self, opened, write_type=KEPT_HERE, key="key", upload_id=None):
        self.opened, self.key, self.write_type = opened, key, write_type
        self.uploads, self.bucket = opened.forebay.uploads, opened.bucket
        self.id = (
            upload_id
            or self.uploads.create(
                self.bucket, key, attributes=KEPT, owner="t", requested=write_type
            ).upload_id
        )

    def of(self, opened):
        return Upload(opened, self.write_type, self.key, self.id)

    def part(self, number, content):
        return self.uploads.put_part(self.bucket, self.key, self.id, number, Content(content))

    def complete(self, *numbers, **options):
        listed = [CompletedPart(number) for number in numbers]
        return self.uploads.complete(self.bucket, self.key, self.id, listed, **options)

    def parts(self):
        found = self.uploads.parts(self.bucket, self.key, self.id, limit=1000)[1]
        return [part.number for part in found]

    def abort(self):
        self.uploads.abort(self.bucket, self.key, self.id)


def piece(number, size=150):
    return content_of(f"part {number}", size)


WHOLE = piece(1) + piece(2)
ETAG = hashlib.md5(b"".join(hashlib.md5(piece(n)).digest() for n in (1, 2))).hexdigest() + "-2"


def both_parts(opened, write_type, **more):
    upload = Upload(opened, write_type, **more)
    for number in (2, 1):
        upload.part(number, piece(number))
    return upload


def shelved(opened):
    return len(list(opened.forebay.cache.segments()))


def is_whole(opened, origin, owner="t"):
    """Check the object, and that nothing is left of its upload."""
    record = opened.head("key")
    assert (record.size, record.etag, record.owner) == (len(WHOLE), ETAG, owner)
    assert record.state is PersistState.PERSISTED
    kept = (record.headers, record.metadata, record.tags)
    assert kept == (KEPT.headers, KEPT.metadata, KEPT.tags)
    assert opened.get("key") == WHOLE
    opened.forebay.uploads.expire(-1)
    opened.forebay.housekeeping.sweep_orphans()
    assert opened.leavings() == {}
    assert origin.uploads == {}


# --- as it should be -----------------------------------------------------------------------


@each_type
def test_the_store_makes_the_object_of_parts_that_it_has(opened, origins, origin, write_type):
    upload = both_parts(opened, write_type)
    assert origin.calls == ["begin", "part 2", "part 1"]
    assert shelved(opened) == (2 if write_type is KEPT_HERE else 0)
    assert opened.listed() == {}
    assert upload.parts() == [1, 2]
    written = upload.complete(1, 2)
    assert origin.calls == ["begin", "part 2", "part 1", "complete"]
    assert (written.write_type, written.durability) == (write_type, Durability.UNDER_STORE)
    assert msgspec.structs.replace(opened.head("key"), dated=0) == written.record
    assert origins.events[-1] == ObjectWritten("bucket", "key", 300, ETAG, write_type.value)
    assert origin.head("bucket/key").attributes == KEPT
    opened.clean()
    assert shelved(opened) == (2 if write_type is KEPT_HERE else 0)
    assert opened.get("key") == WHOLE
    assert ("open" in origin.calls) == (write_type is LET_GO)
    origin.calls.clear()
    again = upload.complete(1, 2)
    assert (again.record.etag, again.durability) == (ETAG, Durability.UNDER_STORE)
    assert origin.calls == []
    is_whole(opened, origin)


@pytest.mark.parametrize("write_type", [WriteType.MUST_CACHE, WriteType.ASYNC_THROUGH])
def test_other_write_types_keep_their_parts_here(opened, origin, write_type):
    both_parts(opened, write_type).complete(1, 2)
    assert origin.calls == []
    assert opened.get("key") == WHOLE


@each_type
def test_parts_that_are_replaced_or_left_out(opened, origin, write_type):
    upload = Upload(opened, write_type)
    for number, content in ((2, "old"), (1, 1), (3, 3), (2, 2)):
        upload.part(number, piece(content))
    assert upload.complete(1, 2).record.etag == ETAG
    assert "put" not in origin.calls
    is_whole(opened, origin)


@each_type
def test_an_upload_below_a_nested_mount_is_its_stores(opened, origins, write_type):
    both_parts(opened, write_type, key="two/key").complete(1, 2)
    assert (origins.one.calls, origins.two.calls[-1]) == ([], "complete")
    assert origins.two.head("key").size == len(WHOLE)
    assert opened.get("two/key") == WHOLE


@each_type
@pytest.mark.parametrize("end", ["abort", "expire"])
def test_an_upload_that_is_given_up_leaves_nothing_at_the_store(opened, origin, write_type, end):
    upload = both_parts(opened, write_type)
    if end == "abort":
        upload.abort()
    else:
        assert opened.forebay.uploads.expire(-1) == 1
    assert origin.uploads == {}
    assert opened.leavings() == {}
    assert shelved(opened) == 0


def test_uploads_of_a_deleted_bucket_leave_nothing_at_the_store(opened, origin):
    made = opened.forebay.buckets.create("other", "t")
    upload = opened.forebay.uploads.create(made, "k", attributes=KEPT, owner=None, requested=LET_GO)
    opened.forebay.uploads.put_part(made, "k", upload.upload_id, 1, Content(piece(1)))
    opened.forebay.buckets.delete(made)
    assert opened.leavings() == {}
    assert origin.uploads == {}


def test_an_upload_that_the_catalog_does_not_take_is_none_at_the_store(opened, origin):
    gone = msgspec.structs.replace(opened.bucket, id=opened.bucket.id + 1)
    with pytest.raises(NoSuchBucket):
        opened.forebay.uploads.create(gone, "k", attributes=KEPT, owner=None, requested=LET_GO)
    assert origin.calls == ["begin", "abort"]


def test_conditions_are_decided_before_the_store_is_asked(opened, origin, monkeypatch):
    opened.put("key", b"there", LET_GO)
    upload = both_parts(opened, LET_GO)
    absent = WriteConditions(if_none_match="*")
    for conditions in (absent, WriteConditions(if_match="x")):
        with pytest.raises(ConditionFailed):
            upload.complete(1, 2, conditions=conditions)
    with monkeypatch.context() as early:
        early.setattr(uploads, "look", lambda *_: None)  # it was not there yet
        with pytest.raises(ConditionFailed):
            upload.complete(1, 2, conditions=absent)
    assert "complete" not in origin.calls
    assert opened.get("key") == b"there"
    upload.complete(1, 2, conditions=WriteConditions(if_match=hashlib.md5(b"there").hexdigest()))
    is_whole(opened, origin)


# --- a store that is down, refuses or forgets ----------------------------------------------


def fails(error):
    def fail():
        raise error("not now")

    return fail


@each_type
def test_an_upload_that_the_store_does_not_begin_is_joined_here(opened, origin, write_type):
    for error in (Unavailable, NotSupported):
        origin.before["begin"] = fails(error)
        both_parts(opened, write_type).complete(1, 2)
        assert origin.calls[-1] == "put"
    assert not any(name.startswith("part") for name in origin.calls)
    is_whole(opened, origin)


@each_type
@pytest.mark.parametrize("error", [KeyTooLong, PermissionDenied])
def test_what_could_never_be_completed_is_not_begun(opened, origin, write_type, error):
    origin.before["begin"] = fails(error)
    with pytest.raises(error):
        Upload(opened, write_type)
    assert opened.held(keys.UPLOADS) == []


@each_type
def test_a_part_that_the_store_did_not_get_goes_with_the_completion(opened, origin, write_type):
    upload = Upload(opened, write_type)
    upload.part(1, piece(1))
    origin.before["part 2"] = fails(Unavailable)
    upload.part(2, piece(2))
    assert upload.parts() == [1, 2]
    with pytest.raises(ServiceUnavailable, match="the under store of / is down"):
        upload.complete(1, 2)
    assert opened.listed() == {}
    del origin.before["part 2"]
    upload.complete(1, 2)
    assert origin.calls[-2:] == ["part 2", "complete"]
    is_whole(opened, origin)


@each_type
def test_a_store_that_is_down_at_the_completion_can_be_asked_again(opened, origin, write_type):
    upload = both_parts(opened, write_type)
    origin.before["complete"] = fails(Unavailable)
    with pytest.raises(ServiceUnavailable, match="the under store of / is down"):
        upload.complete(1, 2)
    assert opened.get("key") is None
    origin.before.clear()
    upload.complete(1, 2)
    is_whole(opened, origin)


@each_type
def test_a_completion_whose_answer_is_lost_is_found_when_it_is_repeated(opened, origin, write_type):
    upload = both_parts(opened, write_type)
    origin.after["complete"] = fails(Unavailable)
    absent = WriteConditions(if_none_match="*")
    with pytest.raises(ServiceUnavailable):
        upload.complete(1, 2, conditions=absent)
    assert opened.get("key") == WHOLE
    written = upload.complete(1, 2, conditions=absent)
    assert written.record.etag == ETAG
    assert origin.calls.count("complete") == 1
    assert upload.complete(1, 2).record.etag == ETAG
    is_whole(opened, origin)


@each_type
def test_a_completion_that_the_store_ends_late_is_found_as_well(opened, origin, write_type):
    upload = both_parts(opened, write_type)
    token = next(iter(origin.uploads))
    origin.before["complete"] = fails(Unavailable)
    with pytest.raises(ServiceUnavailable):
        upload.complete(1, 2)
    origin.before.clear()
    parts = opened.forebay.catalog.read(
        lambda s: [decode(Part, value) for _, value in s.scan(b"p", b"q")]
    )
    origin.complete_upload("bucket/key", token, parts)
    upload.complete(1, 2)
    assert "put" not in origin.calls
    is_whole(opened, origin)


def test_a_store_that_forgot_an_upload_is_given_the_bytes_that_are_here(opened, origin):
    upload = both_parts(opened, KEPT_HERE)
    origin.uploads.clear()
    upload.complete(1, 2)
    assert origin.calls[-2:] == ["abort", "put"]
    is_whole(opened, origin)


def test_parts_that_only_a_store_had_which_forgot_them_can_be_sent_again(opened, origin):
    upload = both_parts(opened, LET_GO)
    origin.uploads.clear()
    with pytest.raises(InvalidPart) as lost:
        upload.complete(1, 2)
    assert lost.value.fields["PartNumber"] == "1"
    assert upload.parts() == []
    assert opened.listed() == {}
    for number in (1, 2):
        upload.part(number, piece(number))
    assert upload.parts() == [1, 2]
    upload.complete(1, 2)
    is_whole(opened, origin)


@each_type
def test_a_part_that_comes_when_the_store_forgot_the_upload_is_kept(opened, origin, write_type):
    upload = Upload(opened, write_type)
    origin.uploads.clear()
    for number in (1, 2):
        upload.part(number, piece(number))
    assert origin.calls.count("part 2") == 0, "nobody asks it again"
    upload.complete(1, 2)
    is_whole(opened, origin)


@pytest.mark.parametrize("refusal", [NotSupported, NoSpace, StorageError])
def test_what_the_store_does_not_complete_is_joined_if_it_is_here(opened, origin, refusal):
    origin.before["complete"] = fails(refusal)
    both_parts(opened, KEPT_HERE).complete(1, 2)
    assert origin.calls[-3:] == ["complete", "put", "abort"]
    is_whole(opened, origin)
    upload = both_parts(opened, LET_GO, key="other")
    with pytest.raises(refusal):
        upload.complete(1, 2)
    origin.before.clear()
    upload.complete(1, 2)
    assert opened.get("other") == WHOLE


@each_type
def test_another_store_at_the_mount_gets_what_is_here(opened, opening, origins, write_type):
    upload = both_parts(opened, write_type)
    opened.forebay.close()
    other = opening("origin://two")
    upload = upload.of(other)
    if write_type is KEPT_HERE:
        upload.complete(1, 2)
        assert other.get("key") == WHOLE
    else:
        with pytest.raises(InvalidPart):
            upload.complete(1, 2)
        assert upload.parts() == []
    assert [name for name in origins.two.calls if name != "open"] in ([], ["put"])


def test_parts_that_only_a_store_has_wait_for_it_to_be_open(opened, origin, monkeypatch):
    upload = both_parts(opened, LET_GO)
    with monkeypatch.context() as closed:
        closed.setattr("forebay.objects.at_store._takes_parts", lambda mount: False)
        with pytest.raises(ServiceUnavailable, match="the under store of / is down"):
            upload.complete(1, 2)
    upload.complete(1, 2)
    is_whole(opened, origin)


# --- at the same time ----------------------------------------------------------------------


@each_type
def test_the_last_of_two_parts_of_a_number_is_the_one_that_the_store_has(
    opened, opening, origin, write_type
):
    other, upload = opening(), Upload(opened, write_type)
    entered, go_on = threading.Event(), threading.Event()

    def hang():
        if not entered.is_set():
            entered.set()
            assert go_on.wait(10)

    origin.before["part 1"] = hang
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(upload.part, 1, piece("old"))
        assert entered.wait(10)
        # Nobody waits for the first one, but the completion does.
        upload.of(other).part(1, piece(1))
        upload.part(2, piece(2))
        done = pool.submit(upload.of(other).complete, 1, 2)
        assert not done.done()
        go_on.set()
        assert done.result(10).record.etag == ETAG
        first.result(10)
    assert origin.calls.count("part 1") == 2
    is_whole(opened, origin)


@each_type
def test_a_completion_waits_for_a_part_that_is_on_its_way(opened, opening, origin, write_type):
    other, upload = opening(), Upload(opened, write_type)
    upload.part(1, piece(1))
    entered, go_on = threading.Event(), threading.Event()
    origin.before["part 2"] = lambda: (entered.set(), go_on.wait(10))
    with ThreadPoolExecutor(2) as pool:
        part = pool.submit(upload.part, 2, piece(2))
        assert entered.wait(10)
        done = pool.submit(upload.of(other).complete, 1, 2)
        go_on.set()
        part.result(10)
        assert done.result(10).record.etag == ETAG
    assert origin.calls.count("part 2") == 1
    is_whole(other, origin)


@each_type
def test_a_part_that_comes_while_the_store_completes_changes_nothing(opened, origin, write_type):
    upload = both_parts(opened, write_type)
    origin.before["complete"] = lambda: upload.part(1, piece("late"))
    assert upload.complete(1, 2).record.etag == ETAG
    assert origin.calls.count("part 1") == 1
    is_whole(opened, origin)


@each_type
def test_a_completion_without_a_turn_opens_no_other_ones_upload(opened, origin, write_type):
    upload = both_parts(opened, write_type)

    def meanwhile():
        with pytest.raises(ConditionalRequestConflict):
            upload.complete(1, 2, conditions=WriteConditions(if_none_match="*"))
        with pytest.raises(NoSuchUpload):
            upload.abort()
        upload.part(1, piece("late"))

    origin.before["complete"] = meanwhile
    assert upload.complete(1, 2).record.etag == ETAG
    assert origin.calls.count("part 1") == 1
    is_whole(opened, origin)


@each_type
def test_of_completions_at_the_same_time_one_asks_the_store(opened, opening, origin, write_type):
    others = [opened, opening()]
    upload = both_parts(opened, write_type)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: upload.of(others[n % 2]).complete(1, 2), range(8)))
    assert {written.record.etag for written in made} == {ETAG}
    assert origin.calls.count("complete") == 1
    is_whole(opened, origin)


@each_type
def test_a_part_on_its_way_when_the_upload_is_aborted_is_forgotten(opened, origin, write_type):
    upload = Upload(opened, write_type)
    token = next(iter(origin.uploads))

    def abort():
        upload.abort()
        origin.uploads[token] = ("bucket/key", KEPT, {})  # the store was not done with it

    origin.before["part 1"] = abort
    upload.part(1, piece(1))
    assert origin.uploads == {}
    with pytest.raises(NoSuchUpload):
        upload.parts()
    opened.forebay.housekeeping.sweep_orphans()
    assert opened.leavings() == {}


# --- deaths --------------------------------------------------------------------------------


class Died(BaseException):
    """Stands for the end of the process: nothing of it is run any more."""


def die(*args, **more):
    raise Died


def end_of(opened):
    opened.forebay._shared.owner.close()


@each_type
@pytest.mark.parametrize("moment", ["staged", "before", "after"])
def test_a_part_whose_process_died_goes_with_the_completion(
    opened, opening, origin, monkeypatch, write_type, moment
):
    other, upload = opening(), Upload(opened, write_type)
    upload.part(1, piece(1))
    with monkeypatch.context() as death:
        if moment == "staged":
            death.setattr(PartsAtStore, "_put", die)
        else:
            getattr(origin, moment)["part 2"] = die
        death.setattr(PartsAtStore, "_note", lambda *_: None)
        with pytest.raises(Died):
            upload.part(2, piece(2))
    origin.before.clear()
    origin.after.clear()
    end_of(opened)
    upload.of(other).complete(1, 2)
    assert "put" not in origin.calls
    is_whole(other, origin)


def test_staged_bytes_whose_process_died_before_it_let_go_are_swept(
    opened, opening, origin, monkeypatch
):
    other, upload = opening(), Upload(opened, LET_GO)
    upload.part(1, piece(1))
    with monkeypatch.context() as death:
        death.setattr(type(opened.forebay.cache), "delete", die)
        with pytest.raises(Died):
            upload.part(2, piece(2))
    end_of(opened)
    assert shelved(other) == 1
    other.forebay.housekeeping.sweep_orphans()
    assert shelved(other) == 0
    upload.of(other).complete(1, 2)
    is_whole(other, origin)


MOMENTS = ["before the store was asked", "after it had answered", "before the commit"]


@each_type
@pytest.mark.parametrize("there", [True, False], ids=["over an object", "new"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_whoever_meets_a_dead_completion_settles_it_and_it_can_be_repeated(
    opened, opening, origin, monkeypatch, moment, there, write_type
):
    if there:
        opened.put("key", b"old", LET_GO)
    other, upload = opening(), both_parts(opened, write_type)
    monkeypatch.setattr(Writes, "settle_later", lambda *_: None)
    catalog = opened.forebay.catalog
    if moment == MOMENTS[0]:
        origin.before["complete"] = die
    elif moment == MOMENTS[1]:
        origin.after["complete"] = die
    else:
        monkeypatch.setattr(intents, "commit_published", die)
    with monkeypatch.context() as death:
        death.setattr(catalog, "write", dead_after(catalog.write, origin))
        with pytest.raises(Died):
            upload.complete(1, 2)
    monkeypatch.undo()
    monkeypatch.setattr(uploads, "SMALLEST_PART", 100)
    origin.before.clear()
    origin.after.clear()
    assert len(other.held(keys.INTENTS)) == 1
    end_of(opened)
    old = b"old" if there else None
    assert other.get("key") == (old if moment == MOMENTS[0] else WHOLE)
    assert upload.of(other).complete(1, 2).record.etag == ETAG
    assert origin.calls.count("complete") == (2 if moment == MOMENTS[0] else 1)
    assert origin.calls.count("put") == there
    is_whole(other, origin)


def dead_after(write, origin):
    """Let nothing be written any more once the store was asked to complete."""

    def dead(change, **more):
        return None if "complete" in origin.calls else write(change, **more)

    return dead


def test_a_dead_completion_over_a_store_that_encrypts(opened, opening, origin, monkeypatch):
    """Nobody can tell that the object is ours: it is the store's, whole, and sent again."""
    origin.encrypts = True
    other, upload = opening(), both_parts(opened, KEPT_HERE)
    origin.after["complete"] = die
    with monkeypatch.context() as death:
        death.setattr(Writes, "settle_later", lambda *_: None)
        with pytest.raises(Died):
            upload.complete(1, 2)
    origin.after.clear()
    end_of(opened)
    assert other.get("key") == WHOLE
    assert other.head("key").etag == "e" * 32 + "-2"
    upload.of(other).complete(1, 2)
    is_whole(other, origin)


def test_rows_of_before_are_read():
    written = ["id", 1, "key", 2, None, {}, {}, {}, "", "", "THROUGH", 5, 6, 0]
    upload = decode(UploadRow, msgspec.msgpack.encode(written))
    assert (upload.active, upload.at_store) == (6, None)
    part = decode(Part, msgspec.msgpack.encode([1, 2, "etag", "segment", 3, {"crc32": "x"}]))
    assert part == Part(1, 2, "etag", "segment", 3, {"crc32": "x"})
    with_store = UploadRow("id", 1, "key", 2, at_store=AtStore("k", "t", 3))
    assert decode(UploadRow, encode(with_store)) == with_store


@each_type
@pytest.mark.parametrize("call", ["begin", "part 1", "part 2", "complete"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_whatever_call_fails_once_the_client_comes_to_its_end(
    opened, origin, write_type, call, when
):
    def once():
        del getattr(origin, when)[call]
        raise Unavailable("just now")

    getattr(origin, when)[call] = once
    upload = both_parts(opened, write_type)
    try:
        upload.complete(1, 2)
    except ServiceUnavailable:
        upload.complete(1, 2)
    if (call, when) == ("begin", "after"):
        assert origin.uploads.pop("t1"), "one that nobody knows"
    is_whole(opened, origin)


@each_type
def test_parts_and_completions_at_once_make_what_the_answers_say(
    opened, opening, origin, write_type
):
    places = [opened, opening()]
    chance = random.Random(write_type)
    for name in ("part 1", "part 2", "complete"):
        origin.before[name] = origin.after[name] = lambda: time.sleep(chance.random() / 300)
    for turn in range(12):
        upload = Upload(opened, write_type)
        for number in (1, 2):
            upload.part(number, piece(number))

        def work(n, upload=upload, turn=turn):
            here = upload.of(places[n % 2])
            try:
                if n % 3 == 2:
                    return here.complete(1, 2).record.etag
                here.part(n % 3 + 1, piece(f"{turn} {n}"))
            except (NoSuchUpload, ServiceUnavailable):
                return None
            return None

        with ThreadPoolExecutor(9) as pool:
            answers = set(pool.map(work, range(9))) - {None}
        found = opened.get("key")
        hashes = b"".join(hashlib.md5(part).digest() for part in (found[:150], found[150:]))
        etag = f"{hashlib.md5(hashes).hexdigest()}-2"
        assert answers == {etag}
        assert opened.head("key").etag == etag == origin.head("bucket/key").etag
    assert origin.calls.count("put") == 0
    opened.forebay.housekeeping.sweep_orphans()
    assert opened.leavings() == {}
    assert origin.uploads == {}
