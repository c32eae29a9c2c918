"""Mounts that come and go while requests are served."""

from __future__ import annotations

import gc
import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from functools import partial

import pytest

from forebay.catalog import keys
from forebay.config import MountConfig
from forebay.errors import (
    ConfigurationError,
    MountBusy,
    NoSuchBucket,
    ServiceUnavailable,
    Unavailable,
)
from forebay.hookspecs import hookimpl
from forebay.objects import mount_table, mounting, opening
from forebay.objects.intents import settle, take
from forebay.objects.sync import look
from forebay.objects.write import UNCONDITIONAL
from forebay.runtime import Forebay
from forebay.streams import BLOCK
from forebay.testing.opened import Content
from forebay.types import Attributes, WriteType
from forebay_local.under import LocalUnderStore

pytestmark = pytest.mark.parametrize("root", ["file"], indirect=True)

LONG = 60.0  # for a loaded machine; nothing waits for so long when all is well


class Flaky:
    """Makes stores for ``flaky:///path``: a directory, while it is not down."""

    def __init__(self):
        self.down = False
        self.opened, self.closed = 0, 0

    @hookimpl
    def under_store_factory(self, scheme):
        return self.make if scheme == "flaky" else None

    def make(self, uri, options):
        if self.down:
            raise Unavailable("no route to the store")
        if "colour" in options:
            raise ConfigurationError("'colour' is no option of a flaky:// store")
        known = {name: options[name] for name in options if name != "secret"}
        store = LocalUnderStore.from_uri(uri.replace("flaky:", "file:"), known)
        self.opened += 1
        close = store.close

        def count():
            self.closed += 1
            close()

        store.close = count
        return store


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(opening, "FIRST_PAUSE", 0.01)


@pytest.fixture
def flaky():
    return Flaky()


@pytest.fixture
def other(tmp_path):
    """A directory beside the root, to be mounted."""
    directory = tmp_path / "other"
    directory.mkdir()
    (directory / "there").write_bytes(b"there")
    return directory


@pytest.fixture
def open_started(make_config, flaky):
    """Open a Forebay of one catalog and start it; keyword arguments are fields of `Config`."""
    with ExitStack() as stack:

        def open_started(start=True, **overrides):
            forebay = Forebay(make_config(**overrides), plugins=[flaky])
            stack.callback(forebay.close)
            if start:
                forebay.start()
            return forebay

        yield open_started


@pytest.fixture
def forebay(open_started):
    forebay = open_started()
    forebay.buckets.create("bucket", "tester")
    return forebay


def put(forebay, bucket, key, content, write_type=None):
    return forebay.writes.put(
        forebay.buckets.get(bucket),
        key,
        Content(content),
        attributes=Attributes(),
        owner="tester",
        requested=write_type,
    ).record


def get(forebay, bucket, key):
    with forebay.reads.get(forebay.buckets.get(bucket), key, lambda _: None) as opened:
        return b"".join(iter(lambda: opened.read(BLOCK), b""))


def listed(forebay, bucket, **query):
    entries = forebay.listings.objects(forebay.buckets.get(bucket), **query).entries
    return [getattr(entry, "key", None) or entry.prefix for entry in entries]


def buckets(forebay):
    return [bucket.name for bucket in forebay.buckets.list("tester", limit=100)[0]]


def until(true):
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.01)


def held(forebay, kind):
    return forebay.catalog.read(lambda s: [row for row, _ in s.scan(kind, kind + b"\xff")])


# --- mounting -----------------------------------------------------------------------------


