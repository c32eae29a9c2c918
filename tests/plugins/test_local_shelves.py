import fcntl
import os

import pytest

from forebay.errors import ConfigurationError
from forebay.types import PageId
from forebay_local import shelves


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pages"


@pytest.mark.parametrize("page", [PageId("a"), PageId("018f-A_b", 1 << 20, 12), PageId("-", 0, 3)])
def test_a_name_stands_for_its_page(page):
    shard, name = shelves.place(page)
    assert shard in shelves.SHARDS
    assert shelves.page_of(name) == page


@pytest.mark.parametrize("name", ["", "a", "a.1", "a.1.x", "a.b.1.2", "a.1.2.crc", ".1.2"])
def test_other_names_stand_for_nothing(name):
    assert shelves.page_of(name) is None


def test_all_pages_of_a_segment_lie_in_one_shard_and_segments_are_spread():
    assert len({shelves.place(PageId("seg", 1024, each))[0] for each in range(50)}) == 1
    assert len({shelves.place(PageId(f"seg{each}"))[0] for each in range(2000)}) > 200


def test_every_directory_is_made_at_once(root):
    shelves.prepare(root)
    assert sorted(each.name for each in (root / "data").iterdir()) == list(shelves.SHARDS)
    assert {each.name for each in root.iterdir()} == {"staging", "data", "forebay-pages"}
    assert root.stat().st_mode & 0o077 == 0


def test_an_interrupted_format_is_finished(root):
    shelves.prepare(root)
    (root / "forebay-pages").write_text("")
    (root / "data" / "7f").rmdir()
    shelves.prepare(root)
    assert (root / "data" / "7f").is_dir()
    assert (root / "forebay-pages").read_text() == "1\n"


def test_another_format_is_refused(root):
    shelves.prepare(root)
    (root / "forebay-pages").write_text("2\n")
    with pytest.raises(ConfigurationError, match="format '2', this Forebay knows '1'"):
        shelves.prepare(root)


def test_a_directory_in_other_use_is_refused(root):
    root.mkdir()
    (root / "thesis.odt").write_text("")
    with pytest.raises(ConfigurationError, match=r"holds other files \(thesis\.odt\)"):
        shelves.prepare(root)
    assert [each.name for each in root.iterdir()] == ["thesis.odt"]


def test_a_path_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file"):
        shelves.prepare(tmp_path / "file" / "pages")


@pytest.mark.parametrize(("kind", "durable"), [("tmpfs", False), ("ramfs", False), ("ext4", True)])
def test_memory_file_systems_are_not_durable(root, tmp_path, monkeypatch, kind, durable):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"23 1 {os.major(device)}:{os.minor(device)} / /here rw,noatime shared:1 - {kind} x rw\n"
    )
    monkeypatch.setattr(shelves.file_system, "__defaults__", (mounts,))
    assert shelves.prepare(root) is durable


def test_a_staged_file_is_locked_and_alone(root):
    shelves.prepare(root)
    fd, path = shelves.stage(root / "staging")
    other = os.open(path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    shelves.sweep(root / "staging")
    assert os.path.exists(path)
    os.close(fd)
    shelves.sweep(root / "staging")
    assert not os.path.exists(path)
    os.close(other)


def test_a_file_swept_before_its_lock_is_made_again(root, monkeypatch):
    shelves.prepare(root)
    flock, swept = fcntl.flock, []

    def sweep_first(fd, how):
        if not swept:
            swept.append(os.readlink(f"/proc/self/fd/{fd}"))
            os.unlink(swept[0])
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    fd, path = shelves.stage(root / "staging")
    assert path != swept[0]
    assert os.fstat(fd).st_nlink == 1
    os.close(fd)
