"""Processes die at every point of a write, delete or persist; the next start settles it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.objects import recovery, uploads
from forebay.objects.recovery import mount_generation
from forebay.objects.uploads import CompletedPart
from forebay.testing.faults import UnderStoreLayer
from forebay.testing.in_parts import TakesParts
from forebay.testing.opened import Content, OpenedForebay, content_of
from forebay.types import DeleteType, PersistState, WriteType

pytestmark = pytest.mark.parametrize("root", ["file"], indirect=True)

SIZE = 30_000
OLD, NEW = content_of("old", SIZE), content_of("new", SIZE)

VICTIMS = """
import json, os, signal, sys
from pathlib import Path

from forebay.config import Config
import msgspec
from forebay.objects import copies, uploads
from forebay.objects.copies import Target
from forebay.objects.uploads import CompletedPart
from forebay.testing.faults import CRASH, Around, UnderStoreLayer, crash_points
from forebay.testing.in_parts import TakesParts
from forebay.testing.opened import Content, OpenedForebay, content_of
from forebay.types import Attributes, DeleteType, WriteType

uploads.SMALLEST_PART = copies.AT_STORE = 1


class Copying(Around):
    def copy(self, source, target, *, attributes, if_match):
        with self.inner.open(source, if_match=if_match) as reader:
            return self.inner.put(target, reader, size=None, attributes=attributes)


def act(order, opened):
    os.environ[CRASH] = order["point"]
    new = content_of("new", 30_000)
    match order["does"]:
        case "put":
            opened.put("key", new, WriteType(order["type"]))
        case "parts" | "upload":
            made = opened.forebay.uploads.create(
                opened.bucket, "key", attributes=Attributes(), owner=None,
                requested=WriteType(order["type"]),
            ).upload_id
            for number, part in ((1, new[:10_000]), (2, new[10_000:])):
                opened.forebay.uploads.put_part(
                    opened.bucket, "key", made, number, Content(part)
                )
            opened.forebay.uploads.complete(
                opened.bucket, "key", made, [CompletedPart(1), CompletedPart(2)]
            )
        case "copy":
            opened.forebay.copies.copy(
                opened.bucket, "source", lambda record: None,
                Target(opened.bucket, "key", lambda record: Attributes(
                    record.headers, record.metadata, record.tags
                ), "copier", requested=WriteType(order["type"])),
            )
        case "delete":
            opened.forebay.deletes.delete(
                opened.bucket, "key", requested=DeleteType(order["type"])
            )
        case "persist":
            opened.persist()
        case "clean":
            opened.clean()
    Path(order["acknowledged"]).touch()


