"""What under stores promise of `put` and `delete`."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from forebay.errors import InvalidKey, NotFound, NotSupported, PreconditionFailed, StorageError
from forebay.stores.under import UnderStore
from forebay.streams import BLOCK
from forebay.testing.under_kit import (
    ATTRIBUTES,
    Failing,
    UnderStoreKit,
    Watched,
    exists,
    left,
    names,
    put,
    read,
)
from forebay.types import Attributes, ObjectInfo


class WritingTests(UnderStoreKit):
    """The contract's sentences on changing objects."""

    def test_put_reaches_the_storage(self, under: UnderStore) -> None:
        """Check behind the store's back that the bytes are where they belong."""
        put(under, "kit/object", b"bytes")
        put(under, "kit/dir/object", b"more bytes")
        assert self.peek(under, "kit/object") == b"bytes"
        assert self.peek(under, "kit/dir/object") == b"more bytes"
        assert self.peek(under, "kit/missing") is None

    def test_put_shows_nothing_before_the_end_of_the_body(self, under: UnderStore) -> None:
        """Check that the body is read to its end before anything is visible."""
        looked = []

        def look() -> None:
            looked.append(exists(under, "kit/dir/new"))
            looked.append(bool(names(under.list("kit/dir"))))

        body = Watched(b"x" * 2500, look)
        under.put("kit/dir/new", body, size=2500, attributes=Attributes())
        assert len(looked) >= 8, "the end of the body was not read"
        assert not any(looked)
        assert read(under, "kit/dir/new") == b"x" * 2500

    def test_overwriting_shows_the_old_object_until_the_new_is_whole(
        self, under: UnderStore
    ) -> None:
        """Check the same for a key that has an object."""
        old = put(under, "kit/object", b"old")
        seen: list[bytes] = []
        body = Watched(b"new", lambda: seen.append(read(under, "kit/object")), 1)
        under.put("kit/object", body, size=None, attributes=Attributes())
        assert set(seen) == {b"old"}
        assert len(seen) >= 4, "the end of the body was not read"
        assert read(under, "kit/object") == b"new"
        assert under.head("kit/object").fingerprint != old.fingerprint

    @pytest.mark.parametrize("size", [None, 2000, 3000])
    @pytest.mark.parametrize("error", [ValueError("a digest"), OSError(28, "the client's own")])
    def test_exception_of_the_body_passes_through_and_nothing_is_visible(
        self, under: UnderStore, error: Exception, size: int | None
    ) -> None:
        """Check that a failing body neither makes nor harms an object."""
        put(under, "kit/old", b"old")
        for key in ("kit/dir/new", "kit/old"):
            with pytest.raises(type(error)) as caught:
                under.put(key, Failing(b"x" * 2000, error), size=size, attributes=Attributes())
            assert caught.value is error, "it must pass through unchanged"
        assert not exists(under, "kit/dir/new")
        assert names(under.list("kit/")) == ["kit/old"]
        assert read(under, "kit/old") == b"old"

    @pytest.mark.parametrize("announced", [0, 4, 6, 5 * BLOCK])
    def test_body_of_another_length_is_refused(self, under: UnderStore, announced: int) -> None:
        """Check that a body that is not of the announced size is StorageError."""
        put(under, "kit/old", b"old")
        for key in ("kit/new", "kit/old"):
            with pytest.raises(StorageError):
                put(under, key, b"12345", size=announced)
        assert names(under.list("kit/")) == ["kit/old"]
        assert read(under, "kit/old") == b"old"

    def test_put_takes_a_body_of_unknown_length(self, under: UnderStore) -> None:
        """Check `size` None."""
        assert put(under, "kit/object", b"12345", size=None).size == 5
        assert read(under, "kit/object") == b"12345"

    def test_put_replaces_the_object(self, under: UnderStore) -> None:
        """Check that an overwrite leaves one object, with the new bytes."""
        for content in (b"first and longer", b"second", b""):
            put(under, "kit/object", content)
            assert read(under, "kit/object") == content
        assert names(under.list("kit/")) == ["kit/object"]

    @pytest.mark.parametrize("content", [b"", b"bytes"])
    def test_key_that_ends_with_a_slash_is_an_object(
        self, under: UnderStore, content: bytes
    ) -> None:
        """Check a folder marker, with and without bytes, alone and above other keys."""
        given = put(under, "kit/folder/", content, attributes=ATTRIBUTES)
        assert under.head("kit/folder/").fingerprint == given.fingerprint
        assert read(under, "kit/folder/") == content
        put(under, "kit/folder/x", b"x")
        told = under.head("kit/folder/")
        assert (told.size, told.fingerprint) == (len(content), given.fingerprint)
        if under.capabilities.attributes:
            assert told.attributes == ATTRIBUTES
        assert names(under.list("kit/")) == ["kit/folder/", "kit/folder/x"]
        under.delete("kit/folder/x")
        assert names(under.list("kit/")) == ["kit/folder/"]
        under.delete("kit/folder/")
        assert left(under) == []
        assert not exists(under, "kit/folder/")

    @pytest.mark.parametrize("key", ["", "a\0b", "a\ud800b"])
    def test_what_is_no_key_is_refused(self, under: UnderStore, key: str) -> None:
        """Check that no store stores under, or finds, what is no UTF-8 key."""
        with pytest.raises(InvalidKey):
            put(under, key, b"x")
        with pytest.raises((InvalidKey, NotFound)):
            under.head(key)
        assert names(under.list("kit/")) == []

    def test_if_none_match_of_put_is_honoured_or_refused(self, under: UnderStore) -> None:
        """Check the capability `conditional_put` for if_none_match: its claim, or its denial."""
        if not under.capabilities.conditional_put:
            with pytest.raises(NotSupported):
                put(under, "kit/object", b"x", if_none_match=True)
            assert not exists(under, "kit/object"), "refused, yet stored"
            return
        put(under, "kit/object", b"first", if_none_match=True)
        with pytest.raises(PreconditionFailed):
            put(under, "kit/object", b"second", if_none_match=True)
        assert read(under, "kit/object") == b"first"

    def test_if_match_of_put_is_honoured_or_refused(self, under: UnderStore) -> None:
        """Check the capability `conditional_put` for if_match: its claim, or its denial."""
        old = put(under, "kit/object", b"old").fingerprint
        if not under.capabilities.conditional_put:
            with pytest.raises(NotSupported):
                put(under, "kit/object", b"new", if_match=old)
            assert read(under, "kit/object") == b"old", "refused, yet stored"
            return
        put(under, "kit/object", b"new", if_match=old)
        for key in ("kit/object", "kit/missing"):
            with pytest.raises(PreconditionFailed):
                put(under, key, b"newer", if_match=old)
        assert read(under, "kit/object") == b"new"
        assert not exists(under, "kit/missing")

    def test_one_of_many_conditional_puts_wins(self, under: UnderStore) -> None:
        """Check that if_none_match is decided atomically."""
        if not under.capabilities.conditional_put:
            return self.test_if_none_match_of_put_is_honoured_or_refused(under)

        def attempt(number: int) -> int:
            try:
                put(under, "kit/object", b"%d" % number, if_none_match=True)
            except PreconditionFailed:
                return -1
            return number

        with ThreadPoolExecutor(4) as pool:
            winners = [n for n in pool.map(attempt, range(16)) if n >= 0]
        assert len(winners) == 1
        assert read(under, "kit/object") == b"%d" % winners[0]
        return None

    def test_one_of_many_replacements_wins(self, under: UnderStore) -> None:
        """Check that if_match is decided atomically."""
        if not under.capabilities.conditional_put:
            return self.test_if_match_of_put_is_honoured_or_refused(under)
        old = put(under, "kit/object", b"old").fingerprint

        def attempt(number: int) -> int:
            try:
                put(under, "kit/object", b"%d" % number, if_match=old)
            except PreconditionFailed:
                return -1
            return number

        with ThreadPoolExecutor(4) as pool:
            winners = [n for n in pool.map(attempt, range(16)) if n >= 0]
        assert len(winners) == 1
        assert read(under, "kit/object") == b"%d" % winners[0]
        return None

    def test_condition_holds_when_the_object_is_published(self, under: UnderStore) -> None:
        """Check that what others do while a body is read counts, and wins."""
        if not under.capabilities.conditional_put:
            return self.test_if_none_match_of_put_is_honoured_or_refused(under)
        old = put(under, "kit/there", b"old").fingerprint
        conditions: list[tuple[str, str | None]] = [("kit/new", None), ("kit/there", old)]
        for key, version in conditions:
            body = Watched(b"ours", partial(self._put_once, under, key), 1)
            with pytest.raises(PreconditionFailed):
                under.put(
                    key,
                    body,
                    size=4,
                    attributes=Attributes(),
                    if_match=version,
                    if_none_match=version is None,
                )
            assert read(under, key) == b"theirs"
        assert names(under.list("kit/")) == ["kit/new", "kit/there"]
        return None

    def _put_once(self, under: UnderStore, key: str) -> None:
        if not exists(under, key) or read(under, key) == b"old":
            put(under, key, b"theirs")

    def test_etag_is_the_md5_as_claimed(self, under: UnderStore) -> None:
        """Check the capability `strong_etag`: its claim, or its denial."""
        given = put(under, "kit/object", b"bytes")
        expected = hashlib.md5(b"bytes", usedforsecurity=False).hexdigest()
        for info in (given, under.head("kit/object"), *under.list("kit/")):
            assert isinstance(info, ObjectInfo)
            assert info.etag == (expected if under.capabilities.strong_etag else None)

    def test_delete_removes_the_object(self, under: UnderStore) -> None:
        """Check that it is gone for every method, and behind the store too."""
        put(under, "kit/object", b"x")
        under.delete("kit/object")
        assert not exists(under, "kit/object")
        assert left(under) == []
        assert self.peek(under, "kit/object") is None

    def test_delete_of_a_missing_key_is_success(self, under: UnderStore) -> None:
        """Check keys that never were, beside and below ones that are."""
        put(under, "kit/there", b"x")
        for key in ("kit/missing", "kit/there/below", "kit/there/", "kit/no/such/dir", "kit/"):
            under.delete(key)
        assert names(under.list("kit/")) == ["kit/there"]

    def test_delete_leaves_other_keys_alone(self, under: UnderStore) -> None:
        """Check keys that begin alike, lie below, or share a directory."""
        keys = self.fill(under, ["a/b/c", "a/b/d", "a/bc", "a.b"])
        under.delete("kit/a/b/c")
        under.delete("kit/a/b")
        under.delete("kit/a")
        assert names(under.list("kit/")) == sorted(set(keys) - {"kit/a/b/c"})
