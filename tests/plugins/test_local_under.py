"""The local under store: the kit, and what only files and directories can do to it."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from datetime import UTC, datetime

import pytest

import forebay_local
from forebay.errors import (
    ConfigurationError,
    InvalidKey,
    NoSpace,
    NotFound,
    PermissionDenied,
    SourceChanged,
    StorageError,
    Unavailable,
)
from forebay.stores.checked import Checked
from forebay.streams import BLOCK, BytesReader
from forebay.testing.under import UnderStoreTests
from forebay.testing.under_kit import ATTRIBUTES, exists, names, put, read
from forebay.types import Attributes, ByteRange, CommonPrefix
from forebay_local.faults import MEANING, Translated
from forebay_local.pages import DiskPageStore
from forebay_local.reader import LocalReader
from forebay_local.under import LocalUnderStore

WALKED = []
sys.addaudithook(lambda event, args: WALKED.append(args) if event == "os.scandir" else None)


class TestLocalUnderStore(UnderStoreTests):
    @pytest.fixture
    def under(self, tmp_path):
        store = LocalUnderStore.from_uri((tmp_path / "root").as_uri(), {"durability": "process"})
        store.root = tmp_path / "root"
        yield store
        store.close()

    def poke(self, under, key, content):
        path = under.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def peek(self, under, key):
        path = under.root / key
        return path.read_bytes() if path.is_file() else None

    def opening(self, under):
        return LocalUnderStore.from_uri, (under.root.as_uri(), {"durability": "process"})

    def poke_directory(self, under, key):
        (under.root / key).mkdir(parents=True)
        return True

    def steps(self, under, call):
        WALKED.clear()
        call()
        return len(WALKED)


class TestDurableWithoutMarks(TestLocalUnderStore):
    """The same on a file system that keeps no extended attributes."""

    @pytest.fixture
    def under(self, tmp_path, monkeypatch):
        monkeypatch.setattr("forebay_local.attributes.supported", lambda fd: False)
        store = LocalUnderStore.from_uri((tmp_path / "root").as_uri(), {"durability": "disk"})
        store.root = tmp_path / "root"
        assert not store.capabilities.attributes
        yield store
        store.close()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def under(root):
    store = LocalUnderStore(str(root), durable=False)
    yield store
    store.close()


@pytest.fixture
def canary(tmp_path):
    """Give a directory outside of the root; nothing in it may be read or change."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_bytes(b"sings")
    before = sorted((p.name, p.stat().st_ctime_ns) for p in [outside, *outside.iterdir()])
    yield outside
    after = sorted((p.name, p.stat().st_ctime_ns) for p in [outside, *outside.iterdir()])
    assert after == before, "something reached out of the root"


# --- opening -----------------------------------------------------------------------------


def test_missing_root_is_made_with_its_parents(tmp_path):
    uri = (tmp_path / "no/such/directory yet").as_uri()
    LocalUnderStore.from_uri(uri, {}).close()
    assert (tmp_path / "no/such/directory yet").is_dir()


def test_root_may_be_given_with_localhost_and_percent_signs(tmp_path):
    LocalUnderStore.from_uri(f"file://localhost{tmp_path}/a%20b%23", {}).close()
    assert (tmp_path / "a b#").is_dir()


@pytest.mark.parametrize(
    "uri", ["file://host/x", "file://relative", "file:/x", "s3://x", "/x", "file:///a%00b", ""]
)
def test_uri_that_cannot_be_is_refused(uri):
    with pytest.raises(ConfigurationError, match="file:///absolute/path"):
        LocalUnderStore.from_uri(uri, {})


def test_every_wrong_option_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        LocalUnderStore.from_uri(tmp_path.as_uri(), {"durabilty": "disk", "durability": "ram"})
    assert len(caught.value.faults) == 2
    assert "nearest: 'durability'" in caught.value.faults[0]
    assert "disk, process" in caught.value.faults[1]


@pytest.mark.parametrize("at", ["root", "root/below", "root/.forebay", "root/.forebay/staging"])
def test_root_that_is_no_directory_is_a_fault_of_the_configuration(tmp_path, at):
    path = tmp_path / at
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a file")
    root = tmp_path / ("root/below" if at == "root/below" else "root")
    with pytest.raises(ConfigurationError):
        LocalUnderStore(str(root))
    assert path.read_bytes() == b"a file"


def test_private_directory_behind_a_link_is_refused(root, canary):
    root.mkdir()
    (root / ".forebay").symlink_to(canary)
    with pytest.raises(ConfigurationError, match=r"\.forebay"):
        LocalUnderStore(str(root))


def test_failed_open_leaks_no_descriptor(tmp_path, open_files):
    (tmp_path / ".forebay").write_bytes(b"")
    before = open_files()
    for _ in range(3):
        with pytest.raises(ConfigurationError):
            LocalUnderStore(str(tmp_path))
    assert open_files() == before


