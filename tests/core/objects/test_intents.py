import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.catalog import keys
from forebay.catalog.records import Record, Whiteout, encode
from forebay.config import MountConfig
from forebay.errors import (
    BodyError,
    ConditionalRequestConflict,
    ConditionFailed,
    NoSuchKey,
    ServiceUnavailable,
    SlowDown,
    StorageError,
)
from forebay.objects import intents
from forebay.objects.intents import Gate, check_conditions
from forebay.streams import BytesReader, ChunksReader
from forebay.testing.faults import HangingUnderStore, SilentUnderStore, UnderStoreLayer
from forebay.testing.opened import Content, content_of
from forebay.types import Attributes, DeleteType, PersistState, WriteConditions, WriteType

THROUGH = [WriteType.CACHE_THROUGH, WriteType.THROUGH]
both = pytest.mark.parametrize("root", ["memory", "file"], indirect=True)
chunked = st.lists(st.binary(min_size=1, max_size=9), max_size=6)
sizes = st.lists(st.integers(1, 12), min_size=1, max_size=20)


class Hanging:
    """A Forebay in which a put hangs with its intent taken and nothing published."""

    def __init__(self, open_forebay):
        self.release = threading.Event()
        self.layer = UnderStoreLayer(lambda store: HangingUnderStore(store, self.release, "middle"))
        self.opened = open_forebay(plugins=[self.layer])
        self.pool = ThreadPoolExecutor(8)

    def __enter__(self):
        self.layer.stores[0].armed = False
        self.opened.forebay.buckets.create("bucket", "tester")
        return self

    def put(self, content, write_type=WriteType.THROUGH):
        store = self.layer.stores[0]
        store.armed = True
        future = self.pool.submit(self.opened.put, "key", content, write_type)
        assert store.entered.wait(10)
        return future

    def __exit__(self, *_):
        self.release.set()
        self.pool.shutdown()


# --- the gate ---------------------------------------------------------------------------


@given(chunked, sizes)
def test_a_gate_gives_every_byte_and_the_last_one_only_after_it_was_passed(chunks, wanted):
    whole = b"".join(chunks)
    passed_at = []
    got = b""
    gate = Gate(ChunksReader(iter(chunks)), lambda: passed_at.append(len(got)))
    turn = 0
    while True:
        block = gate.read(wanted[turn % len(wanted)])
        turn += 1
        assert len(block) <= max(wanted)
        if not block:
            break
        got += block
        assert len(got) < len(whole) or passed_at
    assert got == whole
    assert len(passed_at) == 1
    assert passed_at[0] < len(whole) or not whole


@given(st.binary(max_size=40), sizes)
def test_a_bad_body_never_passes_the_gate(content, wanted):
    passed = []
    gate = Gate(Content(content, "digest"), lambda: passed.append(True))
    got = b""

    def read_all():
        nonlocal got
        for turn in range(100):
            got += gate.read(wanted[turn % len(wanted)])

    with pytest.raises(BodyError):
        read_all()
    assert passed == []
    assert len(got) < len(content) or not content


def test_what_the_gate_refuses_is_never_whole():
    def refuse():
        raise ConditionFailed

    gate = Gate(BytesReader(b"abc"), refuse)
    with pytest.raises(ConditionFailed):
        gate.read(10)


# --- conditions -------------------------------------------------------------------------

THERE = Record("id", 1, 3, "etag", 0, PersistState.PERSISTED, 1)


@pytest.mark.parametrize(
    ("conditions", "current", "refusal"),
    [
        (WriteConditions(), None, None),
        (WriteConditions(), THERE, None),
        (WriteConditions(if_none_match="*"), None, None),
        (WriteConditions(if_none_match="*"), THERE, ConditionFailed),
        (WriteConditions(if_match="etag"), THERE, None),
        (WriteConditions(if_match="*"), THERE, None),
        (WriteConditions(if_match="other"), THERE, ConditionFailed),
        (WriteConditions(if_match="etag"), None, NoSuchKey),
        (WriteConditions(if_match="*"), None, NoSuchKey),
    ],
)
def test_conditions_are_decided_as_s3_does(conditions, current, refusal):
    if refusal is None:
        check_conditions(conditions, current)
    else:
        with pytest.raises(refusal):
            check_conditions(conditions, current)