def test_a_mount_is_there_at_once_and_after_a_restart(forebay, open_started, other):
    change = forebay.mounting.mount("/raw", {"under": str(other), "write_type": "THROUGH"})
    assert (change.path, change.behind) == ("/raw", ())
    assert get(forebay, "raw", "there") == b"there"
    assert buckets(forebay) == ["bucket", "raw"]
    put(forebay, "raw", "new/key", b"new")
    assert (other / "new/key").read_bytes() == b"new"
    etag = forebay.reads.head(forebay.buckets.get("raw"), "new/key").etag
    forebay.close()
    again = open_started()
    assert listed(again, "raw") == ["new/key", "there"]
    assert again.reads.head(again.buckets.get("raw"), "new/key").etag == etag
    state = {state.config.path: state for state in again.mounting.list()}
    assert [*state] == ["/", "/raw"]
    assert (state["/"].configured, state["/raw"].configured) == (True, False)
    assert state["/raw"].config.write_type is WriteType.THROUGH
    assert state["/raw"].shown()["reachable"] is True


def test_every_process_has_a_mount_when_mount_returns(forebay, open_started, other):
    second = open_started()
    assert forebay.mounting.mount("/raw", {"under": str(other)}, wait=LONG).behind == ()
    assert get(second, "raw", "there") == b"there"
    assert second.mounting.unmount("/raw", wait=LONG).behind == ()
    with pytest.raises(NoSuchBucket):
        forebay.buckets.get("raw")


def test_a_process_that_does_not_take_note_is_named(forebay, open_started, other):
    second = open_started()
    with second._table._refreshing:
        (name,) = forebay.mounting.mount("/raw", {"under": str(other)}, wait=0.05).behind
    assert "pid" in name
    until(lambda: "raw" in second.mounts.buckets())
    second.close()
    assert forebay.mounting.unmount("/raw", wait=LONG).behind == ()


def test_a_process_that_died_is_not_waited_for(forebay, open_started, other):
    second = open_started()
    row = keys.seen_row(second._shared.owner.number)
    seen = forebay.catalog.read(lambda s: s.get(row))
    second.close()
    forebay.catalog.write(lambda tx: tx.put(row, seen))
    assert forebay.mounting.mount("/raw", {"under": str(other)}, wait=LONG).behind == ()


@pytest.mark.parametrize(
    ("path", "table", "fault"),
    [
        ("/raw", {"under": "o", "write_typ": "THROUGH"}, r"write_typ: unknown key.*write_type\?"),
        ("/raw", {"under": "o", "write_type": "THRU"}, r"did you mean THROUGH\?"),
        ("/raw", {"under": "fiel:///o"}, r"no plugin makes an under store.*file"),
        ("/raw", {"under": ".", "options": {"colour": 1}}, "colour"),
        ("/raw", {"under": "o", "options": {"k": {"env": "NOT_SET_AT_ALL"}}}, "NOT_SET_AT_ALL"),
        ("/raw", {}, r"mounts\./raw\.under: must be given"),
        ("/raw", {"under": "o", "read_only": object()}, "read_only"),
        ("/", {"under": "o"}, "the root mount is part of the configuration"),
        ("/-/x", {"under": "o"}, "Forebay's own"),
        ("/a/../b", {"under": "o"}, "no empty name"),
        ("/raw", {"under": ".", "plugin": "fsspek"}, "no plugin is called fsspek"),
    ],
)
def test_a_mount_is_held_to_the_rules_of_the_configuration(forebay, path, table, fault):
    with pytest.raises(ConfigurationError, match=fault):
        forebay.mounting.mount(path, table)
    assert held(forebay, keys.MOUNTED) == []
    assert [mount.config.path for mount in forebay.mounts] == ["/"]


def test_a_directory_that_is_not_there_is_not_made(forebay, tmp_path):
    (tmp_path / "a file").write_bytes(b"")
    for name in ("misspelt/deep", "a file"):
        with pytest.raises(ConfigurationError, match="is no directory of the server's machine"):
            forebay.mounting.mount("/raw", {"under": str(tmp_path / name)})
    assert not (tmp_path / "misspelt").exists()
    (tmp_path / "día 1").mkdir()
    forebay.mounting.mount("/raw", {"under": str(tmp_path / "día 1")})


