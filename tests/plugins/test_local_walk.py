"""Listings of directories: order, laziness, and directories that are odd, deep or big."""

from __future__ import annotations

import os
import time

import pytest

from forebay.errors import PermissionDenied
from forebay.testing.under_kit import exists, names, put, read
from forebay.types import CommonPrefix
from forebay_local import scan, tree, walk
from forebay_local.under import LocalUnderStore


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def under(root):
    store = LocalUnderStore(str(root), durable=False)
    yield store
    store.close()


@pytest.fixture
def scanned(monkeypatch):
    """Note every directory whose names are read."""
    seen = []
    real = scan.Scanner._read

    def read(self, directory):
        seen.append("/".join(directory.place))
        return real(self, directory)

    monkeypatch.setattr(scan.Scanner, "_read", read)
    return seen


def age(*paths):
    """Make directories older than the grain of any clock."""
    for path in paths:
        os.utime(path, (time.time() - 100, time.time() - 100))


def test_only_directories_on_the_way_are_read(under, scanned):
    for key in ("b/a/1", "b/b/1", "b/c/1", "b/c/d/1", "c/1"):
        put(under, key, b"")
    listing = under.list("b/")
    assert scanned == [], "a listing reads nothing before it is asked"
    assert next(listing).key == "b/a/1"
    assert scanned == ["b", "b/a"]
    scanned.clear()
    assert names(under.list("b/", start_after="b/c/1")) == ["b/c/d/1"]
    assert scanned == ["b", "b/c", "b/c/d"], "it walked what lies before"
    scanned.clear()
    assert names(under.list("b/c/", delimiter="/")) == ["b/c/1", "b/c/d/"]
    assert scanned == ["b/c"], "a level was left"


def test_directory_with_nothing_but_empty_directories_is_a_common_prefix(under, root):
    (root / "b/only/empty/below").mkdir(parents=True)
    (root / "b/links").mkdir()
    (root / "b/links/dangling").symlink_to("nowhere")
    assert list(under.list("b/", delimiter="/")) == [CommonPrefix("b/only/")]
    assert names(under.list("b/")) == ["b/only/empty/below/"]


def test_names_that_are_no_utf8_are_not_listed(under, root):
    put(under, "b/good", b"")
    for name in (b"b/bad\xff", b"b/half\xc3"):
        with open(os.fsencode(root) + b"/" + name, "wb"):
            pass
    os.mkdir(os.fsencode(root) + b"/b/dir\xff")
    os.mkdir(os.fsencode(root) + b"/b/dir")
    with open(os.fsencode(root) + b"/b/dir/\xff", "wb"):
        pass
    assert names(under.list()) == ["b/good"], "and what holds only such is not empty"
    assert names(under.list("b/", delimiter="/")) == ["b/good"]


@pytest.mark.parametrize("name", [".forebay~f~%61", ".forebay~x~", ".forebay~m~abc", ".forebay~"])
def test_names_that_only_look_like_ours_are_not_listed(under, root, name):
    put(under, "b/good", b"")
    (root / "b" / name).write_bytes(b"")
    assert names(under.list()) == ["b/good"]
    assert not exists(under, f"b/{name}")


def test_long_segments_are_in_order_among_their_like(under):
    stem = "s" * 119
    keys = [f"b/{stem}{tail}" for tail in ("", "a", "a" * 10, "s" * 200, "s" * 201, "t", "t" * 500)]
    keys += [f"b/{'s' * 320}/x", f"b/{'s' * 320}/y/z", f"b/{'s' * 319}0"]
    for key in keys:
        put(under, key, key.encode())
    assert names(under.list()) == sorted(keys)
    for number, bound in enumerate(sorted(keys)):
        assert names(under.list("b/", start_after=bound)) == sorted(keys)[number + 1 :]
    for key in keys:
        assert read(under, key) == key.encode()


def test_deep_listing_keeps_few_directories_open(under, monkeypatch, open_files):
    keys = [f"b/{'d/' * depth}{depth:03}" for depth in range(0, 300, 20)]
    for key in keys:
        put(under, key, b"")
    before, most = open_files(), 0
    found = []
    for entry in under.list():
        most = max(most, len(open_files()) - len(before))
        found.append(entry.key)
    assert found == sorted(keys)
    assert most <= walk._KEPT_OPEN + 1
    assert open_files() == before


