"""What under stores promise of `head` and `open`."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from forebay.errors import NotFound, NotSupported, PreconditionFailed, SourceChanged
from forebay.stores.under import UnderStore
from forebay.streams import BLOCK, SupportsReadInto
from forebay.testing.under_kit import ATTRIBUTES, UnderStoreKit, names, put, read
from forebay.types import Attributes, ByteRange


class ReadingTests(UnderStoreKit):
    """The contract's sentences on looking at objects."""

    def test_head_of_a_missing_key_is_not_found(self, under: UnderStore) -> None:
        """Check that `head` raises NotFound."""
        put(under, "kit/there", b"x")
        for key in ("kit/missing", "kit/there/below", "kit/ther", "kit/there/"):
            with pytest.raises(NotFound):
                under.head(key)

    def test_head_tells_of_the_object(self, under: UnderStore) -> None:
        """Check size, time and key."""
        before = datetime.now(UTC)
        put(under, "kit/object", b"12345")
        info = under.head("kit/object")
        assert info.key == "kit/object"
        assert info.size == 5
        assert info.last_modified.tzinfo is not None, "last_modified must be aware"
        assert abs(info.last_modified - before) < timedelta(days=1)
        assert info.fingerprint, "a fingerprint is never empty"

    def test_head_sees_what_came_behind_its_back(self, under: UnderStore) -> None:
        """Check that the store asks its storage and not its memory."""
        self.poke(under, "kit/poked", b"from outside")
        assert under.head("kit/poked").size == len(b"from outside")
        assert read(under, "kit/poked") == b"from outside"
        assert names(under.list("kit/")) == ["kit/poked"]

    def test_head_gives_the_fingerprint_that_put_gave(self, under: UnderStore) -> None:
        """Check that what `put` returns is what `head` tells later."""
        given = put(under, "kit/object", b"12345")
        told = under.head("kit/object")
        assert (told.key, told.size, told.fingerprint) == (given.key, 5, given.fingerprint)
        assert told.etag == given.etag
        assert abs(told.last_modified - given.last_modified) < timedelta(minutes=15)

    def test_fingerprint_changes_whenever_the_bytes_do(self, under: UnderStore) -> None:
        """Check overwrites, also of the same length, and that nothing else changes it."""
        seen = [put(under, "kit/object", content).fingerprint for content in (b"1", b"2", b"33")]
        assert len(set(seen)) == 3
        put(under, "kit/other", b"1")
        read(under, "kit/object")
        assert under.head("kit/object").fingerprint == seen[-1]
        self.poke(under, "kit/object", b"another length")
        assert under.head("kit/object").fingerprint not in seen

    def test_fingerprint_tells_apart_what_is_written_at_once(self, under: UnderStore) -> None:
        """Check versions of one length that follow each other faster than a clock may tick."""
        seen = {put(under, "kit/object", b"0" * 9).fingerprint}
        for digit in (b"1", b"2", b"3"):
            self.poke(under, "kit/object", digit * 9)
            told = under.head("kit/object").fingerprint
            assert told not in seen, "two versions look the same"
            with under.open("kit/object", if_match=told) as reader:
                assert reader.read(10) == digit * 9
            seen.add(told)

    def test_attributes_are_given_back_as_claimed(self, under: UnderStore) -> None:
        """Check the capability `attributes`: its claim, or its denial."""
        put(under, "kit/object", b"x", attributes=ATTRIBUTES)
        with under.open("kit/object") as reader:
            opened = reader.info.attributes
        for found in (under.head("kit/object").attributes, opened):
            if under.capabilities.attributes:
                assert found == ATTRIBUTES
            else:
                assert found is None or not (found.metadata or found.tags), "denied, yet kept"

    def test_attributes_go_with_the_object_they_came_with(self, under: UnderStore) -> None:
        """Check that an overwrite leaves nothing of the old ones."""
        put(under, "kit/object.txt", b"x", attributes=ATTRIBUTES)
        put(under, "kit/object.txt", b"x")
        found = under.head("kit/object.txt").attributes
        if under.capabilities.attributes:
            assert found == Attributes()
        else:
            assert found is None or not (found.metadata or found.tags)

    def test_open_of_a_missing_key_is_not_found(self, under: UnderStore) -> None:
        """Check that `open` raises NotFound."""
        with pytest.raises(NotFound), under.open("kit/missing"):
            pass

    def test_open_gives_the_bytes(self, under: UnderStore) -> None:
        """Check bodies around the block size, read in odd steps."""
        for size in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 1):
            content = os.urandom(size)
            put(under, "kit/object", content)
            with under.open("kit/object") as reader:
                assert reader.info.size == size
                blocks = list(iter(partial(reader.read, 300_001), b""))
                assert reader.read(1) == b"", "the end stays the end"
            assert max(map(len, blocks), default=0) <= 300_001
            assert b"".join(blocks) == content

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [(0, 10, b"0123456789"), (0, 0, b""), (3, 4, b"3"), (9, 10, b"9"), (4, 10, b"456789")],
    )
    def test_open_gives_a_range(
        self, under: UnderStore, start: int, stop: int, expected: bytes
    ) -> None:
        """Check half-open ranges, and that `info` is of the whole object."""
        put(under, "kit/object", b"0123456789")
        with under.open("kit/object", ByteRange(start, stop)) as reader:
            assert b"".join(iter(lambda: reader.read(4), b"")) == expected
            assert reader.info.size == 10

    def test_range_beyond_the_end_is_cut(self, under: UnderStore) -> None:
        """Check a range that ends, and one that begins, behind the end."""
        put(under, "kit/object", b"0123456789")
        assert read(under, "kit/object", ByteRange(8, 1 << 40)) == b"89"
        assert read(under, "kit/object", ByteRange(10, 20)) == b""
        assert read(under, "kit/object", ByteRange(11, 20)) == b""

    def test_open_honours_if_match(self, under: UnderStore) -> None:
        """Check that another version than the one named is PreconditionFailed."""
        old = put(under, "kit/object", b"old")
        with under.open("kit/object", if_match=old.fingerprint) as reader:
            assert reader.read(10) == b"old"
        new = put(under, "kit/object", b"new")
        with pytest.raises(PreconditionFailed), under.open("kit/object", if_match=old.fingerprint):
            pass
        with under.open("kit/object", if_match=new.fingerprint) as reader:
            assert reader.info.fingerprint == new.fingerprint

    def test_range_honours_if_match(self, under: UnderStore) -> None:
        """Check the same for a part, which is how several readers share one object."""
        old = put(under, "kit/object", b"0123456789")
        part = ByteRange(2, 4)
        with under.open("kit/object", part, if_match=old.fingerprint) as reader:
            assert reader.read(10) == b"23"
        self.poke(under, "kit/object", b"another version")
        with (
            pytest.raises(PreconditionFailed),
            under.open("kit/object", part, if_match=old.fingerprint),
        ):
            pass

    def test_reader_may_be_left_early(self, under: UnderStore) -> None:
        """Check that an object half read can be replaced, read again and deleted."""
        put(under, "kit/object", b"o" * (2 * BLOCK))
        for _ in range(20):
            with under.open("kit/object") as reader:
                assert reader.read(1) == b"o"
        put(under, "kit/object", b"new")
        assert read(under, "kit/object") == b"new"
        under.delete("kit/object")
        assert names(under.list("kit/object")) == []

    def test_open_leaves_the_exception_of_its_caller_alone(self, under: UnderStore) -> None:
        """Check that what is raised while an object is open passes through unchanged."""
        put(under, "kit/object", b"bytes")
        for error in (OSError(5, "the caller's own"), KeyError("kit/object"), TimeoutError()):
            with pytest.raises(type(error)) as caught, under.open("kit/object"):
                raise error
            assert caught.value is error, "it must pass through unchanged"

    @pytest.mark.parametrize("behind", [False, True], ids=["put", "poke"])
    def test_open_gives_bytes_of_one_version_only(self, under: UnderStore, behind: bool) -> None:
        """Check that a change midway is SourceChanged or not noticed, never a mixture."""
        old, new = b"o" * (3 * BLOCK), b"n" * (3 * BLOCK + 1)
        put(under, "kit/object", old)
        got = b""
        with under.open("kit/object") as reader:
            got += reader.read(1000)
            (self.poke if behind else put)(under, "kit/object", new)
            try:
                while block := reader.read(BLOCK):
                    got += block
            except SourceChanged:
                return
        # Counted, since pytest's diff of megabytes takes for ever where CI is set.
        assert (len(got), got.count(b"o")) == (len(old), len(old)), (
            "not the version that was opened"
        )

    def test_read_into_gives_what_read_gives(self, under: UnderStore) -> None:
        """Check readers that can fill memory: the same bytes, and not one beside them."""
        for length in (0, 1, 1000, BLOCK + 17):
            content = (bytes(range(256)) * (length // 256 + 1))[:length]
            put(under, "kit/object", content)
            found, start, stop = bytearray(), length // 4, length * 3 // 4
            with under.open("kit/object", ByteRange(start, stop)) as reader:
                if not isinstance(reader, SupportsReadInto):
                    pytest.skip("its readers cannot fill memory")
                while True:
                    room = bytearray(b"#") * 70_000
                    count = reader.read_into(memoryview(room)[:-1])
                    if not count:
                        break
                    assert set(room[count:]) <= set(b"#"), "memory was filled where no byte came"
                    found += room[:count]
                assert reader.read(10) == b""
            assert found == content[start:stop]

    def test_fileno_is_given_as_claimed(self, under: UnderStore) -> None:
        """Check the capability `local_files`: the object's file from byte 0, or NotSupported."""
        put(under, "kit/object", b"0123456789")
        with under.open("kit/object", ByteRange(4, 6)) as reader:
            if under.capabilities.local_files:
                assert os.pread(reader.fileno(), 20, 0) == b"0123456789"
                assert reader.read(10) == b"45", "using the descriptor moved the reader"
            else:
                with pytest.raises(NotSupported):
                    reader.fileno()