def test_a_path_is_taken_once(forebay, other):
    forebay.mounting.mount("/raw", {"under": str(other)})
    with pytest.raises(ConfigurationError, match="/raw is mounted already"):
        forebay.mounting.mount("/raw/", {"under": str(other)})


def test_a_store_that_is_not_there_is_not_mounted(forebay, flaky, other, tmp_path):
    flaky.down = True
    with pytest.raises(Unavailable, match="no route"):
        forebay.mounting.mount("/raw", {"under": f"flaky://{other}"})
    assert held(forebay, keys.MOUNTED) == []
    flaky.down = False
    with pytest.raises(ConfigurationError):
        forebay.mounting.mount("/raw", {"under": f"flaky://{other}", "options": {"colour": 1}})
    forebay.mounting.mount("/raw", {"under": f"flaky://{other}"})
    assert (flaky.opened, flaky.closed) == (1, 0)


def test_a_store_that_one_process_sees_is_refused_where_several_serve(forebay, open_started):
    second = open_started()
    with pytest.raises(ConfigurationError, match="one process only, and 2 serve"):
        forebay.mounting.mount("/scratch", {"under": "memory://"})
    second.close()
    forebay.mounting.mount("/scratch", {"under": "memory://"})
    put(forebay, "scratch", "key", b"bytes")
    assert "mounts./scratch" in forebay.private
    forebay.close()
    again = open_started()
    assert listed(again, "scratch") == []


def test_relative_paths_begin_where_the_operator_is(forebay, other, tmp_path):
    (tmp_path / "secret.txt").write_text("hush\n")
    table = {"under": "other", "options": {"secret": {"file": "secret.txt"}}}
    table["under"] = "other"
    with pytest.raises(ConfigurationError):
        forebay.mounting.mount("/raw", table, folder=tmp_path / "elsewhere")
    forebay.mounting.mount("/raw", {"under": "other"}, folder=tmp_path)
    assert get(forebay, "raw", "there") == b"there"


def test_secrets_are_neither_kept_nor_shown(forebay, flaky, open_started, other, monkeypatch):
    monkeypatch.setenv("FOREBAY_TEST_SECRET", "hush-hush")
    given = []
    make = flaky.make
    monkeypatch.setattr(
        flaky, "make", lambda uri, options: given.append(options["secret"]) or make(uri, options)
    )
    table = {
        "under": f"flaky://{other}",
        "options": {"secret": {"env": "FOREBAY_TEST_SECRET"}},
    }
    forebay.mounting.mount("/raw", table)
    assert given == ["hush-hush"]
    kept = forebay.catalog.read(lambda s: [v for _, v in s.scan(b"", b"\xff")])
    assert not [value for value in kept if b"hush" in value]
    assert "hush" not in json.dumps([state.shown() for state in forebay.mounting.list()])
    assert "hush" not in repr(forebay.mounting.list())
    monkeypatch.setenv("FOREBAY_TEST_SECRET", "hush-again")
    forebay.close()
    open_started()
    assert given[-1] == "hush-again"


def test_what_waits_below_the_path_is_not_hidden(forebay, other):
    put(forebay, "bucket", "sub/key", b"only here", WriteType.MUST_CACHE)
    with pytest.raises(MountBusy, match="1 objects below /bucket/sub are in no under store"):
        forebay.mounting.mount("/bucket/sub", {"under": str(other)})
    assert get(forebay, "bucket", "sub/key") == b"only here"
    forebay.mounting.mount("/bucket/other", {"under": str(other)})


# --- unmounting ---------------------------------------------------------------------------


