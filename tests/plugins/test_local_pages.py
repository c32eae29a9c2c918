import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.errors import ConfigurationError, Corrupt, InvalidKey, NoSpace, StorageError
from forebay.testing.pages import PAGE, PageStoreTests, held, put
from forebay.types import PageId
from forebay_local import pages as module
from forebay_local import shelves
from forebay_local.block_sums import ATTRIBUTE, ATTRIBUTE_LIMIT, BLOCK
from forebay_local.pages import DiskPageStore

SEGMENT = PageId("whole")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "tier" / "pages"


@pytest.fixture
def reopen(root):
    return lambda **options: DiskPageStore(root, **options)


@pytest.fixture
def pages(reopen):
    return reopen()


class TestDiskPageStore(PageStoreTests):
    @pytest.fixture
    def pages(self, pages):
        return pages

    @pytest.fixture
    def reopen(self, reopen):
        return reopen

    @pytest.fixture
    def opening(self, root):
        return DiskPageStore, (root,)


def file_of(root, page):
    shard, name = shelves.place(page)
    return root / "data" / shard / name


def flip(path, offset):
    """Damage one byte and leave everything else as it is."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def staged(root):
    return list((root / "staging").iterdir())


# --- options -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "`path` must name"),
        ({"path": ""}, "`path` must name"),
        ({"path": "x", "verfy": "first"}, "unknown option 'verfy'; the nearest is 'verify'"),
        ({"path": "x", "verify": "often"}, "first, always, never, not 'often'"),
    ],
)
def test_wrong_options_are_refused(options, fault):
    with pytest.raises(ConfigurationError, match=fault):
        DiskPageStore.from_options(options)


def test_the_tiers_own_keys_are_no_options(root):
    store = DiskPageStore.from_options({"name": "SSD", "path": str(root), "capacity": 1 << 30})
    assert store.shared_between_processes
    put(store, PAGE, b"abc")
    assert file_of(root, PAGE).read_bytes() == b"abc"


# --- what lies where -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "segment", ["../x", "a/b", "", ".", "a.b", "a\0b", "a b", "\u00e9", "x" * 201]
)
def test_no_segment_leads_out_of_the_shelves(pages, segment):
    for call in (lambda p: pages.writer(p, 1), pages.open, pages.delete):
        with pytest.raises(InvalidKey):
            call(PageId(segment))


@pytest.mark.parametrize("page", [PageId("a", -1, 0), PageId("a", 1, -1)])
def test_negative_numbers_are_no_page(pages, page):
    with pytest.raises(InvalidKey):
        pages.open(page)


def test_a_link_is_not_followed(pages, root, tmp_path):
    (tmp_path / "secret").write_text("secret")
    file_of(root, PAGE).symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError):
        pages.open(PAGE)


def test_pages_come_in_the_order_of_their_last_write(pages, root):
    for number, name in enumerate("cab"):
        put(pages, PageId(name), b"x")
        os.utime(file_of(root, PageId(name)), ns=(0, number))
    assert [page.segment for page, _ in pages.pages()] == ["c", "a", "b"]


def test_nothing_is_left_in_staging(pages, root):
    put(pages, PAGE, b"abc")
    writer = pages.writer(PAGE, 100)
    writer.write(b"abc")
    assert len(staged(root)) == 1
    with pytest.raises(StorageError, match="announced 100 bytes, given 3"):
        writer.commit(sync=False)
    pages.writer(PAGE, None).abort()
    assert staged(root) == []
    assert held(pages, PAGE) == b"abc"


def test_a_start_sweeps_what_dead_writers_left_and_nothing_else(pages, reopen, root):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from forebay.types import PageId; from forebay_local.pages import DiskPageStore\n"
        "writer = DiskPageStore(Path(sys.argv[1])).writer(PageId('dead'), None)\n"
        "writer.write(b'half'); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(root)], timeout=60).returncode == 9
    living = pages.writer(PAGE, None)
    living.write(b"abc")
    assert len(staged(root)) == 2
    reopen()
    assert len(staged(root)) == 1
    living.commit(sync=True)
    assert list(reopen().pages()) == [(PAGE, 3)]


# --- a bad day -----------------------------------------------------------------------------


@pytest.fixture
def small_files():
    """Make every file end at 1 MiB, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_space_shows_before_the_body_where_the_size_is_known(pages, root, small_files):
    with pytest.raises(NoSpace):
        pages.writer(PAGE, 2 << 20)
    assert staged(root) == []


