import os
import shutil
import subprocess
import sys

import pytest

from forebay.cache import room as room_module
from forebay.cache.room import Counts, FileRoom, RoomCounter
from forebay.errors import StorageError
from forebay.types import PageId


def shelves(*sizes):
    return lambda: [(PageId(f"s{number}"), size) for number, size in enumerate(sizes)]


@pytest.fixture(params=["memory", "file"])
def room(request, tmp_path):
    room = RoomCounter() if request.param == "memory" else FileRoom(tmp_path)
    yield room
    room.close()


def test_enter_counts_what_is_on_the_shelves(room):
    room.enter(shelves(10, 20))
    assert room.counts() == Counts(used=30, pending=0, pages=2)


def test_take_gives_no_more_than_the_limit_leaves(room):
    room.enter(shelves(70))
    assert room.take(50, 100) == 30
    assert room.take(1, 100) == 0
    assert room.counts() == Counts(used=100, pending=30, pages=1)


def test_take_over_a_lowered_limit_gives_nothing(room):
    room.enter(shelves(70))
    assert room.take(5, 50) == 0
    assert room.counts().used == 70


def test_room_of_a_page_that_is_gone_comes_back_in_the_same_turn(room):
    room.enter(shelves(60, 40))
    room.leave(40)
    assert room.take(50, 100, gone=40) == 40
    assert room.counts() == Counts(used=100, pending=40, pages=1)


def test_settle_corrects_a_reservation_to_the_real_size(room):
    room.enter(shelves())
    held = room.take(50, 100)
    room.settle(held, 30)
    assert room.counts() == Counts(used=30, pending=0, pages=1)


def test_settle_of_a_replacement_gives_the_old_page_back(room):
    room.enter(shelves(20))
    held = room.take(50, 100)
    room.leave(20)
    room.settle(held, 50, replaced=20)
    assert room.counts() == Counts(used=50, pending=0, pages=1)


def test_release_and_give_return_room(room):
    room.enter(shelves(20))
    room.release(room.take(50, 100))
    room.leave(20)
    room.give(20)
    assert room.counts() == Counts()


def test_what_was_to_leave_and_stays_is_counted_as_before(room):
    room.enter(shelves(20))
    room.leave(20)
    room.stay(20)
    assert room.counts() == Counts(used=20, pending=0, pages=1)


def test_close_twice_is_harmless(room):
    room.close()
    room.close()


def test_two_users_of_a_directory_share_one_count(tmp_path):
    one, two = FileRoom(tmp_path), FileRoom(tmp_path)
    try:
        one.enter(shelves(10))
        one.take(50, 100)
        two.enter(shelves(10))
        assert two.counts() == Counts(used=60, pending=50, pages=1)
        assert two.take(60, 100) == 40
    finally:
        one.close()
        two.close()


def test_a_count_outlives_its_users_without_a_look_at_the_shelves(tmp_path):
    one = FileRoom(tmp_path)
    one.enter(shelves(10))
    one.take(50, 100)
    one.close()
    two = FileRoom(tmp_path)
    two.enter(never)
    # What was pending may lie on the shelf: the one who had it may have been killed just then.
    assert two.counts() == Counts(used=60, pending=0, pages=1)
    assert two.doubtful
    two.recount(shelves(10))
    assert two.counts() == Counts(used=10, pending=0, pages=1)
    assert not two.doubtful
    two.close()


def never():
    raise AssertionError("nobody has to look at the shelves")


@pytest.fixture
def other_boot(monkeypatch, tmp_path):
    def other_boot(name):
        (tmp_path / "boot").write_text(f"{name:032x}\n")
        monkeypatch.setattr(room_module, "_BOOT", tmp_path / "boot")

    return other_boot


@pytest.mark.parametrize("closed", [True, False])
def test_after_the_machine_went_down_only_a_count_that_was_closed_is_believed(
    tmp_path, other_boot, closed
):
    other_boot(1)
    one = FileRoom(tmp_path)
    one.enter(shelves(10))
    if closed:
        one.close()
    else:
        # As if the machine went down: the files are left as they are.
        os.close(one._open.pop(1))
    other_boot(2)
    two = FileRoom(tmp_path)
    two.enter(never)
    assert two.counts().known is closed
    assert two.take(5, 100) == (5 if closed else 0)
    two.recount(shelves(30))
    assert two.take(5, 100) == 5
    assert two.counts().used == (20 if closed else 35)
    two.close()