def test_listing_that_is_left_closes_what_it_opened(under, open_files):
    for number in range(20):
        put(under, f"b/{number}/x", b"")
    before = open_files()
    listing = under.list()
    next(listing)
    del listing
    assert open_files() == before


def test_paging_over_a_big_directory_sorts_it_once(under, root, scanned):
    for number in range(500):
        put(under, f"b/{number:04}", b"")
    age(root / "b")
    found, bound = [], ""
    while page := names(
        e for e, _ in zip(under.list("b/", start_after=bound), range(50), strict=False)
    ):
        found += page
        bound = page[-1]
    assert found == [f"b/{number:04}" for number in range(500)]
    assert scanned == ["b"]


def test_directory_that_changed_a_moment_ago_is_not_remembered(under, root, scanned):
    put(under, "b/1", b"")
    for number in range(2, 30):
        assert names(under.list("b/")) == [f"b/{n}" for n in sorted(map(str, range(1, number)))]
        (root / "b" / str(number)).write_bytes(b"")
    assert len(scanned) == 28


def test_remembered_directory_is_read_again_when_it_changed(under, root, scanned):
    put(under, "b/1", b"")
    age(root / "b")
    assert names(under.list("b/")) == names(under.list("b/")) == ["b/1"]
    assert scanned == ["b"]
    put(under, "b/2", b"")
    assert names(under.list("b/")) == ["b/1", "b/2"]
    (root / "b/1").unlink()
    assert names(under.list("b/")) == ["b/2"]


def test_remembered_directory_shows_new_sizes_and_lost_files(under, root):
    put(under, "b/1", b"")
    age(root / "b")
    list(under.list("b/"))
    (root / "b/1").write_bytes(b"12345")  # in place: the directory does not change
    (entry,) = under.list("b/")
    assert entry.size == 5
    assert entry.fingerprint == under.head("b/1").fingerprint


def test_long_names_are_not_remembered_by_the_time_of_their_directory(under, root):
    put(under, "b/" + "s" * 300 + "1", b"")
    age(root / "b")
    assert len(names(under.list("b/"))) == 1
    put(under, "b/" + "s" * 300 + "2", b"")  # changes a directory below, and not b
    age(root / "b")
    assert len(names(under.list("b/"))) == 2


def test_memory_of_directories_is_bounded(under, root):
    under._scanner = scan.Scanner(under._tree, limit=25)
    for number in range(10):
        for name in range(10):
            put(under, f"b/{number}/{name}", b"")
    age(*(root / "b" / str(number) for number in range(10)), root / "b")
    assert len(names(under.list())) == 100
    assert under._scanner._count <= 25
    kept = sum(len(c.segments) for _, c in under._scanner._kept.values())
    assert kept == under._scanner._count > 0


def test_directory_bigger_than_the_memory_is_listed_all_the_same(under, root):
    under._scanner = scan.Scanner(under._tree, limit=5)
    for number in range(10):
        put(under, f"b/{number}", b"")
    age(root / "b")
    assert len(names(under.list())) == 10
    assert under._scanner._count == 0


def test_directory_that_may_not_be_read_is_an_error_and_no_gap(under, monkeypatch):
    put(under, "b/closed/x", b"")
    put(under, "b/open/x", b"")
    real = os.open

    def refuse(path, flags, *args, **kwargs):
        if path == "closed":
            raise OSError(13, "Permission denied")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionDenied):
        list(under.list())
    with pytest.raises(PermissionDenied):
        under.head("b/closed/x")


def test_prefix_that_no_key_can_have_lists_nothing(under):
    put(under, "b/x", b"")
    for prefix in ("\0", "b/\0", "\ud800", "b/../b/", "b//x", "/b", "b/x/"):
        assert names(under.list(prefix)) == []


def test_directories_of_a_key_are_found_plain_first(under, root):
    put(under, "b/a", b"")
    put(under, "b/a/x", b"")
    under.delete("b/a")
    (root / "b/a").mkdir()
    with under._tree.directories(["b", "a"]) as found:
        assert isinstance(found[0], tree.Directory)
        assert [directory.place for directory in found] == [("b", "a"), ("b", ".forebay~d~a")]
