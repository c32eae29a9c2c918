import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import BodyError
from forebay.s3.chunked import ChunkedReader
from forebay.streams import BytesReader, ChunksReader, Reader

SIGNATURE = "ab" * 32
TRAILER = b"x-amz-checksum-crc32:AAAAAA==\r\n"
SIGNED_TRAILER = TRAILER + b"x-amz-trailer-signature:" + b"cd" * 32 + b"\r\n"


def frame(chunks: list[bytes], *, signed: bool = False, trailers: bytes = b"") -> bytes:
    mark = f";chunk-signature={SIGNATURE}" if signed else ""
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(c), mark.encode(), c) for c in chunks if c)
    return framed + b"0" + mark.encode() + b"\r\n" + trailers + b"\r\n"


def split(content: bytes, cuts: list[int]) -> Reader:
    ends = sorted({min(cut, len(content)) for cut in cuts} | {len(content)})
    starts = [0, *ends[:-1]]
    pieces = [content[a:b] for a, b in zip(starts, ends, strict=True) if a < b]
    return ChunksReader(iter(pieces))


def reader(framed: bytes | Reader, *, length=None, signed=False, trailer=True, verify=None):
    raw = BytesReader(framed) if isinstance(framed, bytes) else framed
    return ChunkedReader(raw, decoded_length=length, signed=signed, trailer=trailer, verify=verify)


def read_all(source: Reader, size: int = 1 << 20) -> bytes:
    out = b""
    while block := source.read(size):
        assert len(block) <= size
        out += block
    assert source.read(size) == b""
    return out


def fault_of(source: Reader) -> str:
    with pytest.raises(BodyError) as caught:
        read_all(source)
    return caught.value.code


class Recorder:
    def __init__(self):
        self.seen = []

    def block(self, block):
        self.seen.append(block)

    def chunk(self, signature):
        self.seen.append(signature)

    def trailer(self, signature, block):
        self.seen.append((signature, block))


@given(
    chunks=st.lists(st.binary(max_size=50), max_size=6),
    signed=st.booleans(),
    trailer=st.booleans(),
    cuts=st.lists(st.integers(1, 800), max_size=10),
    size=st.integers(1, 100),
)
def test_round_trip_whatever_the_reads_are(chunks, signed, trailer, cuts, size):
    trailers = (SIGNED_TRAILER if signed else TRAILER) if trailer else b""
    framed = frame(chunks, signed=signed, trailers=trailers)
    content = b"".join(chunks)
    source = reader(split(framed, cuts), length=len(content), signed=signed, trailer=trailer)
    assert content == read_all(source, size)
    assert source.trailers == ({"x-amz-checksum-crc32": "AAAAAA=="} if trailer else {})


@pytest.mark.parametrize("signed", [False, True])
def test_every_single_split_of_the_raw_reads(signed):
    framed = frame([b"hello\r\n", b"0\r\n\r\n"], signed=signed, trailers=SIGNED_TRAILER)
    for cut in range(1, len(framed)):
        source = reader(split(framed, [cut]), length=12, signed=signed)
        assert read_all(source) == b"hello\r\n0\r\n\r\n", cut


@pytest.mark.parametrize("signed", [False, True])
def test_every_body_cut_short_is_incomplete(signed):
    framed = frame([b"hello", b"world"], signed=signed, trailers=SIGNED_TRAILER)
    for end in range(len(framed)):
        assert fault_of(reader(framed[:end], length=10, signed=signed)) == "IncompleteBody", end


@given(
    framed=st.binary(max_size=80)
    | st.lists(st.sampled_from([b"0", b"5", b"\r\n", b"\n", b"hello", b":", b"a", b";"])).map(
        b"".join
    ),
    signed=st.booleans(),
    trailer=st.booleans(),
)
def test_no_bytes_raise_anything_but_a_body_error(framed, signed, trailer):
    source = reader(framed, signed=signed, trailer=trailer)
    try:
        content = read_all(source)
    except BodyError:
        return
    assert len(content) < len(framed)
    assert framed.endswith(b"\r\n")


def test_blocks_are_as_long_as_asked_for():
    source = reader(frame([b"a" * 1000] * 10), length=10_000)
    assert [len(source.read(4096)) for _ in range(4)] == [4096, 4096, 1808, 0]


def test_sizes_are_hexadecimal_in_either_case():
    assert read_all(reader(b"a\r\n0123456789\r\n0\r\n\r\n")) == b"0123456789"
    assert read_all(reader(b"00A\r\n0123456789\r\n00\r\n\r\n")) == b"0123456789"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"+5",
        b"-5",
        b"0x5",
        b"5 ",
        b" 5",
        b"5;",
        b"5 ;",
        b"5;x=y",
        b"5_0",
        b"00000000000000005",
        b"5\x00",
        b"g",
        b"5;chunk-signature=" + b"ab" * 32,
    ],
)
def test_sizes_that_cannot_be(header):
    assert fault_of(reader(header + b"\r\nhello\r\n0\r\n\r\n")) == "InvalidChunkSizeError"