def test_a_count_of_a_system_that_does_not_tell_when_it_booted_is_not_believed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(room_module, "_BOOT", tmp_path / "nothing")
    one = FileRoom(tmp_path)
    one.enter(shelves(10))
    os.close(one._open.pop(1))
    two = FileRoom(tmp_path)
    two.enter(never)
    assert not two.counts().known
    two.close()


def test_an_unreadable_count_is_made_anew(tmp_path):
    (tmp_path / "room").write_bytes(b"from another version")
    one = FileRoom(tmp_path)
    one.enter(shelves(10, 20))
    assert one.counts() == Counts(used=30, pending=0, pages=2)
    one.close()


def test_a_recount_beside_writers_never_counts_too_little(tmp_path):
    one, two = FileRoom(tmp_path), FileRoom(tmp_path)
    one.enter(shelves())
    two.enter(never)
    pages = [10]
    held = one.take(10, 100)
    one.settle(held, 10)
    pending = one.take(7, 100)

    def meanwhile():
        # A page is listed, another one comes too late for the listing, a third is under way.
        before = list(pages)
        pages.append(20)
        two.settle(two.take(20, 100), 20)
        return shelves(*before)()

    one.recount(meanwhile)
    assert one.counts() == Counts(used=37, pending=7, pages=1)
    one.release(pending)
    one.recount(shelves(*pages))
    assert one.counts() == Counts(used=30, pending=0, pages=2)
    one.close()
    two.close()


def test_a_recount_beside_an_eviction_never_counts_too_little(tmp_path):
    one, two = FileRoom(tmp_path), FileRoom(tmp_path)
    one.enter(shelves(10, 20))
    two.enter(never)
    one.leave(20)
    # The page of 20 bytes is off the shelf already, but nobody was told.
    two.recount(shelves(10))
    assert two.counts().used == 30
    one.give(20)
    assert two.counts() == Counts(used=10, pending=0, pages=0)
    one.close()
    two.close()


def test_two_recounts_at_once_take_what_a_killed_process_held_back_once(tmp_path):
    one, two = FileRoom(tmp_path), FileRoom(tmp_path)
    one.enter(shelves(10))
    two.enter(never)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, timeout=30)
    one.reclaim()

    def meanwhile():
        two.recount(shelves(10))
        return shelves(10)()

    one.recount(meanwhile)
    assert one.counts() == Counts(used=10, pending=0, pages=1)
    one.close()
    two.close()