def test_unmounting_leaves_the_under_store_alone(forebay, other):
    forebay.mounting.mount("/raw", {"under": str(other)})
    put(forebay, "raw", "key", b"bytes")
    old = forebay.buckets.get("raw")
    forebay.mounting.unmount("/raw")
    assert sorted(path.name for path in other.iterdir() if path.name[0] != ".") == ["key", "there"]
    assert buckets(forebay) == ["bucket"]
    with pytest.raises(NoSuchBucket):
        forebay.reads.head(old, "key")
    until(lambda: held(forebay, keys.object_row(old.id, "")) == [])
    assert held(forebay, keys.MOUNTED) == []


def test_what_lay_below_shows_again_and_old_records_do_not(forebay, other, tmp_path):
    put(forebay, "bucket", "sub/mine", b"mine", WriteType.THROUGH)
    forebay.mounting.mount("/bucket/sub", {"under": str(other), "metadata_sync": "never"})
    put(forebay, "bucket", "sub/mine", b"theirs", WriteType.THROUGH)
    assert listed(forebay, "bucket") == ["sub/mine", "sub/there"]
    forebay.mounting.unmount("/bucket/sub")
    assert listed(forebay, "bucket") == ["sub/mine"]
    assert get(forebay, "bucket", "sub/mine") == b"mine"
    (other / "mine").write_bytes(b"changed")
    # Mounted again it starts anew, although `never` would believe what is remembered.
    forebay.mounting.mount("/bucket/sub", {"under": str(other), "metadata_sync": "never"})
    assert get(forebay, "bucket", "sub/mine") == b"changed"


def test_a_bucket_that_somebody_made_outlives_its_mount(forebay, other):
    put(forebay, "bucket", "key", b"mine", WriteType.THROUGH)
    forebay.mounting.mount("/bucket", {"under": str(other)})
    assert listed(forebay, "bucket") == ["there"]
    forebay.mounting.unmount("/bucket")
    assert get(forebay, "bucket", "key") == b"mine"
    assert forebay.buckets.get("bucket").owner == "tester"


def test_only_what_was_mounted_can_be_unmounted(forebay, other):
    forebay.mounting.mount("/archive", {"under": str(other)})
    with pytest.raises(ConfigurationError, match=r"nothing is mounted at /archiv; .*/archive\?"):
        forebay.mounting.unmount("/archiv")
    with pytest.raises(ConfigurationError, match="part of the configuration"):
        forebay.mounting.unmount("/")


@pytest.mark.parametrize("what", ["must_cache", "upload"])
def test_what_would_be_lost_refuses_unless_forced(forebay, other, what):
    forebay.mounting.mount("/raw", {"under": str(other)})
    bucket = forebay.buckets.get("raw")
    if what == "upload":
        forebay.uploads.create(bucket, "key", attributes=Attributes(), owner="tester")
        reason = "1 unfinished uploads"
    else:
        put(forebay, "raw", "key", b"only here", WriteType.MUST_CACHE)
        reason = "1 objects that are in no under store and are not going to be persisted"
    with pytest.raises(MountBusy, match=reason):
        forebay.mounting.unmount("/raw", drain=0.2)
    assert [mount.config.path for mount in forebay.mounts] == ["/", "/raw"]
    forebay.mounting.unmount("/raw", force=True)
    until(lambda: not held(forebay, b"u") and not held(forebay, keys.OBJECTS))
    assert held(forebay, b"d") == []


def test_forcing_one_mount_leaves_the_mounts_inside_it_alone(forebay, other, tmp_path):
    (tmp_path / "inner").mkdir()
    forebay.mounting.mount("/raw", {"under": str(other)})
    forebay.mounting.mount("/raw/in", {"under": str(tmp_path / "inner")})
    put(forebay, "raw", "in/key", b"only here", WriteType.MUST_CACHE)
    put(forebay, "raw", "key", b"lost", WriteType.MUST_CACHE)
    forebay.mounting.unmount("/raw", force=True)
    until(lambda: len(held(forebay, b"d")) == 1)
    assert get(forebay, "raw", "in/key") == b"only here"
    assert listed(forebay, "raw") == ["in/key"]