def test_nothing_leaks_a_descriptor(under, open_files):
    before = open_files()
    for key in ("b/x/y", "b/x/", "b/x/y/z", "b/..", "b/" + "s" * 300):
        put(under, key, b"" if key.endswith("/") else b"1")
        read(under, key)
        list(under.list(delimiter="/"))
        next(under.list())
        with pytest.raises(NotFound):
            under.head(key + "missing")
        under.delete(key)
    assert open_files() == before


@pytest.mark.parametrize("prepared", [True, False], ids=["ours", "from outside"])
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_store_that_cannot_be_written_can_be_read(root, monkeypatch, prepared, number, open_files):
    with_objects = LocalUnderStore(str(root))
    put(with_objects, "b/x", b"1", attributes=ATTRIBUTES)
    put(with_objects, "b/folder/", b"")
    with_objects.close()
    if not prepared:
        (root / ".forebay/staging").rmdir()
        (root / ".forebay").rmdir()

    def refuse(path, *args, **kwargs):
        if os.path.exists(f"{root}/{path}"):  # what is there is told before what is forbidden
            raise OSError(errno.EEXIST, "File exists")
        raise OSError(number, os.strerror(number))

    def forbid(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", refuse)
    monkeypatch.setattr(os, "setxattr", forbid)
    before = open_files()
    store = LocalUnderStore(str(root))
    try:
        assert read(store, "b/x") == b"1"
        assert store.head("b/x").attributes == ATTRIBUTES
        assert names(store.list()) == ["b/folder/", "b/x"]
        with pytest.raises(PermissionDenied):
            put(store, "b/y", b"1")
        with pytest.raises(PermissionDenied):
            store.delete("b/x")
    finally:
        store.close()
    assert open_files() == before


# --- what is on the disk -----------------------------------------------------------------


def test_object_is_a_plain_file_with_ordinary_rights(under, root):
    umask = os.umask(0o022)
    try:
        put(under, "bucket/dir/übung #1.txt", b"bytes")
    finally:
        os.umask(umask)
    path = root / "bucket" / "dir" / "übung #1.txt"
    assert path.read_bytes() == b"bytes"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert list((root / ".forebay" / "staging").iterdir()) == []


def test_fingerprint_and_time_are_those_of_the_file(under, root):
    info = put(under, "b/x", b"12345")
    at = (root / "b/x").stat()
    expected = [at.st_dev, at.st_ino, 5, at.st_mtime_ns, at.st_ctime_ns]
    assert [int(part, 16) for part in info.fingerprint.split("-")] == expected
    assert abs(info.last_modified.timestamp() - at.st_mtime) < 0.001
    assert info.etag is None


@pytest.mark.parametrize("seconds", [-1, 0, 1 << 33])
def test_times_far_away_are_told(under, root, seconds):
    put(under, "b/x", b"1")
    os.utime(root / "b/x", (seconds, seconds))
    told = (root / "b/x").stat().st_mtime  # what the file system made of it
    assert under.head("b/x").last_modified == datetime.fromtimestamp(told, UTC)


def test_change_of_time_alone_changes_the_fingerprint(under, root):
    old = put(under, "b/x", b"1").fingerprint
    os.utime(root / "b/x")
    assert under.head("b/x").fingerprint != old


def test_big_body_is_reserved_and_then_exact(under, root):
    put(under, "b/x", b"x" * (3 * BLOCK + 7))
    assert (root / "b/x").stat().st_size == 3 * BLOCK + 7


def test_full_disk_is_told_before_the_body_is_read(under, monkeypatch):
    def full(fd, offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)

    class Untouched:
        def read(self, size):
            raise AssertionError("the body was read")

    with pytest.raises(NoSpace) as caught:
        under.put("b/x", Untouched(), size=5 * BLOCK, attributes=Attributes())
    assert isinstance(caught.value.__cause__, OSError)
    assert not exists(under, "b/x")


def test_file_system_that_cannot_reserve_takes_the_body_all_the_same(under, monkeypatch):
    def unable(fd, offset, length):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    put(under, "b/x", b"x" * BLOCK)
    assert under.head("b/x").size == BLOCK


def test_failed_sync_is_not_tried_again_and_shows_nothing(root, monkeypatch):
    calls = []

    def fail(fd):
        calls.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    store = LocalUnderStore(str(root), durable=True)
    try:
        put(store, "b/x", b"old")
        monkeypatch.setattr(os, "fdatasync", fail)
        for key in ("b/x", "b/new/y"):
            with pytest.raises(StorageError):
                put(store, key, b"new")
        assert len(calls) == 2
        assert read(store, "b/x") == b"old"
        assert names(store.list()) == ["b/x"]
        assert os.listdir(root / ".forebay/staging") == []
    finally:
        store.close()


def test_durable_put_syncs_the_file_and_every_directory_above_it(root, monkeypatch):
    synced = []

    def note(fd):
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), root))

    store = LocalUnderStore(str(root), durable=True)
    try:
        monkeypatch.setattr(os, "fsync", note)
        monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append("body"))
        put(store, "b/x/y", b"1")
        assert synced == ["body", ".", "b", "b/x"]
        synced.clear()
        put(store, "b/x/z", b"1")
        assert synced == ["body", "b/x"], "what is on disk already is synced once"
        synced.clear()
        store.delete("b/x/z")
        assert synced == ["b/x"]
        synced.clear()
        store.delete("b/x/y")
        assert synced == ["b"], "the directory that lost its child"
        synced.clear()
        put(store, "b/x/", b"")
        assert synced == ["b", "b/x"]
    finally:
        store.close()