def test_no_space_shows_while_writing_where_it_is_not(pages, root, small_files):
    writer = pages.writer(PAGE, None)
    with pytest.raises(NoSpace):
        writer.write(b"x" * (2 << 20))
    with pytest.raises(StorageError, match="ended already"):
        writer.commit(sync=False)
    writer.abort()
    assert staged(root) == []
    assert pages.open(PAGE) is None


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_failed_sync_loses_the_page_and_is_not_tried_again(pages, root, monkeypatch, call):
    calls = []

    def fail(fd):
        calls.append(fd)
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(os, call, fail)
    writer = pages.writer(PAGE, 3)
    writer.write(b"abc")
    with pytest.raises(StorageError, match="injected"):
        writer.commit(sync=True)
    assert len(calls) == 1
    with pytest.raises(StorageError, match="ended already"):
        writer.commit(sync=True)
    assert len(calls) == 1
    assert pages.open(PAGE) is None
    assert staged(root) == []


def test_without_sync_nothing_is_synced(pages, monkeypatch):
    def fail(fd):
        raise OSError(errno.EIO, "injected")

    for call in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, call, fail)
    writer = pages.writer(PAGE, 3)
    writer.write(b"abc")
    writer.commit(sync=False)
    assert held(pages, PAGE) == b"abc"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_the_kth_failing_call_leaves_no_page_and_no_staging(pages, root, monkeypatch, error):
    """Fail the first, second, … system call of a commit until none is left to fail."""
    names = ["setxattr", "fdatasync", "rename", "fsync"]
    originals = {name: getattr(os, name) for name in names}
    k, wrong = 0, []
    while len(wrong) == k:
        k += 1
        seen = []

        def counted(name, k=k, seen=seen):
            def call(*args, **options):
                seen.append(name)
                if len(seen) == k:
                    raise OSError(error, "injected")
                return originals[name](*args, **options)

            return call

        writer = pages.writer(PAGE, 3)
        writer.write(b"abc")
        for name in names:
            monkeypatch.setattr(os, name, counted(name))
        try:
            writer.commit(sync=True)
        except StorageError as each:
            wrong.append(each)
            assert pages.open(PAGE) is None
        finally:
            for name in names:
                monkeypatch.setattr(os, name, originals[name])
        assert staged(root) == []
    assert seen == names
    assert [isinstance(each, NoSpace) for each in wrong] == [error != errno.EIO] * len(names)
    assert held(pages, PAGE) == b"abc"


# --- bit rot -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [PAGE, SEGMENT])
@pytest.mark.parametrize("offset", [0, BLOCK - 1, BLOCK, BLOCK + 4])
def test_a_flipped_bit_is_corrupt_at_the_first_open(pages, root, reopen, page, offset):
    put(pages, page, os.urandom(BLOCK + 5))
    flip(file_of(root, page), offset)
    other = reopen()
    for _ in range(2):
        with pytest.raises(Corrupt):
            other.open(page)


@pytest.mark.parametrize("size", [BLOCK, BLOCK + 5])
@pytest.mark.parametrize("length", [0, 10, BLOCK - 1, BLOCK + 6, 2 * BLOCK + 1])
def test_another_length_is_corrupt_even_after_the_first_open(pages, root, size, length):
    put(pages, PAGE, b"\0" * size)
    assert held(pages, PAGE) is not None
    os.truncate(file_of(root, PAGE), length)
    with pytest.raises(Corrupt):
        pages.open(PAGE)


