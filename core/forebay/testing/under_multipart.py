"""What under stores with the power `SupportsMultipart` promise of uploads in parts."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from forebay.errors import NotFound, StorageError
from forebay.stores.under import UnderStore
from forebay.streams import BytesReader
from forebay.testing.under_kit import (
    ATTRIBUTES,
    Failing,
    UnderStoreKit,
    exists,
    left,
    put,
    read,
)
from forebay.types import Attributes, StoredPart

FULL = 5 << 20
"""Bytes that S3 wants of every part but the last."""
KEY = "kit/in parts"


def content(letter: bytes, size: int = FULL) -> bytes:
    """Give the bytes of a part."""
    return letter * size


def begin(store: Any, key: str = KEY, attributes: Attributes | None = None) -> str:
    """Begin an upload, without attributes unless they are given."""
    token: str = store.begin_upload(key, attributes=attributes or Attributes())
    return token


def part(store: Any, token: str, number: int, body: bytes, key: str = KEY) -> StoredPart:
    """Put a part."""
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    tag = store.put_part(key, token, number, BytesReader(body), size=len(body), md5=md5)
    return StoredPart(number, len(body), tag)


class MultipartTests(UnderStoreKit):
    """The contract's sentences on uploads in parts; skipped for a store without `put_part`."""

    @pytest.fixture
    def taking(self, under: UnderStore) -> Any:
        """Give the store, where it takes parts."""
        if not hasattr(under, "put_part"):
            pytest.skip("the store takes no parts")
        return under

    def test_parts_make_an_object_in_the_order_of_their_numbers(self, taking: Any) -> None:
        """Check bytes, attributes and fingerprint of parts that came in another order."""
        token = begin(taking, attributes=ATTRIBUTES)
        last = part(taking, token, 10_000, b"the end")
        first = part(taking, token, 2, content(b"a"))
        given = taking.complete_upload(KEY, token, [first, last])
        assert read(taking, KEY) == content(b"a") + b"the end"
        told = taking.head(KEY)
        assert (told.size, told.fingerprint) == (FULL + 7, given.fingerprint)
        assert given.size == told.size
        if taking.capabilities.attributes:
            assert told.attributes == ATTRIBUTES
            assert given.attributes in (None, ATTRIBUTES)

    def test_nothing_shows_before_the_completion(self, taking: Any) -> None:
        """Check that an older object stays until then, and that there is none if there was none."""
        put(taking, "kit/old", b"old")
        for key, before in ((KEY, ["kit/old"]), ("kit/old", ["kit/in parts", "kit/old"])):
            token = begin(taking, key)
            one = part(taking, token, 1, b"new", key)
            assert left(taking) == before
            assert exists(taking, key) == (key in before)
            assert read(taking, "kit/old") == b"old"
            taking.complete_upload(key, token, [one])
            assert read(taking, key) == b"new"

    def test_a_part_takes_the_place_of_an_earlier_one(self, taking: Any) -> None:
        """Check that the last one of a number counts, and that it may be the same again."""
        token = begin(taking)
        for body in (b"first", b"second", b"second"):
            one = part(taking, token, 1, body)
        taking.complete_upload(KEY, token, [one])
        assert read(taking, KEY) == b"second"

    def test_parts_that_are_not_listed_are_left_out(self, taking: Any) -> None:
        """Check that only the listed ones make the object."""
        token = begin(taking)
        one = part(taking, token, 1, content(b"a"))
        part(taking, token, 2, content(b"b"))
        three = part(taking, token, 3, b"c")
        part(taking, token, 4, b"d")
        taking.complete_upload(KEY, token, [one, three])
        assert read(taking, KEY) == content(b"a") + b"c"

    def test_a_part_that_is_not_as_it_was_named_is_not_found(self, taking: Any) -> None:
        """Check that a completion makes nothing of parts that are missing or were replaced."""
        token = begin(taking)
        old = part(taking, token, 1, b"old")
        new = part(taking, token, 1, b"new")
        for wrong in ([old], [StoredPart(2, 3, new.tag)]):
            with pytest.raises(NotFound):
                taking.complete_upload(KEY, token, wrong)
            assert not exists(taking, KEY)
        taking.complete_upload(KEY, token, [new])
        assert read(taking, KEY) == b"new"

    def test_a_part_that_breaks_off_is_none(self, taking: Any) -> None:
        """Check bodies that fail or have another length, small and large; the old part stays."""
        token = begin(taking)
        old = part(taking, token, 1, b"old")
        error = ValueError("the body's own")
        for body in (b"short", content(b"x", 2 * FULL)):
            size, md5 = len(body) + 1, "0" * 32
            with pytest.raises(ValueError, match="own") as caught:
                taking.put_part(KEY, token, 1, Failing(body, error), size=size, md5=md5)
            assert caught.value is error
            for off in (1, -1):
                with pytest.raises(StorageError):
                    taking.put_part(KEY, token, 1, BytesReader(body), size=len(body) + off, md5=md5)
        taking.complete_upload(KEY, token, [old])
        assert read(taking, KEY) == b"old"

    def test_a_large_part_is_taken_whole(self, taking: Any) -> None:
        """Check one that no store should hold in memory."""
        token = begin(taking)
        whole = bytes(range(256)) * (9 << 12)
        taking.complete_upload(KEY, token, [part(taking, token, 1, whole)])
        assert read(taking, KEY) == whole

    def test_uploads_of_one_key_do_not_meet(self, taking: Any) -> None:
        """Check two at once, and that the later completion counts."""
        tokens = [begin(taking), begin(taking)]
        ones = [part(taking, token, 1, b"of %d" % n) for n, token in enumerate(tokens)]
        for n in (1, 0):
            taking.complete_upload(KEY, tokens[n], [ones[n]])
            assert read(taking, KEY) == b"of %d" % n

    def test_a_part_of_an_upload_that_is_over_is_not_found(self, taking: Any) -> None:
        """Check an aborted one and a complete one."""
        aborted, complete = begin(taking), begin(taking)
        part(taking, aborted, 1, b"one")
        taking.abort_upload(KEY, aborted)
        taking.complete_upload(KEY, complete, [part(taking, complete, 1, b"two")])
        for token in (aborted, complete):
            with pytest.raises(NotFound):
                part(taking, token, 1, b"late")
        assert read(taking, KEY) == b"two"

    def test_an_aborted_upload_makes_no_object(self, taking: Any) -> None:
        """Check that it cannot be completed, and that to abort it again is success."""
        put(taking, KEY, b"old")
        token = begin(taking)
        one = part(taking, token, 1, b"new")
        taking.abort_upload(KEY, token)
        with pytest.raises(NotFound):
            taking.complete_upload(KEY, token, [one])
        taking.abort_upload(KEY, token)
        assert read(taking, KEY) == b"old"

    def test_a_complete_upload_changes_nothing_any_more(self, taking: Any) -> None:
        """Check that what came later stays, whoever completes or aborts it once more."""
        token = begin(taking)
        one = part(taking, token, 1, b"new")
        first = taking.complete_upload(KEY, token, [one])
        put(taking, KEY, b"newer")
        try:
            again = taking.complete_upload(KEY, token, [one])
        except NotFound:
            again = first
        assert again.fingerprint == first.fingerprint
        taking.abort_upload(KEY, token)
        assert read(taking, KEY) == b"newer"

    def test_another_process_goes_on_with_an_upload(self, taking: Any) -> None:
        """Check that a store of the same URI knows it by its token."""
        twin: Any = self.twin(taking) if taking.capabilities.shared_between_processes else taking
        if twin is None:
            pytest.skip("the test cannot open a second store")
        try:
            token = begin(taking)
            ones = [part(twin, token, 1, content(b"a")), part(taking, token, 2, b"b")]
            twin.complete_upload(KEY, token, ones)
        finally:
            if twin is not taking:
                twin.close()
        assert read(taking, KEY) == content(b"a") + b"b"
