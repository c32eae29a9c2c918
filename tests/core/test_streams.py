import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.streams import BytesReader, ChunksReader, ReaderBody, copy_all


@given(st.lists(st.binary(max_size=9)), st.integers(1, 12))
def test_chunks_come_out_whole_and_in_order_whatever_is_asked(chunks, size):
    reader, taken = ChunksReader(iter(chunks)), []
    while block := reader.read(size):
        assert len(block) <= size
        taken.append(block)
    assert b"".join(taken) == b"".join(chunks)
    assert reader.read(size) == b""


@given(st.binary(max_size=40), st.integers(1, 12))
def test_all_bytes_are_copied_in_blocks(content, block):
    out = io.BytesIO()
    assert copy_all(BytesReader(content), out.write, block) == len(content)
    assert out.getvalue() == content


def test_an_error_of_the_chunks_passes_through():
    def chunks():
        yield b"first"
        raise OSError("cut")

    reader = ChunksReader(chunks())
    assert reader.read(100) == b"first"
    with pytest.raises(OSError, match="cut"):
        reader.read(100)


def test_a_plain_body_knows_its_md5_and_no_checksums():
    body = ReaderBody(BytesReader(b"hello"), 5)
    assert copy_all(body, io.BytesIO().write, 2) == 5
    assert (body.length, body.md5, body.checksums) == (5, hashlib.md5(b"hello").hexdigest(), {})
