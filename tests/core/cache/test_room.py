import os
import subprocess
import sys

import pytest

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
    room.settle(held, 50, replaced=20)
    assert room.counts() == Counts(used=50, pending=0, pages=1)


def test_release_and_give_return_room(room):
    room.enter(shelves(20))
    room.release(room.take(50, 100))
    room.give(20)
    assert room.counts() == Counts()


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


def test_the_first_user_after_all_are_gone_counts_anew(tmp_path):
    one = FileRoom(tmp_path)
    one.enter(shelves(10))
    one.take(50, 100)
    one.close()
    two = FileRoom(tmp_path)
    two.enter(shelves(10))
    assert two.counts() == Counts(used=10, pending=0, pages=1)
    two.close()


KILLED = """
import os, signal, sys
from forebay.cache.room import FileRoom
room = FileRoom(sys.argv[1])
room.enter(lambda: [])
assert room.take(40, 100) == 40
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_held_stays_counted_until_all_are_gone(tmp_path):
    stays = FileRoom(tmp_path)
    stays.enter(shelves())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, timeout=30)
    assert stays.counts().used == 40
    stays.close()
    comes = FileRoom(tmp_path)
    comes.enter(shelves())
    assert comes.counts().used == 0
    comes.close()


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