@both
@pytest.mark.parametrize("write_type", list(WriteType))
def test_of_a_hundred_creators_exactly_one_wins(opened, write_type):
    def create(number):
        try:
            opened.forebay.writes.put(
                opened.bucket,
                "key",
                Content(content_of(str(number), 300)),
                attributes=Attributes(),
                owner=None,
                requested=write_type,
                conditions=WriteConditions(if_none_match="*"),
            )
        except (ConditionFailed, ConditionalRequestConflict):
            return None
        return number

    with ThreadPoolExecutor(100) as pool:
        won = [number for number in pool.map(create, range(100)) if number is not None]
    assert len(won) == 1
    assert opened.get("key") == content_of(str(won[0]), 300)
    assert opened.leavings() == {}


@both
@pytest.mark.parametrize("write_type", list(WriteType))
def test_a_counter_by_if_match_loses_no_step(opened, write_type):
    opened.put("key", b"0", write_type)

    def count(_):
        steps = 0
        for _ in range(30):
            with opened.forebay.reads.get(opened.bucket, "key", lambda _: None) as found:
                number, etag = int(found.read(100)), found.record.etag
            try:
                opened.forebay.writes.put(
                    opened.bucket,
                    "key",
                    Content(str(number + 1).encode()),
                    attributes=Attributes(),
                    owner=None,
                    requested=write_type,
                    conditions=WriteConditions(if_match=etag),
                )
            except (ConditionFailed, ConditionalRequestConflict):
                continue
            steps += 1
        return steps

    with ThreadPoolExecutor(4) as pool:
        steps = sum(pool.map(count, range(4)))
    assert opened.get("key") == str(steps).encode()
    assert steps > 0


# --- one order --------------------------------------------------------------------------


@both
@pytest.mark.parametrize("write_type", THROUGH)
def test_writers_of_one_key_take_turns(opened, write_type):
    def write(number):
        return opened.put("key", content_of(str(number), 500), write_type).record

    with ThreadPoolExecutor(16) as pool:
        records = list(pool.map(write, range(60)))
    last = max(records, key=lambda record: record.seq)
    with opened.raw.open("bucket/key") as reader:
        in_store = reader.read(1 << 20)
    assert hashlib.md5(in_store).hexdigest() == last.etag
    assert opened.get("key") == in_store
    assert opened.leavings() == {}


@both
def test_writers_of_all_types_and_deleters_leave_one_truth(opened):
    def work(number):
        kind = number % 6
        if kind < 4:
            opened.put("key", content_of(str(number), 20_000), list(WriteType)[kind])
        else:
            delete_type = list(DeleteType)[kind - 4]
            opened.forebay.deletes.delete(opened.bucket, "key", requested=delete_type)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(120)))
    opened.persist()
    record, content = opened.head("key"), opened.get("key")
    assert opened.listed() == ({} if record is None else {"key": 20_000})
    if record is not None:
        assert hashlib.md5(content).hexdigest() == record.etag
    assert opened.leavings() == {}


def test_while_a_write_is_under_way_the_old_object_is_seen(open_forebay):
    with Hanging(open_forebay) as hanging:
        opened = hanging.opened
        opened.put("key", b"old", WriteType.THROUGH)
        writing = hanging.put(b"new")
        assert opened.get("key") == b"old"
        assert opened.listed() == {"key": 3}
        hanging.release.set()
        writing.result(10)
        assert opened.get("key") == b"new"


def test_a_conditional_write_conflicts_with_a_write_under_way(open_forebay):
    with Hanging(open_forebay) as hanging:
        opened = hanging.opened
        writing = hanging.put(b"new")
        for write_type in WriteType:
            with pytest.raises(ConditionalRequestConflict):
                opened.forebay.writes.put(
                    opened.bucket,
                    "key",
                    Content(b"other"),
                    attributes=Attributes(),
                    owner=None,
                    requested=write_type,
                    conditions=WriteConditions(if_none_match="*"),
                )
        hanging.release.set()
        writing.result(10)
        assert opened.get("key") == b"new"


