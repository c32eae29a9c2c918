"""Names that clash, directories that come and go, and processes that race for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from forebay.errors import InvalidKey, NotFound, StorageError
from forebay.testing.under_kit import exists, names, put, read
from forebay_local import changes
from forebay_local.names import DIRECTORY, FILE, escape
from forebay_local.under import LocalUnderStore

FILE_A, DIRECTORY_A = escape("a", FILE)[0], escape("a", DIRECTORY)[0]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def under(root):
    store = LocalUnderStore(str(root), durable=False)
    if not store.capabilities.attributes:
        pytest.skip("the file system of the tests keeps no extended attributes")
    yield store
    store.close()


def on_disk(root):
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if not str(path.relative_to(root)).startswith(".forebay/")
    )


# --- clashes -----------------------------------------------------------------------------


def test_directory_gives_way_to_a_file_that_is_there(under, root):
    file = put(under, "b/a", b"file")
    put(under, "b/a/x", b"below")
    assert under.head("b/a").fingerprint == file.fingerprint, "an object's file was touched"
    assert (root / "b/a").read_bytes() == b"file"
    assert (root / "b" / DIRECTORY_A / "x").read_bytes() == b"below"
    assert names(under.list()) == ["b/a", "b/a/x"]


def test_file_gives_way_to_a_directory_that_is_there(under, root):
    below = put(under, "b/a/x", b"below")
    put(under, "b/a", b"file")
    assert under.head("b/a/x").fingerprint == below.fingerprint, "an object's file was touched"
    assert (root / "b/a/x").read_bytes() == b"below"
    assert (root / "b" / FILE_A).read_bytes() == b"file"
    assert names(under.list()) == ["b/a", "b/a/x"]


def test_name_is_plain_again_when_the_clash_is_over(under, root):
    put(under, "b/a/x", b"below")
    put(under, "b/a", b"file")
    under.delete("b/a/x")
    assert read(under, "b/a") == b"file"
    put(under, "b/a", b"again")
    assert on_disk(root) == [".forebay", "b", "b/a"]
    assert read(under, "b/a") == b"again"


def test_directory_under_both_names_is_one(under, root):
    put(under, "b/a", b"file")
    put(under, "b/a/x", b"escaped")
    put(under, "b/a/z/1", b"escaped")
    under.delete("b/a")
    (root / "b/a/z").mkdir(parents=True)  # from outside
    (root / "b/a/y").write_bytes(b"plain")
    (root / "b/a/z/2").write_bytes(b"plain")
    assert names(under.list()) == ["b/a/x", "b/a/y", "b/a/z/1", "b/a/z/2"]
    assert names(under.list("b/a/", delimiter="/")) == ["b/a/x", "b/a/y", "b/a/z/"]
    assert read(under, "b/a/x") == b"escaped"
    put(under, "b/a/x", b"new")
    assert read(under, "b/a/x") == b"new"
    assert not (root / "b" / DIRECTORY_A / "x").exists(), "the older copy stayed"
    for key in names(under.list()):
        under.delete(key)
    assert on_disk(root) == [".forebay", "b"]


def test_delete_removes_every_copy(under, root):
    (root / "b").mkdir()
    (root / "b/a").write_bytes(b"plain")
    (root / "b" / FILE_A).write_bytes(b"older, by a crash in between")
    assert read(under, "b/a") == b"plain"
    assert names(under.list()) == ["b/a"]
    under.delete("b/a")
    assert not exists(under, "b/a")
    assert on_disk(root) == [".forebay", "b"]


def test_overwrite_on_the_way_to_its_plain_name_is_never_missing(under):
    put(under, "b/a/x", b"below")
    put(under, "b/a", b"0")
    stop, missing = threading.Event(), []

    def look():
        while not stop.is_set():
            try:
                under.head("b/a")
            except NotFound as error:
                missing.append(error)
            if "b/a" not in names(under.list("b/")):
                missing.append("not listed")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(100):
            under.delete("b/a/x")
            put(under, "b/a", b"plain")
            under.delete("b/a/x")
            # A directory in the way again, with the file moved by nobody but an overwrite.
            put(under, "b/a/x", b"below")
            put(under, "b/a", b"again")
    finally:
        stop.set()
        thread.join()
    assert missing == []


# --- folders -----------------------------------------------------------------------------


def test_folder_marker_is_a_marked_directory_without_any_file(under, root):
    put(under, "b/folder/", b"")
    assert on_disk(root) == [".forebay", "b", "b/folder"]
    assert names(under.list()) == ["b/folder/"]


def test_folder_marker_with_bytes_is_a_file_inside(under, root):
    put(under, "b/folder/", b"bytes")
    assert (root / "b/folder" / escape("", FILE)[0]).read_bytes() == b"bytes"
    put(under, "b/folder/", b"")
    assert on_disk(root) == [".forebay", "b", "b/folder"]
    assert read(under, "b/folder/") == b""


def test_deleting_a_marker_keeps_what_lies_below(under):
    put(under, "b/folder/", b"")
    put(under, "b/folder/x", b"1")
    under.delete("b/folder/")
    assert names(under.list()) == ["b/folder/x"]
    under.delete("b/folder/x")
    assert names(under.list()) == []


def test_last_child_takes_its_unmarked_parents_along_up_to_the_bucket(under, root):
    put(under, "bucket/", b"")
    put(under, "bucket/kept/", b"")
    put(under, "bucket/kept/a/b/c", b"1")
    put(under, "bucket/d/e/f", b"1")
    put(under, "bucket/d/g", b"1")
    under.delete("bucket/kept/a/b/c")
    under.delete("bucket/d/e/f")
    assert on_disk(root) == [".forebay", "bucket", "bucket/d", "bucket/d/g", "bucket/kept"]
    under.delete("bucket/d/g")
    under.delete("bucket/kept/")
    assert on_disk(root) == [".forebay", "bucket"]
    under.delete("bucket/")
    assert on_disk(root) == [".forebay"]


def test_first_segment_is_never_pruned(under, root):
    put(under, "bucket/x", b"1")
    under.delete("bucket/x")
    assert on_disk(root) == [".forebay", "bucket"]
    under.delete("bucket/")
    assert on_disk(root) == [".forebay"]


def test_directories_of_a_long_segment_are_pruned_too(under, root):
    key = "b/" + "s" * 900 + "/" + "t" * 900
    put(under, key, b"1")
    put(under, "u" * 900, b"1")
    under.delete(key)
    under.delete("u" * 900)
    assert on_disk(root) == [".forebay", "b"]


def test_empty_directory_from_outside_is_a_key_until_it_is_deleted(under, root):
    (root / "b/empty").mkdir(parents=True)
    (root / "b/full").mkdir()
    (root / "b/full/x").write_bytes(b"1")
    assert names(under.list()) == ["b/empty/", "b/full/x"]
    assert under.head("b/empty/").size == 0
    assert read(under, "b/empty/") == b""
    assert not exists(under, "b/full/")
    under.delete("b/full/")
    assert names(under.list()) == ["b/empty/", "b/full/x"]
    under.delete("b/empty/")
    assert not (root / "b/empty").exists()


def test_directory_that_a_dead_process_left_is_no_key(under, root):
    put(under, "b/x/y", b"1")
    (root / "b/x/y").unlink()  # died before it pruned
    assert names(under.list()) == []
    assert not exists(under, "b/x/")
    assert names(under.list("b/", delimiter="/")) == []
    put(under, "b/", b"")
    under.delete("b/")  # nothing in it is a key, so the bucket can go
    assert on_disk(root) == [".forebay"]


def test_put_that_cannot_be_published_leaves_no_directory(under, root, monkeypatch):
    def refuse(self, directory, name):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("forebay_local.staging.StagedFile.rename", refuse)
    with pytest.raises(StorageError):
        put(under, "b/x/y", b"1")
    assert on_disk(root) == [".forebay", "b"]
    assert names(under.list()) == []


def test_parents_that_always_vanish_are_an_error_in_the_end(under, monkeypatch):
    monkeypatch.setattr(changes, "_TURNS", 3)

    def vanish(self, directory, name):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("forebay_local.staging.StagedFile.rename", vanish)
    with pytest.raises(StorageError, match="keep vanishing") as caught:
        put(under, "b/x/y", b"1")
    assert type(caught.value) is StorageError


def test_name_that_the_file_system_refuses_is_escaped(under, root, monkeypatch):
    rename = os.rename

    def picky(source, target, **kwargs):
        if ":" in target:
            raise OSError(22, "Invalid argument")
        return rename(source, target, **kwargs)

    monkeypatch.setattr(os, "rename", picky)
    put(under, "b/a:b/c:d", b"1")
    assert read(under, "b/a:b/c:d") == b"1"
    assert names(under.list()) == ["b/a:b/c:d"]
    assert all(":" not in name for name in on_disk(root))


def test_name_that_the_file_system_refuses_in_any_form_is_an_invalid_key(under, monkeypatch):
    def never(source, target, **kwargs):
        raise OSError(36, "File name too long")

    monkeypatch.setattr(os, "rename", never)
    with pytest.raises(InvalidKey):
        put(under, "b", b"1")


# --- case --------------------------------------------------------------------------------


@pytest.fixture
def folding(under, root, monkeypatch):
    """Pretend that the file system of the tests takes names for one that differ in case only."""
    real_open, real_stat, real_rename = os.open, os.stat, os.rename

    def twin(name, dir_fd):
        if not isinstance(name, str) or "/" in name or dir_fd is None:
            return name
        try:
            held = os.listdir(f"/proc/self/fd/{dir_fd}")
        except OSError:
            return name
        return next((other for other in held if other.casefold() == name.casefold()), name)

    def fold_open(path, flags, mode=0o777, *, dir_fd=None):
        return real_open(twin(path, dir_fd), flags, mode, dir_fd=dir_fd)

    def fold_stat(path, *, dir_fd=None, follow_symlinks=True):
        return real_stat(twin(path, dir_fd), dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def fold_rename(source, target, *, src_dir_fd=None, dst_dir_fd=None):
        target = twin(target, dst_dir_fd)
        return real_rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "open", fold_open)
    monkeypatch.setattr(os, "stat", fold_stat)
    monkeypatch.setattr(os, "rename", fold_rename)
    store = LocalUnderStore(str(root), durable=False)
    yield store
    store.close()


def test_keys_that_differ_in_case_do_not_meet_where_names_fold(folding, root):
    keys = ["b/Case", "b/case", "b/CASE/x", "b/case/x", "B/case"]
    for key in keys:
        put(folding, key, key.encode())
    for key in keys:
        assert read(folding, key) == key.encode()
    assert names(folding.list()) == sorted(keys)
    assert not exists(folding, "b/cASE")
    folding.delete("b/cASE")
    folding.delete("b/Case")
    assert names(folding.list()) == sorted(set(keys) - {"b/Case"})
    assert (root / "b").is_dir()
    assert not (root / "B").exists()


# --- races -------------------------------------------------------------------------------

_RACER = """
import sys
from forebay.streams import BytesReader
from forebay.types import Attributes
from forebay_local.under import LocalUnderStore