def test_process_durability_syncs_nothing(under, monkeypatch):
    def never(fd):
        raise AssertionError("synced")

    monkeypatch.setattr(os, "fsync", never)
    monkeypatch.setattr(os, "fdatasync", never)
    put(under, "b/x/y", b"1")
    put(under, "b/x/", b"")
    under.delete("b/x/y")
    under.delete("b/x/")


# --- what is no object -------------------------------------------------------------------


def test_symbolic_links_are_never_followed(under, root, canary):
    put(under, "b/real/x", b"1")
    links = {
        "file": canary / "canary",
        "directory": canary,
        "dangling": canary / "missing",
        "loop": root / "b" / "loop",
        "inside": root / "b" / "real" / "x",
        "up": "..",
    }
    for name, target in links.items():
        (root / "b" / name).symlink_to(target)
    (root / "bucket").symlink_to(canary)
    for key in (
        *(f"b/{name}" for name in links),
        *(f"b/{name}/" for name in links),
        "b/directory/canary",
        "b/up/b/real/x",
        "bucket/canary",
        "bucket/",
    ):
        with pytest.raises(NotFound):
            under.head(key)
        with pytest.raises(NotFound), under.open(key):
            pass
        under.delete(key)
        assert names(under.list(key)) == []
    assert names(under.list()) == ["b/real/x"]
    assert list(under.list(delimiter="/")) == [CommonPrefix("b/")]
    assert list(under.list("b/", delimiter="/")) == [CommonPrefix("b/real/")]
    assert {p.name for p in (root / "b").iterdir() if p.is_symlink()} == set(links)


def test_put_beside_a_link_leaves_the_link_alone(under, root, canary):
    (root / "b").mkdir()
    (root / "b" / "file").symlink_to(canary / "canary")
    (root / "b" / "directory").symlink_to(canary)
    for key in ("b/file", "b/directory", "b/directory/canary", "b/directory/new"):
        put(under, key, b"ours")
        assert read(under, key) == b"ours"
    assert names(under.list()) == sorted(
        ["b/directory", "b/directory/canary", "b/directory/new", "b/file"]
    )
    assert (root / "b" / "file").is_symlink()
    for key in names(under.list()):
        under.delete(key)
    assert names(under.list()) == []
    assert (root / "b" / "directory").is_symlink()


def test_directory_swapped_for_a_link_leads_nowhere(under, root, canary):
    put(under, "b/dir/canary", b"ours")
    listing = under.list()
    (root / "b" / "dir").rename(root / "aside")
    (root / "b" / "dir").symlink_to(canary)
    assert [key for key in names(listing) if key.startswith("b/")] == []
    with pytest.raises(NotFound):
        under.head("b/dir/canary")


