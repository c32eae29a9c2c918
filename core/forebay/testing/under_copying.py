"""What under stores with the power `SupportsCopy` promise of `copy`."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.errors import NotFound, PreconditionFailed
from forebay.stores.under import UnderStore
from forebay.testing.under_kit import ATTRIBUTES, UnderStoreKit, exists, left, put, read
from forebay.types import Attributes


class CopyingTests(UnderStoreKit):
    """The contract's sentences on copying within a store; skipped for one without `copy`."""

    @pytest.fixture
    def copying(self, under: UnderStore) -> Any:
        """Give the store, where it has the power to copy."""
        if not hasattr(under, "copy"):
            pytest.skip("the store has no copy of its own")
        return under

    def test_copy_makes_an_object_of_the_same_bytes(self, copying: Any) -> None:
        """Check bytes, the attributes asked for, and that the source stays."""
        source = put(copying, "kit/source", b"bytes")
        for target in ("kit/target", "kit/dir/target"):
            given = copying.copy(
                "kit/source", target, attributes=ATTRIBUTES, if_match=source.fingerprint
            )
            assert read(copying, target) == b"bytes"
            told = copying.head(target)
            assert (told.key, told.size, told.fingerprint) == (target, 5, given.fingerprint)
            if copying.capabilities.attributes:
                assert told.attributes == ATTRIBUTES
        assert copying.head("kit/source").fingerprint == source.fingerprint

    def test_copy_replaces_the_target(self, copying: Any) -> None:
        """Check that an older object, with its attributes, gives way."""
        put(copying, "kit/source", b"bytes")
        old = put(copying, "kit/target", b"longer than that", attributes=ATTRIBUTES)
        given = copying.copy("kit/source", "kit/target", attributes=Attributes(), if_match=None)
        assert read(copying, "kit/target") == b"bytes"
        assert given.fingerprint != old.fingerprint
        if copying.capabilities.attributes:
            assert copying.head("kit/target").attributes == Attributes()

    def test_copy_onto_itself_changes_the_attributes(self, copying: Any) -> None:
        """Check that the bytes stay, of the version that was named."""
        source = put(copying, "kit/source", b"bytes", attributes=ATTRIBUTES)
        given = copying.copy(
            "kit/source", "kit/source", attributes=Attributes(), if_match=source.fingerprint
        )
        assert read(copying, "kit/source") == b"bytes"
        told = copying.head("kit/source")
        assert told.fingerprint == given.fingerprint
        if copying.capabilities.attributes:
            assert told.attributes == Attributes()

    def test_copy_honours_if_match(self, copying: Any) -> None:
        """Check that another version of the source than the one named is PreconditionFailed."""
        old = put(copying, "kit/source", b"old").fingerprint
        put(copying, "kit/source", b"new")
        put(copying, "kit/there", b"there")
        for target in ("kit/target", "kit/there"):
            with pytest.raises(PreconditionFailed):
                copying.copy("kit/source", target, attributes=Attributes(), if_match=old)
        assert not exists(copying, "kit/target")
        assert read(copying, "kit/there") == b"there"

    def test_copy_of_a_missing_source_is_not_found(self, copying: Any) -> None:
        """Check that it makes nothing."""
        with pytest.raises(NotFound):
            copying.copy("kit/missing", "kit/target", attributes=Attributes(), if_match=None)
        assert left(copying) == []
