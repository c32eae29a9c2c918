"""Times of whole seconds: when a look proves a version, and that nothing is mixed before."""

from __future__ import annotations

import itertools
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from forebay.errors import PreconditionFailed, SourceChanged, Unavailable
from forebay.testing.under_kit import put, read
from forebay.types import ByteRange
from forebay_fsspec import reading
from forebay_fsspec.clock import Clock, time_for
from forebay_fsspec.files import Entry, moment
from forebay_fsspec.opening import open_store

SIZE = 300 << 10


def entry(seconds, size=9):
    return Entry("key", False, size, moment(seconds), f"{size:x}-{seconds:x}")


class Times:
    """Both clocks of this machine, to be set."""

    def __init__(self, tick=1.0, skew=5.0):
        self.at = 1000.5
        self.clock = Clock(tick, skew, wall=lambda: self.at, steady=lambda: self.at - 900)

    def wait(self, seen):
        return self.clock.wait("key", seen, self.at - 900)


# --- when a look proves something --------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "proves"),
    [(1000, False), (999, False), (995, False), (994, True), (1005, False), (1006, True)],
)
def test_a_time_that_is_over_by_any_clock_proves_a_version(seconds, proves):
    assert (Times().wait(entry(seconds)) == 0) is proves


def test_a_second_look_proves_it_when_the_second_is_over_whatever_the_server_s_clock():
    times = Times()
    first = times.wait(entry(997))
    assert first == pytest.approx(1.1)
    times.at += 0.6
    assert times.wait(entry(997)) == pytest.approx(0.5), "others need not wait as long"
    times.at += 0.6
    assert times.wait(entry(997)) == 0
    assert times.wait(entry(998)) > 0, "another time is another version"
    assert times.wait(entry(997)) > 0, "it was written over in between"


def test_a_look_that_began_too_early_proves_nothing():
    times = Times()
    times.wait(entry(1000))
    asked = times.at - 900
    times.at += 2
    assert times.clock.wait("key", entry(1000), asked) > 0


def test_a_server_whose_clock_is_far_off_is_noticed_at_the_first_put():
    times = Times()
    assert times.wait(entry(980)) == 0
    times.clock.compare(entry(970))
    assert times.wait(entry(980)) > 0
    times.clock.compare(entry(1000))
    assert times.clock.skew == pytest.approx(31.5)


def test_fine_times_and_directories_need_no_second_look():
    assert Times(tick=0.0).wait(entry(1000)) == 0
    assert Times().wait(replace(entry(1000), is_directory=True)) == 0


def test_what_is_put_has_a_time_that_is_over_and_that_nothing_before_it_had():
    assert time_for(entry(1000), None) == 999
    assert time_for(entry(1000), entry(900)) == 999
    assert time_for(entry(1000), entry(999)) == 1000
    assert time_for(entry(1000), entry(1003)) == 1004
    times = Times()
    times.clock.own("key", entry(1004))
    assert times.wait(entry(1004)) == 0
    assert times.clock.latest("key", None) == entry(1004), "also when it was deleted since"
    assert times.clock.latest("key", entry(1007)) == entry(1007)
    assert times.clock.latest("other", None) is None


# --- over real servers -------------------------------------------------------------------


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home" / "lake").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture(params=["sftp", "ftp", pytest.param("ftp-no-mfmt", marks=pytest.mark.slow)])
def url(request, home, servers):
    if request.param == "sftp":
        with servers.sftp_server(home) as (url, _):
            yield url
    else:
        without = ("MFMT",) if request.param == "ftp-no-mfmt" else ()
        with servers.ftp_server(home, without=without) as url:
            yield url


@pytest.fixture
def under(url):
    options = {"known_hosts": False} if url.startswith("sftp") else {}
    store = open_store(f"{url}/lake", {"timeout": 20, **options})
    yield store
    store.close()


def write_over(home, content):
    """Write over the file in its place, in one call."""
    fd = os.open(home / "lake" / "key", os.O_WRONLY | os.O_CREAT)
    try:
        assert os.pwrite(fd, content, 0) == len(content)
    finally:
        os.close(fd)