root, own, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = LocalUnderStore(root, durable=False)
for turn in range(turns):
    body = b"%d" % turn
    store.put(own, BytesReader(body), size=len(body), attributes=Attributes())
    with store.open(own) as reader:
        assert reader.read(100) == body, (own, turn)
    assert own in [entry.key for entry in store.list(own)], (own, turn)
    if turn % 2:
        store.delete(own)
print("done")
store.close()
"""


def race(root, keys, turns):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, str(root), key, str(turns)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for key in keys
    ]
    for racer in racers:
        out, err = racer.communicate(timeout=100)
        assert (out, err.decode()) == (b"done\n", "")


@pytest.mark.parametrize(
    "keys",
    [
        ["b/x/y/z/1", "b/x/y/z/2"],
        ["b/x/y/", "b/x/y/z"],
        ["b/x/y", "b/x/y/z"],
        ["b/x/y/", "b/x/y"],
    ],
    ids=" ".join,
)
def test_processes_that_make_and_prune_the_same_directories_lose_nothing(root, keys):
    race(root, keys, 301)
    store = LocalUnderStore(str(root))
    assert names(store.list()) == sorted(keys)
    for key in keys:
        assert read(store, key) == b"300"
        store.delete(key)
    assert on_disk(root) == [".forebay", "b"]
    store.close()