@pytest.mark.parametrize(
    "extension",
    [
        b"",
        b";",
        b";chunk-signature=",
        b";signature=" + b"a" * 64,
        b" ;chunk-signature=" + b"a" * 64,
        b";chunk-signature=" + b"a" * 63,
        b";chunk-signature=" + b"a" * 65,
        b";chunk-signature=" + b"z" * 64,
    ],
)
def test_signatures_that_cannot_be(extension):
    framed = b"5" + extension + b"\r\nhello\r\n" + frame([], signed=True)
    assert fault_of(reader(framed, signed=True, trailer=False)) == "InvalidChunkSizeError"


@pytest.mark.parametrize(
    "framed",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"6\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\n0\r\n",
        b"5\r\nhello\r\n0\r\n\r\nx",
        b"5\r\nhello\r\n0\r\n\r\n\r\n",
        b"5\r\nhello\r\n0\r\nx-a:b\r\n\r\n",
        b"5" * 9000 + b"\r\n",
    ],
)
def test_framings_that_are_not_exact(framed):
    fault = fault_of(reader(framed, trailer=False))
    assert fault in ("IncompleteBody", "InvalidChunkSizeError")


@pytest.mark.parametrize("length", [4, 6])
def test_another_length_than_was_announced(length):
    assert fault_of(reader(frame([b"he", b"llo"]), length=length)) == "IncompleteBody"


def test_a_chunk_that_is_too_long_is_refused_before_its_bytes_are_read():
    source = reader(b"ffffffffffffffff\r\n" + b"x" * 100, length=5)
    with pytest.raises(BodyError, match="more than"):
        source.read(1)


def test_trailers_by_lower_case_name():
    trailers = b"X-Amz-Checksum-CRC32: AAAAAA== \r\nx-empty:\r\n"
    source = reader(frame([b"x"], trailers=trailers))
    read_all(source)
    assert source.trailers == {"x-amz-checksum-crc32": "AAAAAA==", "x-empty": ""}


def test_trailers_of_minio_go():
    trailers = b"x-amz-checksum-crc32:AAAAAA==\n\r\nx-amz-trailer-signature:" + b"a" * 64 + b"\r\n"
    source = reader(frame([b"x"], signed=True, trailers=trailers), signed=True)
    read_all(source)
    assert source.trailers == {"x-amz-checksum-crc32": "AAAAAA=="}


@pytest.mark.parametrize(
    "trailers",
    [
        b"no colon\r\n",
        b":value\r\n",
        b"a b:c\r\n",
        b"a :b\r\n",
        b"a:b\x00\r\n",
        b"a:b\rc\r\n",
        b"a:b\nc:d\r\n",
        b" a:b\r\n",
        b"a:\xc3\xa9\r\n",
        b"a:b\r\nA:c\r\n",
        b"".join(b"a%d:b\r\n" % n for n in range(101)),
        b"a:" + b"b" * (16 << 10) + b"\r\n",
        b"".join(b"a%d:" % n + b"b" * 1000 + b"\r\n" for n in range(17)),
        b"a:" + b"b" * (1 << 20) + b"\r\n",
        SIGNED_TRAILER + TRAILER.replace(b"32", b"64"),
    ],
    ids=lambda trailers: repr(trailers[:30]),
)
def test_trailers_that_are_refused(trailers):
    assert fault_of(reader(frame([b"x"], trailers=trailers))) == "MalformedTrailerError"


def test_a_hundred_trailers_are_enough():
    trailers = b"".join(b"a%d:b\r\n" % n for n in range(100))
    source = reader(frame([b"x"], trailers=trailers))
    read_all(source)
    assert len(source.trailers) == 100


def test_signed_chunks_have_signed_trailers():
    framed = frame([b"x"], signed=True, trailers=TRAILER)
    assert fault_of(reader(framed, signed=True)) == "MalformedTrailerError"


def test_a_verifier_sees_every_chunk_and_the_trailers():
    verify = Recorder()
    framed = frame([b"hello", b"you"], signed=True, trailers=SIGNED_TRAILER)
    read_all(reader(framed, signed=True, verify=verify))
    assert verify.seen == [
        b"hello",
        SIGNATURE,
        b"you",
        SIGNATURE,
        SIGNATURE,
        ("cd" * 32, b"x-amz-checksum-crc32:AAAAAA==\n"),
    ]


def test_a_verifier_stops_the_reader():
    class Strict(Recorder):
        def chunk(self, signature):
            raise BodyError("SignatureDoesNotMatch")

    source = reader(frame([b"x"], signed=True), signed=True, trailer=False, verify=Strict())
    assert fault_of(source) == "SignatureDoesNotMatch"