for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(60)
        layers = [UnderStoreLayer(Copying), *crash_points()]
        if order["does"] == "upload":
            place = Path(order["config"]["state"], "parts")
            layers.insert(0, UnderStoreLayer(lambda store: TakesParts(store, place)))
        with OpenedForebay(msgspec.convert(order["config"], Config), layers) as opened:
            act(order, opened)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """A program that forks a victim for each order, as starting one takes longer than its life."""
    path = tmp_path_factory.mktemp("victim") / "victims.py"
    path.write_text(VICTIMS)
    paths = [str(Path(__file__).parents[3] / source) for source in ("core", "plugins")]
    with subprocess.Popen(
        [sys.executable, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    ) as program:
        yield program


def run(victim, config, does, kind, point):
    """Let a process do something until it dies at a point; tell whether it did, and was done."""
    import msgspec

    acknowledged = Path(config.state, "acknowledged")
    order = {"config": msgspec.to_builtins(config), "does": does, "type": kind, "point": point}
    victim.stdin.write(json.dumps(order | {"acknowledged": str(acknowledged)}) + "\n")
    victim.stdin.flush()
    code = int(victim.stdout.readline())
    assert code in (0, -signal.SIGKILL)
    done = acknowledged.exists()
    acknowledged.unlink(missing_ok=True)
    return code != 0, done


UNDER = ["under.put.before.1", "under.put.middle.1", "under.put.after.1"]
WRITES = [f"metadata.write.{when}.{n}" for n in (1, 2) for when in ("before", "after")]
SHELVES = ["pages.writer.before.1", "pages.writer.after.1"]
CASES = [
    *[("put", WriteType.THROUGH, point) for point in UNDER + WRITES],
    *[("put", WriteType.MUST_CACHE, point) for point in SHELVES + WRITES[:2]],
    *[("put", WriteType.ASYNC_THROUGH, point) for point in WRITES[:2]],
    *[("parts", WriteType.CACHE_THROUGH, f"metadata.write.after.{n}") for n in range(1, 6)],
    *[("parts", WriteType.MUST_CACHE, f"metadata.write.after.{n}") for n in range(1, 5)],
    ("parts", WriteType.CACHE_THROUGH, "under.put.after.1"),
    *[
        ("delete", DeleteType.ALLUXIO_AND_UFS, point)
        for point in ["under.delete.before.1", "under.delete.after.1", *WRITES]
    ],
    *[("delete", DeleteType.ALLUXIO_ONLY, point) for point in WRITES[:2]],
]


@pytest.mark.parametrize(("does", "kind", "point"), CASES)
def test_a_death_leaves_the_old_object_or_the_new_one(
    opened, make_config, victim, does, kind, point
):
    opened.put("key", OLD, WriteType.THROUGH)
    opened.forebay.close()
    died, acknowledged = run(victim, make_config(), does, kind, point)
    assert died, f"{point} was never reached"
    assert not acknowledged
    with OpenedForebay(make_config()) as again:
        assert again.forebay.recovered.unsettled == 0
        found = again.get("key")
        wanted = [OLD, None] if does == "delete" else [OLD, NEW]
        assert found in wanted
        assert again.listed() == ({} if found is None else {"key": SIZE})
        record = again.head("key")
        if found is not None and does != "parts":
            assert record.etag == hashlib.md5(found).hexdigest()
            assert record.metadata == {"made-by": "matrix"}
        again.forebay.uploads.expire(-1)
        again.forebay.housekeeping.sweep_orphans()
        again.persist()
        assert again.get("key") == found
        assert again.leavings() == {}
        again.put("key", OLD, WriteType.CACHE_THROUGH)
        assert again.get("key") == OLD


COPIES = ["under.copy.before.1", "under.copy.after.1", WRITES[0], WRITES[3]]


@pytest.mark.parametrize("point", COPIES)
def test_a_death_while_the_store_copies_leaves_the_old_object_or_the_copy(
    opened, make_config, victim, point
):
    opened.put("source", NEW, WriteType.THROUGH)
    opened.put("key", OLD, WriteType.THROUGH)
    opened.forebay.close()
    died, acknowledged = run(victim, make_config(), "copy", WriteType.THROUGH, point)
    assert died, f"{point} was never reached"
    assert not acknowledged
    published = point in ("under.copy.after.1", WRITES[3])
    with OpenedForebay(make_config()) as again:
        assert again.forebay.recovered.unsettled == 0
        assert again.get("key") == (NEW if published else OLD)
        record = again.head("key")
        assert record.etag == hashlib.md5(NEW if published else OLD).hexdigest()
        assert (record.owner, record.metadata) == (
            "copier" if published else "tester",
            {"made-by": "matrix"},
        )
        assert again.get("source") == NEW
        assert again.listed() == {"key": SIZE, "source": SIZE}
        assert again.leavings() == {}


UPLOADS = [
    "under.begin_upload.after.1",
    *[f"metadata.write.after.{n}" for n in range(1, 8)],
    "pages.commit.after.2",
    "under.put_part.after.2",
    "under.complete_upload.before.1",
    "under.complete_upload.after.1",
]


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        *[(WriteType.THROUGH, point) for point in UPLOADS],
        *[(WriteType.CACHE_THROUGH, point) for point in UPLOADS[-2:]],
    ],
)
def test_an_upload_whose_parts_the_store_takes_is_gone_on_with_after_a_death(
    opened, make_config, victim, monkeypatch, kind, point
):
    monkeypatch.setattr(uploads, "SMALLEST_PART", 1)
    opened.put("key", OLD, WriteType.THROUGH)
    opened.forebay.close()
    died, acknowledged = run(victim, make_config(), "upload", kind, point)
    assert died, f"{point} was never reached"
    assert not acknowledged
    place = Path(make_config().state, "parts")
    layer = UnderStoreLayer(lambda store: TakesParts(store, place))
    with OpenedForebay(make_config(), [layer]) as again:
        known = again.forebay.uploads.list(again.bucket, limit=10).entries
        assert again.get("key") == (OLD if UPLOADS.index(point) not in (7, 11) else NEW)
        if known:
            go_on_with(again, known[0].upload_id)
            assert again.get("key") == NEW
            assert again.head("key").etag.endswith("-2")
        again.forebay.uploads.expire(-1)
        again.forebay.housekeeping.sweep_orphans()
        assert again.leavings() == {}
        # Between the store's beginning and ours nobody knows that there is an upload.
        assert layer.stores[0].under_way() == (UPLOADS.index(point) == 0)


