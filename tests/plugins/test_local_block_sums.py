import os

import pytest
from awscrt.checksums import crc32c
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import Corrupt
from forebay_local import block_sums
from forebay_local.block_sums import BLOCK, BlockSums

CONTENT = bytes(range(251)) * (5 * BLOCK // 502)


def expected(content):
    blocks = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
    return b"".join(crc32c(block).to_bytes(4, "big") for block in blocks)


@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=6), length=st.integers(0, len(CONTENT)))
def test_sums_do_not_depend_on_the_portions(cuts, length):
    content = CONTENT[:length]
    ends = sorted(min(cut, length) for cut in cuts)
    sums = BlockSums()
    for start, stop in zip([0, *ends], [*ends, length], strict=True):
        sums.update(content[start:stop])
    assert sums.packed() == expected(content)


@pytest.mark.parametrize("length", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_sums_at_the_edge_of_a_block(length):
    sums = BlockSums()
    sums.update(memoryview(CONTENT)[:length])
    assert sums.packed() == expected(CONTENT[:length])
    block_sums.check_count(length, sums.packed(), "p")
    with pytest.raises(Corrupt):
        block_sums.check_count(length + BLOCK, sums.packed(), "p")


def test_read_at_stops_short_only_at_the_end(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(CONTENT[:1000])
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, at: pread(fd, min(length, 300), at))
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    assert block_sums.read_at(fd, 900, 50) == CONTENT[50:950]
    assert block_sums.read_at(fd, 900, 500) == CONTENT[500:1000]
    assert block_sums.read_at(fd, 9, 1000) == b""
    os.close(fd)


def test_a_file_system_without_attributes_keeps_no_sums(tmp_path, monkeypatch):
    def unsupported(*args):
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "setxattr", unsupported)
    monkeypatch.setattr(os, "getxattr", unsupported)
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    block_sums.attach(fd, b"1234")
    assert block_sums.find(fd, f"{tmp_path}/f.crc") is None
    os.close(fd)
