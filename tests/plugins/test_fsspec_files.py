"""What fsspec tells of files, and the connections it is asked over."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import fsspec
import pytest

from forebay.errors import NotFound, NotSupported, StorageError, Unavailable
from forebay.testing.under_kit import Failing, put, read
from forebay_fsspec import moves
from forebay_fsspec.connections import Connections
from forebay_fsspec.files import UNKNOWN, Checked, FsspecSink, entry_of, moment
from forebay_fsspec.memory import MemoryFiles
from forebay_fsspec.opening import open_store

DAY = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [DAY, DAY.replace(tzinfo=None), DAY.timestamp(), "2026-01-02T00:00:00Z", (2026, 1, 2, 0, 0, 0)],
)
def test_times_of_any_form_are_aware(value):
    assert moment(value) == DAY


@pytest.mark.parametrize("value", [None, "", (1980, 0, 0, 0, 0, 0)])
def test_no_time_is_the_epoch(value):
    assert moment(value).timestamp() == 0


@pytest.mark.parametrize(
    "change",
    [{"size": 4}, {"mtime": 2.0}, {"ETag": '"b"'}, {"ino": 8}, {"generation": "2"}],
    ids=str,
)
def test_the_fingerprint_changes_with_all_that_tells_a_version(change):
    told = {"size": 3, "type": "file", "mtime": 1.0, "ETag": '"a"', "ino": 7, "generation": "1"}
    assert entry_of("x", told).fingerprint != entry_of("x", {**told, **change}).fingerprint
    assert entry_of("x", told) == entry_of("x", {**told, "name": "other"})


def test_a_size_that_is_not_told_is_unknown():
    assert entry_of("x", {"size": None, "type": "file"}).size == UNKNOWN


def test_a_checked_range_is_given_only_of_the_version_that_was_opened():
    entry = entry_of("x", {"size": 3, "type": "file", "mtime": 1.0})
    other = entry_of("x", {"size": 3, "type": "file", "mtime": 2.0})
    assert Checked("x", entry, lambda a, b: b"abc"[a:b], lambda: entry).read(0, 3) == b"abc"
    with pytest.raises(StorageError, match="another version"):
        Checked("x", entry, lambda a, b: b"abc"[a:b], lambda: other).read(0, 3)
    with pytest.raises(StorageError, match="2 bytes came where 3"):
        Checked("x", entry, lambda a, b: b"ab", lambda: entry).read(0, 3)

    def gone():
        raise NotFound("x")

    with pytest.raises(StorageError, match="has gone"):
        Checked("x", entry, lambda a, b: b"abc", gone).read(0, 3)


def test_a_sink_that_is_aborted_never_finishes_the_file():
    class Uploading(fsspec.spec.AbstractBufferedFile):
        uploaded = False

        def _initiate_upload(self):
            self.location = "begun"

        def _upload_chunk(self, final=False):
            type(self).uploaded |= final
            return True

        def discard(self):
            self.location = None

    file = Uploading(fsspec.filesystem("memory"), "/x", "wb", block_size=10)
    sink = FsspecSink(file, "x", durable=False)
    sink.write(b"x" * 50)
    sink.abort()
    del sink
    file.__del__()
    assert file.location is None
    assert not Uploading.uploaded


def test_a_memory_of_its_own_or_the_one_of_the_process():
    fsspec.filesystem("memory").pipe_file("/shared/key", b"x")
    try:
        own = open_store("fsspec+memory://shared", {})
        assert isinstance(own._files, MemoryFiles)
        with pytest.raises(NotFound):
            own.head("key")
        shared = open_store("fsspec+memory://shared", {"global_store": True})
        assert read(shared, "key") == b"x"
        with pytest.raises(ValueError, match="bad"):
            shared.put("key", Failing(b"half", ValueError("bad")), size=None, attributes=None)
        assert read(shared, "key") == b"x"
        put(shared, "other", b"y")
        assert fsspec.filesystem("memory").cat_file("/shared/other") == b"y"
    finally:
        fsspec.filesystem("memory").rm("/shared", recursive=True)


# --- connections -------------------------------------------------------------------------


class Line:
    made = 0

    def __init__(self):
        type(self).made += 1
        self.closed = 0


@pytest.fixture
def lines():
    Line.made = 0
    return Connections(Line, close=lambda one: setattr(one, "closed", 1), most=2, timeout=0.05)


def test_a_connection_is_used_again(lines):
    for _ in range(3):
        with lines.use():
            pass
    assert Line.made == 1


def test_no_more_than_so_many_are_used_at_once(lines):
    with (
        lines.use() as one,
        lines.use() as two,
        pytest.raises(Unavailable, match="busy"),
        lines.use(),
    ):
        pass
    assert one is not two
    with lines.use(), lines.use():
        pass
    assert Line.made == 2


@pytest.mark.parametrize(
    ("error", "kept"), [(FileNotFoundError(), True), (ConnectionResetError(), False)]
)
def test_a_connection_that_is_lost_is_not_used_again(lines, error, kept):
    with pytest.raises(type(error)), lines.use() as first:
        raise error
    with lines.use() as second:
        assert (first is second) == kept
    assert first.closed == (not kept)


def test_what_is_in_use_at_the_close_is_closed_when_it_is_given_back(lines):
    with lines.use() as one:
        lines.close()
        assert not one.closed
    assert one.closed


def test_threads_share_one_where_they_may():
    Line.made = 0
    shared = Connections(Line, close=lambda one: setattr(one, "closed", 1))
    found = []

    def work():
        with shared.use() as one:
            found.append(one)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    with pytest.raises(EOFError), shared.use():
        raise EOFError
    with shared.use() as again:
        assert again is not found[0]
    shared.close()
    assert again.closed


# --- ways to move ------------------------------------------------------------------------


class Hadoop:
    """Answers WebHDFS calls as told."""

    def __init__(self, done):
        self.done = done
        self.asked = []

    def info(self, path):
        return {"type": "file" if path.endswith("file") else "directory"}

    def _call(self, op, **arguments):
        self.asked.append((op, arguments))
        return self

    def json(self):
        return {"boolean": self.done}


def test_webhdfs_replaces_in_one_step_and_removes_nothing_below():
    fs = Hadoop(True)
    moves.REPLACE["webhdfs"](fs, "/a", "/b")
    moves.RMDIR["webhdfs"](fs, "/d")
    (rename, told), (delete, how) = fs.asked
    assert (rename, told["renameoptions"]) == ("RENAME", "OVERWRITE")
    assert (delete, how["recursive"]) == ("DELETE", "false")
    with pytest.raises(NotADirectoryError):
        moves.RMDIR["webhdfs"](fs, "/file")
    with pytest.raises(FileNotFoundError):
        moves.REMOVE["webhdfs"](Hadoop(False), "/gone")


def test_libhdfs_leaves_directories_where_they_are():
    with pytest.raises(NotSupported):
        moves.RMDIR["hdfs"](None, "/d")