def go_on_with(again, upload_id):
    """Do what a client does that got no answer: send the parts that are missing, and complete."""
    uploads, bucket = again.forebay.uploads, again.bucket
    there = {part.number for part in uploads.parts(bucket, "key", upload_id, limit=10)[1]}
    for number, piece in ((1, NEW[:10_000]), (2, NEW[10_000:])):
        if number not in there:
            uploads.put_part(bucket, "key", upload_id, number, Content(piece))
    uploads.complete(bucket, "key", upload_id, [CompletedPart(1), CompletedPart(2)])


POINTS = [
    *UNDER,
    *[f"metadata.write.{when}.{n}" for n in (1, 2, 3) for when in ("before", "after")],
]


@pytest.mark.parametrize("point", POINTS)
def test_a_death_while_persisting_loses_nothing_and_the_job_goes_on(
    opened, make_config, victim, point
):
    opened.put("key", NEW, WriteType.ASYNC_THROUGH)
    opened.forebay.close()
    died, acknowledged = run(victim, make_config(), "persist", "", point)
    assert died
    assert not acknowledged
    with OpenedForebay(make_config()) as again:
        assert again.get("key") == NEW
        again.persist()
        assert again.head("key").state is PersistState.PERSISTED
        assert again.head("key").etag == hashlib.md5(NEW).hexdigest()
        assert again.forebay.persist.backlog().objects == 0
        assert again.held(b"e") == []
        assert again.leavings() == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_death_while_cleaning_is_made_up_for(opened, make_config, victim, when, number):
    opened.put("key", OLD, WriteType.MUST_CACHE)
    opened.put("key", NEW, WriteType.MUST_CACHE)
    opened.forebay.close()
    died, _ = run(victim, make_config(), "clean", "", f"metadata.write.{when}.{number}")
    assert died
    with OpenedForebay(make_config()) as again:
        assert again.get("key") == NEW
        assert again.leavings() == {}
        assert [size for _, _, size in again.forebay.cache.segments()] == [SIZE]


def test_a_store_that_is_silent_at_the_start_holds_only_its_key(
    opened, make_config, victim, monkeypatch
):
    opened.put("key", OLD, WriteType.THROUGH)
    opened.put("other", OLD, WriteType.MUST_CACHE)
    opened.forebay.close()
    assert run(victim, make_config(), "put", WriteType.THROUGH, "under.put.after.1") == (
        True,
        False,
    )

    from forebay.errors import Unavailable
    from forebay.testing.faults import FailNth

    layer = UnderStoreLayer(lambda store: FailNth(store, "head", 1, Unavailable))
    with OpenedForebay(make_config(), [layer]) as again:
        assert again.forebay.recovered.unsettled == 1
        assert again.get("other") == OLD
        assert again.get("key") == NEW
        assert again.leavings() == {}


def test_a_start_does_not_wait_for_ever(opened, make_config, victim, monkeypatch):
    opened.forebay.close()
    assert run(victim, make_config(), "put", WriteType.THROUGH, "under.put.after.1") == (
        True,
        False,
    )
    monkeypatch.setattr(recovery, "PATIENCE", -1.0)
    with OpenedForebay(make_config()) as again:
        assert again.forebay.recovered.unsettled == 1
        assert again.get("key") == NEW
        assert again.leavings() == {}


def test_a_mount_is_another_generation_where_it_points_elsewhere_or_forgets(opened):
    def generation(path, uri, persistent):
        return opened.forebay.catalog.write(lambda tx: mount_generation(path, uri, persistent, tx))

    first = generation("/new", "file:///a", True)
    assert generation("/new", "file:///a", True) == first
    second = generation("/new", "file:///b", True)
    assert second > first
    assert generation("/new", "file:///b", False) > second