KILLED = """
import os, signal, sys
from forebay.cache.room import FileRoom
room = FileRoom(sys.argv[1])
room.enter(lambda: [])
assert room.take(40, 100) == 40
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_held_comes_back_while_the_others_go_on(tmp_path):
    stays = FileRoom(tmp_path)
    stays.enter(shelves())
    mine = stays.take(3, 100)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, timeout=30)
    assert stays.counts() == Counts(used=43, pending=43, pages=0)
    assert not stays.doubtful
    stays.reclaim()
    assert stays.counts() == Counts(used=43, pending=3, pages=0)
    assert stays.doubtful
    stays.recount(shelves(5))
    assert stays.counts() == Counts(used=8, pending=3, pages=1)
    stays.release(mine)
    assert stays.counts() == Counts(used=5, pending=0, pages=1)
    stays.close()


def killed_with_40_bytes(path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", KILLED, str(path)], env=environment, timeout=30)


@pytest.mark.parametrize("does", ["comes", "goes", "is about to go"])
def test_what_comes_and_goes_beside_a_recount_leaves_the_count_in_doubt(tmp_path, does):
    stays = FileRoom(tmp_path)
    stays.enter(shelves(20))
    killed_with_40_bytes(tmp_path)
    stays.reclaim()

    def meanwhile():
        if does == "comes":
            # Its page is listed and counted as one that came since.
            stays.settle(stays.take(10, 100), 10)
            return shelves(20, 10)()
        listed = shelves(20)()
        stays.leave(20)
        if does == "goes":
            stays.give(20)
        return listed

    stays.recount(meanwhile)
    left = {"comes": (20, 10), "goes": (), "is about to go": (20,)}[does]
    assert stays.counts().used == {"comes": 40, "goes": 20, "is about to go": 40}[does]
    assert stays.doubtful
    if does == "is about to go":
        stays.stay(20)
    stays.recount(shelves(*left))
    assert stays.counts() == Counts(used=sum(left), pending=0, pages=len(left))
    assert not stays.doubtful
    stays.close()


def test_no_doubt_is_left_when_all_that_a_killed_process_held_came_back_beside_others(tmp_path):
    stays = FileRoom(tmp_path)
    stays.enter(shelves(20))
    killed_with_40_bytes(tmp_path)
    stays.reclaim()

    def meanwhile():
        listed = shelves(20)()
        stays.settle(stays.take(10, 100), 10)
        return listed

    stays.recount(meanwhile)
    assert stays.counts().used == 30
    assert not stays.doubtful
    stays.close()


def test_a_first_count_beside_others_is_in_doubt_too(tmp_path):
    room = FileRoom(tmp_path)
    room.enter(shelves(10))
    (tmp_path / "room").unlink()

    def meanwhile():
        listed = shelves(10, 20)()
        room.leave(20)
        room.give(20)
        return listed

    room.recount(meanwhile)
    assert room.counts().used == 30
    assert room.doubtful
    room.recount(shelves(10))
    assert room.counts() == Counts(used=10, pending=0, pages=1)
    assert not room.doubtful
    room.close()


def test_a_successor_in_the_slot_of_a_killed_process_does_not_inherit_its_bytes(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    stays = FileRoom(tmp_path)
    stays.enter(shelves())
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, timeout=30)
    comes = FileRoom(tmp_path)
    comes.enter(never)
    assert comes.counts() == Counts(used=40, pending=0, pages=0)
    held = comes.take(10, 100)
    assert comes.counts() == Counts(used=50, pending=10, pages=0)
    comes.release(held)
    comes.recount(shelves())
    assert comes.counts() == Counts()
    stays.close()
    comes.close()


def test_removed_files_are_made_again_and_nobody_gets_room_before_a_count(tmp_path):
    directory = tmp_path / "tier"
    room = FileRoom(directory)
    room.enter(shelves(10))
    held = room.take(5, 100)
    shutil.rmtree(directory)
    with pytest.raises(StorageError):
        room.take(1, 100)
    directory.mkdir()
    assert room.take(1, 100) == 0
    assert not room.counts().known
    room.recount(shelves())
    assert room.counts() == Counts(used=5, pending=5, pages=0)
    room.release(held)
    assert room.take(100, 100) == 100
    room.close()


def test_more_processes_than_slots_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(room_module, "_SLOTS", 1)
    one = FileRoom(tmp_path)
    with pytest.raises(StorageError, match="more than 1 processes"):
        FileRoom(tmp_path)
    one.close()
    FileRoom(tmp_path).close()


def test_min_free_is_left_to_the_file_system(tmp_path):
    system = os.statvfs(tmp_path)
    free = system.f_bavail * system.f_frsize
    room = FileRoom(tmp_path, min_free=free + (1 << 40))
    room.enter(shelves())
    assert room.take(1, 1 << 50) == 0
    room.close()


def test_pending_bytes_count_against_what_the_file_system_has_free(tmp_path):
    system = os.statvfs(tmp_path)
    free = system.f_bavail * system.f_frsize
    room = FileRoom(tmp_path, min_free=free // 2)
    room.enter(shelves())
    first = room.take(1 << 50, 1 << 60)
    assert 0 < first <= free
    assert room.take(1 << 50, 1 << 60) < free // 4
    room.close()


def test_a_directory_that_cannot_be_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        FileRoom(tmp_path / "file" / "under")