@pytest.mark.parametrize("write_type", [WriteType.MUST_CACHE, WriteType.ASYNC_THROUGH])
def test_what_only_the_cache_holds_overtakes_a_write_under_way(open_forebay, write_type):
    with Hanging(open_forebay) as hanging:
        opened = hanging.opened
        writing = hanging.put(b"slow", WriteType.CACHE_THROUGH)
        opened.put("key", b"later", write_type)
        hanging.release.set()
        writing.result(10)
        assert opened.get("key") == b"later"
        opened.persist()
        assert opened.get("key") == b"later"
        assert opened.leavings() == {}


def test_a_delete_that_keeps_the_store_stands_over_a_write_under_way(open_forebay):
    with Hanging(open_forebay) as hanging:
        opened = hanging.opened
        opened.put("key", b"old", WriteType.THROUGH)
        writing = hanging.put(b"slow", WriteType.CACHE_THROUGH)
        opened.forebay.deletes.delete(opened.bucket, "key", requested=DeleteType.ALLUXIO_ONLY)
        hanging.release.set()
        writing.result(10)
        assert opened.get("key") is None
        assert opened.listed() == {}
        assert opened.leavings() == {}
        assert list(opened.forebay.cache.segments()) == []


def test_an_unconditional_write_gives_up_in_the_end(open_forebay, monkeypatch):
    monkeypatch.setattr(intents, "PATIENCE", 0.1)
    with Hanging(open_forebay) as hanging:
        writing = hanging.put(b"slow")
        with pytest.raises(SlowDown):
            hanging.opened.put("key", b"impatient", WriteType.THROUGH)
        hanging.release.set()
        writing.result(10)
        assert hanging.opened.get("key") == b"slow"


# --- writes that failed -----------------------------------------------------------------


class Silent:
    """Forebays of one namespace whose mount ``/bucket/q`` can go silent."""

    def __init__(self, open_forebay, tmp_path):
        self._open = open_forebay
        (tmp_path / "q").mkdir()
        self._mount = MountConfig("/bucket/q", (tmp_path / "q").as_uri())
        self._root = MountConfig("/", (tmp_path / "root").as_uri())
        self._stores = []

    def open(self):
        layer = UnderStoreLayer(SilentUnderStore)
        mounts = {"/": self._root, "/bucket/q": self._mount}
        opened = self._open(plugins=[layer], mounts=mounts)
        self._stores.append(layer.stores[1])
        return opened

    def down(self, down):
        for store in self._stores:
            store.down = down


def refused_at_once(work):
    began = time.monotonic()
    with pytest.raises(ServiceUnavailable, match="the under store of /bucket/q is down"):
        work()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("root", ["file"], indirect=True)
@pytest.mark.parametrize("there", [True, False], ids=["over an object", "new"])
@pytest.mark.parametrize("who", ["same process", "another process"])
def test_a_held_key_refuses_at_once_while_its_store_is_down(open_forebay, tmp_path, who, there):
    silent = Silent(open_forebay, tmp_path)
    opened = silent.open()
    if there:
        opened.put("q/key", b"old", WriteType.THROUGH)
    other = opened if who == "same process" else silent.open()
    silent.down(True)
    with pytest.raises(ServiceUnavailable):
        opened.put("q/key", b"new", WriteType.THROUGH)
    assert len(opened.held(keys.INTENTS)) == 1
    refused_at_once(lambda: other.put("q/key", b"newer", WriteType.CACHE_THROUGH))
    refused_at_once(lambda: other.forebay.deletes.delete(other.bucket, "q/key"))
    other.put("healthy", b"x", WriteType.THROUGH)
    silent.down(False)
    other.put("q/key", b"newest", WriteType.THROUGH)
    assert other.get("q/key") == b"newest"
    other.forebay.deletes.delete(other.bucket, "q/key")
    assert other.get("q/key") is None
    assert opened.leavings() == {}


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_a_delete_takes_what_a_failed_write_published_after_all(open_forebay, opened):
    intent = take(opened, b"new")
    publish(opened, b"new")
    intents.leave(opened.forebay._shared, opened.bucket, "key", intent)
    other = open_forebay()
    other.forebay.deletes.delete(other.bucket, "key")
    assert opened.leavings() == {}
    assert opened.get("key") is None
    assert opened.listed() == {}


def test_an_intent_that_the_catalog_cannot_mark_is_known_to_its_own_process(opened, monkeypatch):
    shared = opened.forebay._shared
    intent = take(opened, b"new")

    def fail(*args, **options):
        raise StorageError("the catalog is gone")

    with monkeypatch.context() as patch:
        patch.setattr(shared.catalog, "write", fail)
        intents.leave(shared, opened.bucket, "key", intent)
    opened.put("key", b"newest", WriteType.THROUGH)
    assert opened.get("key") == b"newest"
    assert opened.leavings() == {}