def test_what_is_being_persisted_is_drained(forebay, other, flaky):
    forebay.mounting.mount("/raw", {"under": str(other), "write_type": "ASYNC_THROUGH"})
    for n in range(20):
        put(forebay, "raw", f"key{n}", b"bytes")
    forebay.mounting.unmount("/raw", drain=LONG)
    assert len([path for path in other.iterdir() if path.name.startswith("key")]) == 20


def test_a_store_is_closed_when_its_last_request_has_ended(forebay, flaky, other):
    (other / "big").write_bytes(b"x" * 300_000)
    forebay.mounting.mount("/raw", {"under": f"flaky://{other}"})
    opened = forebay.reads.get(forebay.buckets.get("raw"), "big", lambda _: None)
    mount = forebay.mounts.find("raw", "big")
    forebay.mounting.unmount("/raw")
    gc.collect()
    time.sleep(3 * mount_table.POLL)
    assert flaky.closed == 0
    read = opened.read
    assert len(b"".join(iter(partial(read, BLOCK), b""))) == 300_000
    opened.close()
    del opened, mount, read

    def closed():
        gc.collect()
        return flaky.closed == 1

    until(closed)


# --- stores that cannot be reached --------------------------------------------------------


def test_a_store_that_is_down_at_start_does_not_stop_the_others(open_started, flaky, other, root):
    flaky.down = True
    mounts = {"/": MountConfig("/", root), "/raw": MountConfig("/raw", f"flaky://{other}")}
    forebay = open_started(mounts=mounts)
    forebay.buckets.create("bucket", "tester")
    put(forebay, "bucket", "key", b"bytes")
    assert get(forebay, "bucket", "key") == b"bytes"
    assert buckets(forebay) == ["bucket", "raw"]
    bucket = forebay.buckets.get("raw")
    for call in (
        lambda: forebay.reads.head(bucket, "there"),
        lambda: forebay.listings.objects(bucket),
        lambda: put(forebay, "raw", "key", b"bytes", WriteType.THROUGH),
        lambda: forebay.deletes.delete(bucket, "there"),
    ):
        with pytest.raises(ServiceUnavailable, match=r"no route|is down"):
            call()
    (_, state) = forebay.mounting.list()
    assert "no route to the store" in state.reason
    # What the cache can hold by itself is taken all the same, and persisted later.
    put(forebay, "raw", "async", b"later", WriteType.ASYNC_THROUGH)
    flaky.down = False
    until(lambda: not forebay.mounting.list()[1].reason)
    assert get(forebay, "raw", "there") == b"there"
    until(lambda: (other / "async").exists())


def test_a_client_is_told_to_come_back_and_does(make_gateway, flaky, other, root):
    flaky.down = True
    mounts = {"/": MountConfig("/", root), "/raw": MountConfig("/raw", f"flaky://{other}")}
    gateway = make_gateway(mounts=mounts, plugins=[flaky])
    answers = {}
    for method, path in [
        ("GET", "/raw/there"),
        ("HEAD", "/raw/there"),
        ("GET", "/raw?list-type=2"),
    ]:
        request = urllib.request.Request(f"{gateway.url}{path}", method=method)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=LONG)
        answers[method, path] = (caught.value.code, int(caught.value.headers["Retry-After"]) > 0)
        caught.value.close()
    assert set(answers.values()) == {(503, True)}
    flaky.down = False
    s3 = gateway.client("tester")  # it comes back by itself
    until(lambda: not gateway.forebay.mounting.list()[1].reason)
    assert s3.get_object(Bucket="raw", Key="there")["Body"].read() == b"there"


def test_a_mount_that_is_down_at_a_restart_comes_back_with_its_records(
    forebay, open_started, flaky, other
):
    forebay.mounting.mount("/raw", {"under": f"flaky://{other}"})
    record = put(forebay, "raw", "key", b"bytes", WriteType.MUST_CACHE)
    forebay.close()
    flaky.down = True
    again = open_started()
    assert get(again, "raw", "key") == b"bytes"
    flaky.down = False
    until(lambda: not again.mounting.list()[1].reason)
    assert again.reads.head(again.buckets.get("raw"), "key") == record


