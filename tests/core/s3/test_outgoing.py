"""Object bytes on their way out."""

import io
import os
from contextlib import ExitStack

import pytest

from forebay.errors import SourceChanged
from forebay.objects.read import OpenObject
from forebay.s3.call import Answer
from forebay.s3.outgoing import BLOCK, SMALL, Blocks, SegmentFile, SegmentsFile, send
from forebay.streams import ChunksReader, Segment
from forebay.types import ByteRange

BODY = os.urandom(3 * BLOCK + 17)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "segment"
    path.write_bytes(BODY)
    with path.open("rb") as opened:
        yield opened


def reader_of(content):
    return ChunksReader(iter([memoryview(content)]))


class Closes:
    """Counts how often it was called."""

    count = 0

    def __call__(self):
        self.count += 1


def opened(length, reader=None, segments=None):
    closes = Closes()
    stack = ExitStack()
    stack.callback(closes)
    reader = reader or io.BytesIO(BODY)
    return OpenObject(None, ByteRange(0, length), reader, stack=stack, segments=segments), closes


def test_a_segment_is_a_file_at_its_own_position(file):
    closes = Closes()
    segment = SegmentFile(Segment(file.fileno(), 10, 100), closes)
    assert segment.fileno() == file.fileno()
    assert segment.seekable()
    assert segment.tell() == 10
    assert segment.seek(0, os.SEEK_END) == 110
    assert segment.seek(10) == 10
    assert segment.read(5) == BODY[10:15]
    assert segment.seek(1, os.SEEK_CUR) == 16
    assert segment.read() == BODY[16:110]
    assert segment.read(1) == b""
    assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0, "the shared descriptor has moved"
    segment.close()
    segment.close()
    assert closes.count == 1


def test_a_segment_whose_file_became_shorter_raises(file):
    segment = SegmentFile(Segment(file.fileno(), len(BODY) - 5, 10), Closes())
    assert segment.read(100) == BODY[-5:]
    with pytest.raises(SourceChanged):
        segment.read(100)


def test_blocks_close_at_their_end_and_when_told(file):
    closes = Closes()
    assert b"".join(Blocks(BODY[:3], reader_of(BODY[3:]), len(BODY), closes)) == BODY
    assert closes.count == 1
    closes = Closes()
    blocks = Blocks(b"", reader_of(BODY), len(BODY), closes)
    next(blocks)
    blocks.close()
    blocks.close()
    assert closes.count == 1


@pytest.mark.parametrize("views", [False, True])
def test_blocks_are_views_only_where_the_server_takes_them(views):
    blocks = Blocks(memoryview(BODY[:3]), reader_of(BODY[3:]), len(BODY), Closes())
    blocks.views = views
    found = list(blocks)
    assert b"".join(found) == BODY
    assert {type(block) for block in found} == {memoryview if views else bytes}


def test_blocks_raise_instead_of_ending_early():
    blocks = Blocks(b"", reader_of(BODY[:100]), 200, Closes())
    assert next(blocks) == BODY[:100]
    with pytest.raises(SourceChanged):
        next(blocks)


@pytest.mark.parametrize("length", [0, 1, SMALL])
def test_a_small_body_is_read_at_once(file, length):
    for segments in (None, [Segment(file.fileno(), 0, length)]):
        source, closes = opened(length, segments=segments)
        answer = send(Answer(), source, length)
        assert (answer.body, answer.stream) == (BODY[:length], None)
        assert answer.headers["content-length"] == str(length)
        assert closes.count == 1


def test_one_segment_goes_to_the_server_as_a_file(file):
    length = SMALL + 1
    source, closes = opened(length, segments=[Segment(file.fileno(), 0, length)])
    answer = send(Answer(), source, length)
    assert isinstance(answer.stream, SegmentFile)
    assert closes.count == 0
    assert b"".join(answer.stream) == BODY[:length]
    answer.stream.close()
    assert closes.count == 1


def pieces_of(file):
    fd = file.fileno()
    return [Segment(fd, 0, 100), Segment(fd, 100, 7), Segment(fd, 107, len(BODY) - 107)]


def test_the_last_bytes_of_a_file_that_changed_are_held_back(file):
    def changed():
        raise SourceChanged("changed")

    segment = SegmentFile(Segment(file.fileno(), 0, 100), Closes(), changed)
    assert segment.read(60) == BODY[:60]
    with pytest.raises(SourceChanged):
        segment.read(60)


def test_several_segments_go_to_the_server_as_one_file(file):
    source, closes = opened(len(BODY), segments=pieces_of(file))
    answer = send(Answer(), source, len(BODY))
    assert isinstance(answer.stream, SegmentsFile)
    assert b"".join(answer.stream) == BODY
    assert closes.count == 0
    answer.stream.close()
    answer.stream.close()
    assert closes.count == 1


def test_a_file_of_segments_is_read_from_any_position(file):
    whole = SegmentsFile(pieces_of(file), Closes())
    assert whole.seekable()
    assert whole.seek(0, os.SEEK_END) == len(BODY)
    assert whole.read(10) == b""
    for at in (0, 99, 100, 106, 107, 5000):
        whole.seek(at)
        assert whole.tell() == at
        block = whole.read(50)
        assert BODY[at:].startswith(block)
        assert 0 < len(block) <= 50
        assert whole.seek(-len(block), os.SEEK_CUR) == at
    whole.seek(105)
    assert whole.read() == BODY[105:107], "to the end of a segment at most"
    assert whole.read(0) == b""


def test_a_file_of_segments_that_became_shorter_raises(file):
    short = SegmentsFile(
        [Segment(file.fileno(), 0, 5), Segment(file.fileno(), len(BODY), 5)], Closes()
    )
    assert short.read(100) == BODY[:5]
    with pytest.raises(SourceChanged):
        short.read(100)


def test_anything_else_goes_in_blocks():
    source, closes = opened(len(BODY))
    answer = send(Answer(), source, len(BODY))
    assert isinstance(answer.stream, Blocks)
    assert b"".join(answer.stream) == BODY
    assert closes.count == 1


class Fails:
    """A reader that fails at its first read."""

    def read(self, size):
        raise SourceChanged("gone")


def test_a_failure_before_the_first_byte_is_raised_and_closes(tmp_path):
    source, closes = opened(len(BODY), reader=Fails())
    with pytest.raises(SourceChanged):
        send(Answer(), source, len(BODY))
    assert closes.count == 1
    path = tmp_path / "short"
    path.write_bytes(b"x")
    with path.open("rb") as short:
        source, closes = opened(10, segments=[Segment(short.fileno(), 0, 10)])
        with pytest.raises(SourceChanged):
            send(Answer(), source, 10)
    assert closes.count == 1