# --- dead owners ------------------------------------------------------------------------


def take(opened, content):
    """Take an intent of `opened` and leave it, as a process does that dies there."""
    mount = opened.forebay.mounts.root
    record = Record(
        object_id="0" * 32,
        seq=0,
        size=len(content),
        etag=hashlib.md5(content).hexdigest(),
        modified=1,
        state=PersistState.PERSISTED,
        generation=mount.generation,
        metadata={"made": "by-us"},
    )
    return intents.take(
        opened.forebay.writes._shared,
        opened.bucket,
        "key",
        mount=mount,
        conditions=WriteConditions(),
        prepare=lambda tx, seq, current: record,
    )


def publish(opened, content):
    opened.raw.put("bucket/key", BytesReader(content), size=len(content), attributes=Attributes())


@pytest.mark.parametrize("root", ["file"], indirect=True)
@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("who", ["looker", "writer", "deleter", "recovery"])
def test_whoever_meets_the_intent_of_a_dead_process_settles_it(
    open_forebay, opened, published, who
):
    opened.put("key", b"old", WriteType.THROUGH)
    take(opened, b"new")
    if published:
        publish(opened, b"new")
    other = open_forebay() if who != "recovery" else None
    opened.forebay._shared.owner.close()
    other = other or open_forebay()
    expected = b"new" if published else b"old"
    if who in ("looker", "recovery"):
        assert other.head("key").size == 3
        assert other.get("key") == expected
        assert other.head("key").metadata == (
            {"made": "by-us"} if published else {"made-by": "matrix"}
        )
    elif who == "writer":
        other.put("key", b"newest", WriteType.THROUGH)
        assert other.get("key") == b"newest"
    else:
        other.forebay.deletes.delete(other.bucket, "key")
        assert other.get("key") is None
    assert other.leavings() == {}


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_a_dead_write_is_not_taken_for_another_of_the_same_size(open_forebay, opened):
    opened.put("key", b"old", WriteType.THROUGH)
    take(opened, b"new")
    publish(opened, b"xyz")
    opened.forebay._shared.owner.close()
    other = open_forebay()
    assert other.get("key") == b"xyz"
    assert other.head("key").metadata == {}


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_a_dead_write_does_not_bring_back_what_was_deleted_meanwhile(open_forebay, opened):
    opened.put("key", b"old", WriteType.THROUGH)
    take(opened, b"new")
    opened.forebay.deletes.delete(opened.bucket, "key", requested=DeleteType.ALLUXIO_ONLY)
    publish(opened, b"new")
    opened.forebay._shared.owner.close()
    other = open_forebay()
    assert other.get("key") is None
    assert other.listed() == {}
    assert other.get("key") is None


def test_settling_twice_changes_nothing(opened):
    intent = take(opened, b"new")
    publish(opened, b"new")
    shared = opened.forebay._shared
    intents.settle(shared, opened.bucket, "key", intent)
    opened.put("key", b"newest", WriteType.THROUGH)
    intents.settle(shared, opened.bucket, "key", intent)
    assert opened.get("key") == b"newest"


def test_an_intent_settled_by_somebody_else_is_no_commit(opened):
    intent, bucket = take(opened, b"new"), opened.bucket
    shared = opened.forebay._shared
    shared.catalog.write(lambda tx: intents.drop(tx, bucket.id, "key", intent))
    with pytest.raises(StorageError):
        intents.commit_published(
            shared, bucket, "key", intent, intent.record, mount=shared.mounts.root
        )
    assert opened.head("key") is None


def test_a_whiteout_follows_what_a_write_under_way_leaves(opened):
    shared = opened.forebay._shared
    intent = take(opened, b"new")
    row = keys.whiteout_row("bucket", "key")
    mount = opened.forebay.mounts.root
    shared.catalog.write(
        lambda tx: tx.put(row, encode(Whiteout(intent.seq + 1, None, mount.generation)))
    )
    publish(opened, b"new")
    intents.settle(shared, opened.bucket, "key", intent)
    assert opened.get("key") is None
    assert opened.listed() == {}
