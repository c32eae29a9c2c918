"""What under stores promise beyond one store and one process, and how they fail and end."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable

import pytest

from forebay.errors import NotFound, StorageError
from forebay.stores.under import UnderStore
from forebay.testing import elsewhere
from forebay.testing.elsewhere import MISSING, THERE, Opening
from forebay.testing.under_kit import UnderStoreKit, exists, left, names, put, read


class LifeTests(UnderStoreKit):
    """The contract's sentences on other processes, dying ones, and storage that is down."""

    def test_other_stores_of_the_uri_see_the_same_as_claimed(self, under: UnderStore) -> None:
        """Check the capability `shared_between_processes`: its claim, or its denial."""
        other = self.twin(under)
        if other is None:
            pytest.skip("the test class opens no second store")
        try:
            put(under, "kit/object", b"x")
            assert exists(other, "kit/object") == under.capabilities.shared_between_processes
        finally:
            other.close()

    def test_other_processes_see_the_same_as_claimed(self, under: UnderStore) -> None:
        """Check the capability `shared_between_processes` where it matters, both ways."""
        opening = self._opening(under)
        shared = under.capabilities.shared_between_processes
        put(under, "kit/ours", b"ours")
        seen = elsewhere.elsewhere(elsewhere.look_at_object, opening, "kit/ours", b"ours")
        assert seen == (THERE if shared else MISSING)
        elsewhere.elsewhere(elsewhere.put_object, opening, "kit/theirs", b"theirs")
        assert exists(under, "kit/theirs") == shared

    def test_objects_outlive_their_process_as_claimed(self, under: UnderStore) -> None:
        """Check the capability `persistent`: its claim, or its denial."""
        opening = self._opening(under)
        elsewhere.elsewhere(elsewhere.put_object, opening, "kit/object", b"bytes")
        seen = elsewhere.elsewhere(elsewhere.look_at_object, opening, "kit/object", b"bytes")
        assert seen == (THERE if under.capabilities.persistent else MISSING)

    @pytest.mark.parametrize("fatal", [1, 3], ids=["in the middle", "at the end"])
    def test_a_put_whose_process_dies_shows_nothing(self, under: UnderStore, fatal: int) -> None:
        """Check the capability `atomic_put`: killed before the end, a put leaves what was."""
        opening = self._opening(under)
        if not under.capabilities.atomic_put:
            pytest.skip("the store says that its put is not atomic")
        put(under, "kit/old", b"old")
        for key in ("kit/old", "kit/dir/new"):
            code = elsewhere.elsewhere(elsewhere.die_while_putting, opening, key, 3, fatal)
            assert code == elsewhere.KILLED
        assert read(under, "kit/old") == b"old"
        assert not exists(under, "kit/dir/new")
        assert [name for name in left(under) if name != "kit/dir/"] == ["kit/old"]
        put(under, "kit/dir/new", b"new")
        assert read(under, "kit/dir/new") == b"new"

    def test_storage_that_is_down_is_an_error_and_no_absence(self, under: UnderStore) -> None:
        """Check that every method raises StorageError, and none says NotFound.

        A store that calls everything missing while it is down has its objects forgotten.
        """
        put(under, "kit/object", b"bytes")
        if not self.sever(under):
            pytest.skip("the test class cannot take the storage away")
        calls: list[Callable[[], object]] = [
            lambda: under.head("kit/object"),
            lambda: read(under, "kit/object"),
            lambda: put(under, "kit/new", b"x"),
            lambda: under.delete("kit/object"),
            lambda: names(under.list("kit/")),
        ]
        for call in calls:
            with pytest.raises(StorageError) as caught:
                call()
            assert not isinstance(caught.value, NotFound), "down is not the same as missing"
            assert caught.value.__cause__ is not None, "the original exception is the cause"

    def test_close_lets_go_of_everything(self, under: UnderStore) -> None:
        """Check that stores that come and go leave no descriptors and no threads."""
        counts = []
        for _ in range(8):
            other = self.twin(under)
            if other is None:
                pytest.skip("the test class opens no second store")
            put(other, "kit/object", b"x")
            assert read(other, "kit/object") == b"x"
            with other.open("kit/object") as reader:
                reader.read(1)
            names(other.list("kit/"))
            next(other.list("kit/"))
            other.close()
            del other, reader
            counts.append(_held())
        # The first ones may set up what the process keeps for all stores; the server of a test
        # may let go a moment after its client.
        until = time.monotonic() + 3
        while (now := _held()) > counts[1] + 3 and time.monotonic() < until:
            time.sleep(0.1)
        assert now <= counts[1] + 3, f"descriptors and threads grow: {counts}, then {now}"

    def _opening(self, under: UnderStore) -> Opening:
        opening = self.opening(under)
        if opening is None:
            pytest.skip("the test class does not say how another process opens the store")
        return opening


def _held() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd")) + threading.active_count()