def early_in_a_second():
    time.sleep(1.05 - time.time() % 1.0)


def test_a_file_written_over_within_its_second_is_another_version(under, home):
    early_in_a_second()
    seen = []
    early = threading.Thread(target=lambda: seen.append(under.head("key")))
    write_over(home, b"a" * 9)
    early.start()
    time.sleep(0.1)
    for letter in (b"b", b"c"):
        write_over(home, letter * 9)
    early.join()
    told = under.head("key")
    assert seen[0].fingerprint == told.fingerprint, "an early look waited for the last"
    with under.open("key", if_match=told.fingerprint) as reader:
        assert reader.read(9) == b"c" * 9


def test_what_others_write_over_a_put_within_its_second_is_another_version(under, home, url):
    early_in_a_second()
    given = put(under, "key", b"a" * 9)
    write_over(home, b"b" * 9)
    if not given.last_modified.timestamp() < int(time.time()):
        pytest.skip("a server without MFMT: nothing can be told from its time")
    assert under.head("key").fingerprint != given.fingerprint
    assert read(under, "key") == b"b" * 9


def test_a_put_after_a_delete_within_a_second_is_another_version(under, url):
    early_in_a_second()
    first = put(under, "key", b"a" * 9)
    under.delete("key")
    with suppress(Unavailable):  # of a server without MFMT
        assert put(under, "key", b"b" * 9).fingerprint != first.fingerprint


def test_old_files_and_our_own_are_not_waited_for(under, home, monkeypatch):
    write_over(home, b"a" * 9)
    os.utime(home / "lake" / "key", (1, 1))
    put(under, "ours", b"x")
    waited, wait = [], Clock.wait

    def note(*given):
        waited.append(wait(*given))
        return waited[-1]

    monkeypatch.setattr(Clock, "wait", note)
    under.head("key")
    under.head("ours")
    assert (read(under, "key"), read(under, "ours")) == (b"a" * 9, b"x")
    assert len(waited) >= 4
    assert set(waited) == {0.0}


def test_a_storm_within_each_second_mixes_nothing(under, home, monkeypatch):
    monkeypatch.setattr(reading, "FIRST", 16 << 10)
    monkeypatch.setattr(reading, "RANGE", 64 << 10)
    letters = itertools.cycle(b"abcdefgh")
    done, mixed, whole = threading.Event(), [], []
    write_over(home, b"z" * SIZE)

    def storm():
        for _ in range(2):
            early_in_a_second()
            end = time.monotonic() + 0.4
            while time.monotonic() < end:
                write_over(home, bytes([next(letters)]) * SIZE)
                time.sleep(0.003)
            time.sleep(1.2)
        done.set()

    def look():
        while not done.is_set():
            with suppress(PreconditionFailed, SourceChanged):
                told = under.head("key")
                parts = []
                for start in range(0, SIZE, 100 << 10):
                    part = ByteRange(start, min(start + (100 << 10), SIZE))
                    with under.open("key", part, if_match=told.fingerprint) as reader:
                        parts += iter(lambda: reader.read(1 << 20), b"")
                    time.sleep(0.01)
                found = set(b"".join(parts))
                (whole if len(found) == 1 else mixed).append((told.fingerprint, found))

    threads = [threading.Thread(target=each) for each in (storm, look, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed == []
    assert whole
    by_version = {}
    for fingerprint, found in whole:
        assert by_version.setdefault(fingerprint, found) == found
    assert read(under, "key") == (home / "lake" / "key").read_bytes()


def test_what_never_rests_has_no_fingerprint_that_holds(under, home):
    stop = threading.Event()

    def keep_writing():
        while not stop.is_set():
            write_over(home, os.urandom(9))
            time.sleep(0.01)

    write_over(home, b"a" * 9)
    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        told = under.head("key")
        assert told.size == 9
        with pytest.raises(PreconditionFailed), under.open("key", if_match=told.fingerprint):
            pass
    finally:
        stop.set()
        thread.join()
    assert "~" not in under.head("key").fingerprint
