import subprocess
import sys

import pytest

from forebay.cache.claims import Claims
from forebay.errors import StorageError

OTHER = """
import sys
from forebay.cache.claims import Claims
claims = Claims(sys.argv[1])
for line in sys.stdin:
    what, segment, first, stop = line.split()
    print(getattr(claims, what)(segment, int(first), int(stop)), flush=True)
"""


class Other:
    """Another process that claims what it is told to."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __getattr__(self, what):
        def call(segment, first, stop):
            self.process.stdin.write(f"{what} {segment} {first} {stop}\n")
            self.process.stdin.flush()
            return self.process.stdout.readline().strip() == "True"

        return call


@pytest.fixture
def path(tmp_path):
    return tmp_path / "claims"


@pytest.fixture
def claims(path):
    claims = Claims(path)
    yield claims
    claims.close()


@pytest.fixture
def other(path, claims):
    other = Other(path)
    yield other
    other.process.communicate(timeout=30)


def test_a_page_is_claimed_by_one_process_until_it_is_dropped(claims, other):
    assert claims.take("a", 2, 5)
    assert not other.take("a", 4, 8)
    assert not other.take("a", 0, 3)
    claims.drop("a", 2, 5)
    assert other.take("a", 4, 8)
    assert not claims.take("a", 2, 5)


def test_other_pages_and_other_segments_are_free(claims, other):
    assert claims.take("a", 2, 5)
    assert other.take("a", 5, 6)
    assert other.take("a", 0, 2)
    assert other.take("b", 2, 5)


def test_a_claim_dies_with_its_process(claims, other):
    assert other.take("a", 0, 8)
    assert not claims.take("a", 0, 8)
    other.process.kill()
    other.process.wait(30)
    assert claims.take("a", 0, 8)


def test_a_claim_ends_when_it_is_closed(claims, other):
    assert claims.take("a", 0, 8)
    claims.close()
    claims.close()
    assert other.take("a", 0, 8)
    claims.drop("a", 0, 8)
    assert not Claims(None).drop("a", 0, 8)


def test_without_a_file_everything_is_granted():
    assert Claims(None).take("a", 0, 8)


def test_pages_far_behind_fit(claims):
    assert claims.take("z" * 60, 1 << 32, (1 << 32) + 8)
    for number in range(300):
        assert claims.take(f"segment-{number}", 0, 8)


def test_a_file_that_cannot_be_had_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        Claims(tmp_path / "missing" / "claims")


def test_a_wish_shows_to_other_processes_while_it_lasts(path, claims, other):
    assert other.take("a", 0, 8)
    assert not other.wished("a", 0, 8)
    with claims.wish("a", 3, 4):
        assert other.wished("a", 0, 8)
        assert not other.wished("a", 4, 8)
        assert not claims.wished("a", 0, 8), "one's own does not count"
    assert not other.wished("a", 0, 8)
    with Claims(None).wish("a", 0, 1):
        assert not Claims(None).wished("a", 0, 1)