def test_a_row_that_cannot_be_read_any_more_stops_nothing(
    forebay, open_started, flaky, other, monkeypatch
):
    monkeypatch.setenv("FOREBAY_TEST_SECRET", "hush")
    table = {"under": f"flaky://{other}", "options": {"secret": {"env": "FOREBAY_TEST_SECRET"}}}
    forebay.mounting.mount("/raw", table)
    forebay.close()
    monkeypatch.delenv("FOREBAY_TEST_SECRET")
    again = open_started()
    (_, state) = again.mounting.list()
    assert "FOREBAY_TEST_SECRET is not set" in state.reason
    with pytest.raises(ServiceUnavailable, match="under store of /raw is down"):
        listed(again, "raw")
    again.mounting.unmount("/raw")
    assert [mount.config.path for mount in again.mounts] == ["/"]


def test_faults_of_configured_mounts_still_stop_the_start(open_started, flaky, other, root):
    mounts = {
        "/": MountConfig("/", root),
        "/raw": MountConfig("/raw", f"flaky://{other}", options={"colour": 1}),
        "/gone": MountConfig("/gone", "nosuch://x"),
    }
    with pytest.raises(ConfigurationError) as caught:
        open_started(mounts=mounts)
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["mounts./raw", "mounts./gone"]


def test_what_is_configured_outranks_what_was_mounted(forebay, open_started, other, root, tmp_path):
    (tmp_path / "third").mkdir()
    forebay.mounting.mount("/raw", {"under": str(tmp_path / "third")})
    forebay.close()
    mounts = {"/": MountConfig("/", root), "/raw": MountConfig("/raw", other.as_uri())}
    again = open_started(mounts=mounts)
    assert listed(again, "raw") == ["there"]


# --- dying on the next line, and those who have not noticed ------------------------------


def test_a_mount_whose_maker_died_behind_its_commit_is_mounted(forebay, open_started, other):
    config = forebay._table.read("/raw", {"under": str(other)}, other)
    row = mounting.MountedRow(json.dumps({"under": str(other)}).encode(), str(other), 0)
    forebay.catalog.write(lambda tx: forebay.mounting._add(config, row, tx))
    until(lambda: "raw" in forebay.mounts.buckets())
    forebay.close()
    assert get(open_started(), "raw", "there") == b"there"


def test_an_unmount_whose_maker_died_behind_its_commit_is_swept(forebay, open_started, other):
    forebay.mounting.mount("/bucket/sub", {"under": str(other)})
    put(forebay, "bucket", "sub/key", b"bytes", WriteType.MUST_CACHE)
    bucket, place = forebay.buckets.get("bucket"), forebay._table.places()["/bucket/sub"]
    forebay.close()
    unstarted = open_started(start=False)
    unstarted.catalog.write(
        lambda tx: unstarted.mounting._remove("/bucket/sub", place.generation, True, True, tx)
    )
    unstarted.close()
    again = open_started()
    assert listed(again, "bucket") == []
    until(lambda: held(again, keys.object_row(bucket.id, "")) == [])


@pytest.mark.parametrize("write_type", [WriteType.MUST_CACHE, WriteType.THROUGH])
def test_a_process_that_has_not_noticed_a_mount_cannot_write_below_it(
    forebay, open_started, other, write_type
):
    late = open_started(start=False)
    forebay.mounting.mount("/bucket/sub", {"under": str(other)})
    put(forebay, "bucket", "sub/key", b"ours", WriteType.MUST_CACHE)
    with pytest.raises(ServiceUnavailable, match="changed just now"):
        put(late, "bucket", "sub/key", b"late", write_type)
    # Beside it nothing is held up.
    put(late, "bucket", "key", b"late", write_type)
    assert get(forebay, "bucket", "sub/key") == b"ours"