@pytest.mark.parametrize(("verify", "found"), [("first", True), ("always", False), ("never", True)])
def test_verify_says_whether_a_later_open_looks_again(root, verify, found):
    pages = DiskPageStore(root, verify=verify)
    put(pages, PAGE, b"x" * 5000)
    assert held(pages, PAGE) is not None
    flip(file_of(root, PAGE), 100)
    if found:
        assert held(pages, PAGE) is not None
    else:
        with pytest.raises(Corrupt):
            pages.open(PAGE)


def test_verify_never_looks_at_nothing(pages, root, reopen):
    put(pages, PAGE, b"x" * 5000)
    flip(file_of(root, PAGE), 100)
    assert held(reopen(verify="never"), PAGE) is not None


def test_a_page_without_sums_is_believed(pages, root, reopen):
    put(pages, PAGE, b"x" * 5000)
    os.removexattr(file_of(root, PAGE), ATTRIBUTE)
    flip(file_of(root, PAGE), 100)
    assert held(reopen(), PAGE) is not None


def test_a_large_page_is_verified_block_by_block(pages, root, reopen, monkeypatch):
    monkeypatch.setattr(module, "LAZY", BLOCK)
    content = os.urandom(3 * BLOCK + 9)
    put(pages, SEGMENT, content)
    flip(file_of(root, SEGMENT), BLOCK + 7)
    reader = reopen().open(SEGMENT)
    assert reader.pread(BLOCK, 0) == content[:BLOCK]
    assert reader.pread(100, BLOCK - 50 - BLOCK // 2) == content[BLOCK // 2 - 50 : BLOCK // 2 + 50]
    assert reader.pread(2 * BLOCK, 2 * BLOCK + 1) == content[2 * BLOCK + 1 :]
    assert reader.pread(9, 4 * BLOCK) == b""
    with pytest.raises(Corrupt, match="block 1"):
        reader.pread(1, 2 * BLOCK - 1)
    with pytest.raises(Corrupt, match="block 1"):
        reader.pread(3 * BLOCK, 0)
    reader.close()


class TestSumsBeside:
    """Pages of more blocks than fit into an attribute have a file beside them."""

    @pytest.fixture(autouse=True)
    def few_sums_fit(self, monkeypatch):
        monkeypatch.setattr("forebay_local.block_sums.ATTRIBUTE_LIMIT", 4)

    @pytest.fixture
    def content(self):
        return os.urandom(2 * BLOCK + 5)

    def beside(self, root):
        return Path(f"{file_of(root, SEGMENT)}.crc")

    def test_they_find_the_flipped_bit(self, pages, root, reopen, content):
        assert ATTRIBUTE_LIMIT == 2048
        put(pages, SEGMENT, content)
        assert self.beside(root).stat().st_size == 8 + 3 * 4
        assert held(reopen(), SEGMENT) == content
        assert list(pages.pages()) == [(SEGMENT, len(content))]
        flip(file_of(root, SEGMENT), 2 * BLOCK)
        with pytest.raises(Corrupt):
            reopen().open(SEGMENT)

    def test_they_go_with_their_page(self, pages, root, content):
        put(pages, SEGMENT, content)
        assert pages.delete(SEGMENT)
        assert not self.beside(root).exists()

    def test_they_are_not_held_against_another_page(self, pages, root, reopen, content):
        put(pages, SEGMENT, content)
        old = self.beside(root).read_bytes()
        put(pages, SEGMENT, content[::-1])
        self.beside(root).write_bytes(old)
        assert held(reopen(), SEGMENT) == content[::-1]

    def test_orphans_are_dropped(self, pages, root, content):
        put(pages, SEGMENT, content)
        file_of(root, SEGMENT).unlink()
        assert list(pages.pages()) == []
        assert not self.beside(root).exists()


def test_what_is_remembered_is_bounded(pages, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 4)
    for number in range(10):
        put(pages, PageId("s", 1, number), b"x")
        assert held(pages, PageId("s", 1, number)) == b"x"
        assert len(pages._sound) <= 4