@pytest.fixture
def specials(root):
    (root / "b").mkdir(parents=True)
    os.mkfifo(root / "b" / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(root / "b")  # the address of a socket is short
        try:
            bound.bind("socket")
        finally:
            os.chdir(here)
    found = ["fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod(root / "b" / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        found.append("device")
    return found


@pytest.mark.timeout(10)
def test_specials_are_not_found_and_nobody_waits_for_them(under, root, specials):
    for name in specials:
        for key in (f"b/{name}", f"b/{name}/", f"b/{name}/x"):
            with pytest.raises(NotFound):
                under.head(key)
            with pytest.raises(NotFound), under.open(key):
                pass
            under.delete(key)
    assert names(under.list()) == []
    assert list(under.list(delimiter="/")) == [], "nothing in it is a key"
    for name in specials:
        put(under, f"b/{name}", b"ours")
        assert read(under, f"b/{name}") == b"ours"
        assert not stat.S_ISREG((root / "b" / name).stat().st_mode)
    assert names(under.list("b/")) == sorted(f"b/{name}" for name in specials)


def test_our_own_directory_has_no_key(under, root):
    secret = root / ".forebay" / "staging" / "secret"
    secret.write_bytes(b"not whole")
    for key in (".forebay/staging/secret", ".forebay/", ".forebay", ".forebay/staging/"):
        with pytest.raises(NotFound):
            under.head(key)
        under.delete(key)
    put(under, ".forebay/staging/secret", b"a key of that name")
    assert names(under.list()) == [".forebay/staging/secret"]
    assert names(under.list(".forebay/")) == [".forebay/staging/secret"]
    assert secret.read_bytes() == b"not whole"
    assert list(under.list(delimiter="/")) == [CommonPrefix(".forebay/")]


@pytest.mark.parametrize("key", ["../outside/canary", "b/../../outside/canary", "/etc/passwd"])
def test_no_key_leads_out_of_the_root(under, canary, key):
    assert not exists(under, key)
    put(under, key, b"ours")
    assert read(under, key) == b"ours"
    assert names(under.list()) == [key]
    under.delete(key)
    assert names(under.list()) == []


# --- reading -----------------------------------------------------------------------------


def test_reader_of_a_truncated_file_says_so(under, root):
    put(under, "b/x", b"x" * (2 * BLOCK))
    with under.open("b/x") as reader:
        assert isinstance(reader, LocalReader)
        reader.read(10)
        os.truncate(root / "b/x", 5)
        with pytest.raises(SourceChanged):
            reader.read(BLOCK)


def test_reader_of_a_rewritten_file_holds_back_the_last_block(under, root):
    put(under, "b/x", b"x" * 1000)
    with under.open("b/x", ByteRange(0, 100)) as reader:
        assert len(reader.read(50)) == 50
        with open(root / "b/x", "r+b") as file:
            file.write(b"y" * 1000)
        os.utime(root / "b/x", (1, 1))  # whatever the grain of the clock
        with pytest.raises(SourceChanged):
            reader.read(50)


def test_reader_of_a_removed_file_goes_on(under, root):
    put(under, "b/x", b"x" * 1000)
    with under.open("b/x") as reader:
        reader.read(10)
        under.delete("b/x")
        assert reader.read(2000) == b"x" * 990


def test_reader_of_a_folder_marker_has_an_empty_file(under):
    put(under, "b/folder/", b"")
    with under.open("b/folder/") as reader:
        assert os.pread(reader.fileno(), 10, 0) == b""
        assert reader.read(10) == b""
        assert reader.info.size == 0


# --- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "meaning"),
    [
        (errno.ENOENT, NotFound),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EACCES, PermissionDenied),
        (errno.EPERM, PermissionDenied),
        (errno.EROFS, PermissionDenied),
        (errno.ENAMETOOLONG, InvalidKey),
        (errno.EMFILE, Unavailable),
        (errno.ESTALE, Unavailable),
        (errno.EIO, StorageError),
        (errno.EXDEV, StorageError),
    ],
)
def test_error_of_the_system_has_its_meaning(number, meaning):
    own = OSError(number, os.strerror(number))
    with pytest.raises(StorageError) as caught, Translated("a key"):
        raise own
    assert type(caught.value) is meaning
    assert caught.value.__cause__ is own
    assert "'a key'" in str(caught.value)
    assert set(MEANING.values()) >= {NoSpace, PermissionDenied}


def test_other_errors_are_left_alone():
    with pytest.raises(ZeroDivisionError), Translated("a key"):
        raise ZeroDivisionError


def test_body_that_raises_an_os_error_is_not_mistaken_for_the_disk(under):
    own = OSError(errno.ENOSPC, "of the client")

    class Body:
        def read(self, size):
            raise own

    with pytest.raises(OSError, match="of the client") as caught:
        under.put("b/x", Body(), size=None, attributes=Attributes())
    assert caught.value is own


def test_body_in_one_read_may_be_bigger_than_asked(under):
    class Generous:
        def __init__(self):
            self._reader = BytesReader(b"x" * 3 * BLOCK)

        def read(self, size):
            return self._reader.read(3 * size)

    under.put("b/x", Generous(), size=3 * BLOCK, attributes=Attributes())
    assert under.head("b/x").size == 3 * BLOCK


# --- the plugin --------------------------------------------------------------------------


def test_under_store_factory_answers_for_file_only():
    made = forebay_local.under_store_factory(scheme="file")
    assert made == Checked(LocalUnderStore.from_uri, LocalUnderStore.check)
    assert forebay_local.under_store_factory(scheme="s3") is None


def test_page_store_factory_answers_for_disk_only():
    made = forebay_local.page_store_factory(kind="disk")
    assert made == Checked(DiskPageStore.from_options, DiskPageStore.check)
    assert forebay_local.page_store_factory(kind="memory") is None