def test_a_look_of_a_process_that_has_not_noticed_touches_nothing(
    forebay, open_started, other, tmp_path, monkeypatch
):
    monkeypatch.setattr("forebay.objects.sync.TRIES", 2)
    late = open_started(start=False)
    forebay.mounting.mount("/bucket/sub", {"under": str(other)})
    record = put(forebay, "bucket", "sub/key", b"ours", WriteType.MUST_CACHE)
    (tmp_path / "root/bucket/sub").mkdir()
    (tmp_path / "root/bucket/sub/key").write_bytes(b"hidden")
    with pytest.raises(ServiceUnavailable):
        look(late._shared, late.buckets.get("bucket"), "sub/key")
    assert late.housekeeping.sweep_void() == 0
    assert forebay.reads.head(forebay.buckets.get("bucket"), "sub/key") == record


class Paused(Content):
    """A body that ends when `go` is set; `reached` is set when that is all it waits for."""

    def __init__(self, content):
        super().__init__(content)
        self.reached, self.go = threading.Event(), threading.Event()

    def read(self, size, /):
        block = super().read(size)
        if not block:
            self.reached.set()
            assert self.go.wait(LONG)
        return block


@pytest.mark.parametrize("write_type", [WriteType.MUST_CACHE, WriteType.THROUGH])
def test_a_write_that_was_under_way_at_an_unmount_changes_nothing(forebay, other, write_type):
    forebay.mounting.mount("/bucket/sub", {"under": str(other)})
    body, failed = Paused(b"late"), []

    def write():
        try:
            forebay.writes.put(
                forebay.buckets.get("bucket"), "sub/key", body,
                attributes=Attributes(), owner="tester", requested=write_type,
            )  # fmt: skip
        except ServiceUnavailable as failure:
            failed.append(failure)

    writer = threading.Thread(target=write)
    writer.start()
    assert body.reached.wait(LONG)
    forebay.mounting.unmount("/bucket/sub")
    put(forebay, "bucket", "sub/key", b"after", WriteType.MUST_CACHE)
    body.go.set()
    writer.join(LONG)
    assert len(failed) == 1
    assert get(forebay, "bucket", "sub/key") == b"after"
    assert not (other / "key").exists()


def test_a_write_published_before_an_unmount_is_not_committed_behind_it(forebay, other):
    forebay.mounting.mount("/bucket/sub", {"under": str(other)})
    bucket = forebay.buckets.get("bucket")
    record = put(forebay, "bucket", "sub/key", b"published", WriteType.THROUGH)
    mount = forebay.mounts.find("bucket", "sub/key")
    intent = take(
        forebay._shared, bucket, "sub/key",
        mount=mount, conditions=UNCONDITIONAL, prepare=lambda tx, seq, current: record,
    )  # fmt: skip
    forebay.mounting.unmount("/bucket/sub")
    # What a dead owner left of a mount that is gone is dropped, and commits nothing.
    settle(forebay._shared, bucket, "sub/key", intent)
    assert held(forebay, keys.INTENTS) == []
    assert listed(forebay, "bucket") == []


def test_a_sweep_that_failed_is_taken_up_again(forebay, other, monkeypatch):
    forebay.mounting.mount("/raw", {"under": str(other)})
    put(forebay, "raw", "key", b"bytes")
    bucket, sweep, failed = forebay.buckets.get("raw"), forebay.housekeeping.sweep_void, []

    def fail_once():
        if not failed:
            failed.append(True)
            raise Unavailable("the catalog cannot be written now")
        return sweep()

    monkeypatch.setattr(forebay.housekeeping, "sweep_void", fail_once)
    forebay.mounting.unmount("/raw")
    until(lambda: failed and held(forebay, keys.object_row(bucket.id, "")) == [])
