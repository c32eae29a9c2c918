"""The product's promise as a table: every write type and delete type, whole and broken.

The under store is never its own witness: `peek` and `poke` go behind Forebay's back.
"""

# ruff: noqa: D102 - the name of a test is the sentence it checks

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from forebay.catalog import keys
from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.errors import (
    BodyError,
    ForebayError,
    NotFound,
    ServiceUnavailable,
    SlowDown,
)
from forebay.objects import persist
from forebay.streams import BLOCK, BytesReader
from forebay.testing.faults import (
    At,
    FailNth,
)
from forebay.testing.opened import KEPT, OpenedForebay, content_of
from forebay.types import Attributes, DeleteType, Durability, PersistState, WriteType

SMALL, LARGE = 100, (1 << 20) + 300_000
"""Lengths of an object in the metadata store, and of one that takes two blocks."""
CACHED = (WriteType.MUST_CACHE, WriteType.ASYNC_THROUGH)
STATES = {
    WriteType.MUST_CACHE: PersistState.NOT_PERSISTED,
    WriteType.CACHE_THROUGH: PersistState.PERSISTED,
    WriteType.ASYNC_THROUGH: PersistState.TO_BE_PERSISTED,
    WriteType.THROUGH: PersistState.PERSISTED,
}
MOMENTS: tuple[At, ...] = ("start", "middle", "end")

each_write_type = pytest.mark.parametrize("write_type", list(WriteType))
each_delete_type = pytest.mark.parametrize("delete_type", list(DeleteType))
each_size = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


class WriteTypeTests:
    """What STORAGE.md promises of the write types and delete types, over one under store.

    A subclass gives the fixture `mount_uri`, and by the attributes which catalog and tier
    stand in front of it. Override `peek`, `poke` and `remove` to look past the store's code.
    """

    catalog_kind = "sqlite"
    tier_kind = "disk"
    plugins: Sequence[object] = ()
    """Plugin objects, where the under store's plugin is not installed."""

    @pytest.fixture
    def mount_uri(self, tmp_path: Path) -> str:
        """Give the URI of an empty store; the same for the whole of a test."""
        raise NotImplementedError("give the fixture `mount_uri`")

    @pytest.fixture
    def mount_options(self) -> dict[str, Any]:
        """Give the options of the mount."""
        return {}

    def peek(self, opened: OpenedForebay, key: str) -> bytes | None:
        """Read an object of the under store behind Forebay's back; None when it is not there."""
        try:
            with opened.raw.open(key) as reader:
                return b"".join(iter(lambda: reader.read(BLOCK), b""))
        except NotFound:
            return None

    def poke(self, opened: OpenedForebay, key: str, content: bytes) -> None:
        """Write an object of the under store behind Forebay's back."""
        opened.raw.put(key, BytesReader(content), size=len(content), attributes=Attributes())

    def remove(self, opened: OpenedForebay, key: str) -> None:
        """Delete an object of the under store behind Forebay's back."""
        opened.raw.delete(key)

    @pytest.fixture
    def config(self, mount_uri: str, mount_options: dict[str, Any], tmp_path: Path) -> Config:
        """Give the configuration: one mount, one tier."""
        state = tmp_path / "state"
        catalog = str(state / "catalog.db") if self.catalog_kind == "sqlite" else ""
        shelves = str(state / "pages") if self.tier_kind == "disk" else ""
        tier = TierConfig(name="T", kind=self.tier_kind, path=shelves, capacity=64 << 20)
        return Config(
            mounts={"/": MountConfig("/", mount_uri, options=mount_options)},
            metadata=MetadataConfig(kind=self.catalog_kind, path=catalog),
            cache=CacheConfig(tiers=[tier]),
            durability="process",
            state=str(state),
        )

    @pytest.fixture
    def reopen(
        self, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Callable[[], OpenedForebay]]:
        """Give a function that closes what it opened before, and opens it again."""
        monkeypatch.setattr(persist, "FIRST_PAUSE", 0.0)
        with ExitStack() as stack:

            def reopen() -> OpenedForebay:
                stack.close()
                return stack.enter_context(OpenedForebay(config, self.plugins))

            yield reopen

    @pytest.fixture
    def opened(self, reopen: Callable[[], OpenedForebay]) -> OpenedForebay:
        """Give an open Forebay with an empty bucket."""
        opened = reopen()
        opened.forebay.buckets.create("bucket", "tester")
        return opened

    # --- what a write does ---------------------------------------------------------------

    @each_write_type
    @each_size
    def test_a_write_is_visible_and_says_where_it_is(
        self, opened: OpenedForebay, write_type: WriteType, size: int
    ) -> None:
        content = content_of("new", size)
        written = opened.put("key", content, write_type)
        assert written.write_type is write_type
        assert written.record.state is STATES[write_type]
        assert written.durability is self.expected_durability(opened, write_type)
        assert written.record.etag == hashlib.md5(content).hexdigest()
        assert opened.get("key") == content
        assert opened.listed() == {"key": size}
        record = opened.head("key")
        assert record is not None
        assert (record.etag, record.owner) == (written.record.etag, "tester")
        assert (record.headers, record.metadata, record.tags) == (
            dict(KEPT.headers),
            dict(KEPT.metadata),
            dict(KEPT.tags),
        )
        in_store = None if write_type in CACHED else content
        assert self.peek(opened, "bucket/key") == in_store
        assert opened.leavings() == {}

    def expected_durability(self, opened: OpenedForebay, write_type: WriteType) -> Durability:
        """Say what a write survives here, where ``durability = "process"`` is configured."""
        capabilities = opened.raw.capabilities
        if not capabilities.persistent:
            return Durability.MEMORY
        if write_type in CACHED:
            shared = opened.forebay.catalog.shared_between_processes
            return Durability.PROCESS if shared else Durability.MEMORY
        return Durability.PROCESS if capabilities.local_files else Durability.UNDER_STORE

    @each_size
    @each_write_type
    def test_only_types_that_keep_it_keep_it_in_the_cache(
        self, opened: OpenedForebay, write_type: WriteType, size: int
    ) -> None:
        opened.put("key", content_of("new", size), write_type)
        shelved = [s for _, page, s in opened.forebay.cache.segments() if not page.page_size]
        local = opened.raw.capabilities.local_files
        kept = write_type in CACHED or (write_type is WriteType.CACHE_THROUGH and not local)
        inline = write_type in CACHED and size == SMALL
        assert shelved == ([size] if kept and not inline else [])

    @each_size
    def test_persisting_brings_the_same_bytes_and_lets_go_of_the_job(
        self, opened: OpenedForebay, size: int
    ) -> None:
        content = content_of("new", size)
        written = opened.put("key", content, WriteType.ASYNC_THROUGH)
        opened.persist()
        record = opened.head("key")
        assert record is not None
        assert record.state is PersistState.PERSISTED
        assert (record.etag, record.metadata) == (written.record.etag, dict(KEPT.metadata))
        assert self.peek(opened, "bucket/key") == content
        assert opened.get("key") == content
        assert opened.forebay.persist.backlog().objects == 0
        assert opened.held(b"j") + opened.held(keys.QUEUE) + opened.held(keys.LEASES) == []
        assert opened.leavings() == {}

    @each_write_type
    @each_size
    def test_an_overwrite_replaces_the_bytes_and_frees_the_old_ones(
        self, opened: OpenedForebay, write_type: WriteType, size: int
    ) -> None:
        for before in WriteType:
            opened.put("key", content_of(f"old {before}", LARGE), before)
            content = content_of(f"new {before}", size)
            opened.put("key", content, write_type)
            assert opened.get("key") == content, before
            assert opened.leavings() == {}, before
        opened.persist()
        assert opened.get("key") == content
        assert opened.leavings() == {}

    # --- what a failed write leaves ------------------------------------------------------

    @pytest.mark.parametrize("fault", ["digest", "short"])
    @each_write_type
    @each_size
    def test_a_bad_body_changes_nothing(
        self, opened: OpenedForebay, write_type: WriteType, size: int, fault: str
    ) -> None:
        old = content_of("old", LARGE)
        opened.put("old", old, WriteType.CACHE_THROUGH)
        for key in ("old", "new"):
            with pytest.raises(BodyError):
                opened.put(key, content_of("bad", size), write_type, fault)
        assert opened.get("old") == self.peek(opened, "bucket/old") == old
        assert opened.get("new") is None
        assert self.peek(opened, "bucket/new") is None
        assert opened.listed() == {"old": LARGE}
        assert opened.forebay.persist.backlog().objects == 0
        assert opened.leavings() == {}
        self.check_retry(opened, write_type, size)

    def check_retry(self, opened: OpenedForebay, write_type: WriteType, size: int) -> None:
        """Check that after a failure everything can be written again."""
        for key in ("old", "new"):
            content = content_of(f"again {key}", size)
            opened.put(key, content, write_type)
            assert opened.get(key) == content
        opened.persist()
        for key in ("old", "new"):
            content = content_of(f"again {key}", size)
            assert opened.get(key) == content
            if write_type is not WriteType.MUST_CACHE:
                assert self.peek(opened, f"bucket/{key}") == content
        assert opened.leavings() == {}

    @pytest.mark.parametrize("at", ["start", "middle"])
    @pytest.mark.parametrize("write_type", [WriteType.CACHE_THROUGH, WriteType.THROUGH])
    @each_size
    def test_a_store_that_fails_before_it_publishes_changes_nothing(
        self, opened: OpenedForebay, write_type: WriteType, size: int, at: At
    ) -> None:
        old = content_of("old", LARGE)
        opened.put("old", old, write_type)
        opened.fail(at)
        for key in ("old", "new"):
            with pytest.raises(ServiceUnavailable):
                opened.put(key, content_of("lost", size), write_type)
        assert opened.get("old") == self.peek(opened, "bucket/old") == old
        assert opened.get("new") is None
        assert self.peek(opened, "bucket/new") is None
        assert opened.listed() == {"old": LARGE}
        assert opened.leavings() == {}
        opened.fail(None)
        self.check_retry(opened, write_type, size)

    @pytest.mark.parametrize("write_type", [WriteType.CACHE_THROUGH, WriteType.THROUGH])
    @each_size
    def test_a_store_that_fails_after_it_published_shows_what_it_has(
        self, opened: OpenedForebay, write_type: WriteType, size: int
    ) -> None:
        opened.put("old", content_of("old", LARGE), write_type)
        opened.fail("end")
        content = content_of("unsure", size)
        for key in ("old", "new"):
            with pytest.raises(ServiceUnavailable):
                opened.put(key, content, write_type)
            assert opened.get(key) == self.peek(opened, f"bucket/{key}") == content
            record = opened.head(key)
            assert record is not None
            assert (record.etag, record.metadata) == (
                hashlib.md5(content).hexdigest(),
                dict(KEPT.metadata),
            )
        assert opened.leavings() == {}
        opened.fail(None)
        self.check_retry(opened, write_type, size)

    @pytest.mark.parametrize("at", MOMENTS)
    @pytest.mark.parametrize("write_type", CACHED)
    @each_size
    def test_types_that_do_not_wait_for_the_store_do_not_fail_with_it(
        self, opened: OpenedForebay, write_type: WriteType, size: int, at: At
    ) -> None:
        old, content = content_of("old", LARGE), content_of("new", size)
        opened.put("old", old, WriteType.CACHE_THROUGH)
        opened.fail(at)
        for key in ("old", "new"):
            opened.put(key, content, write_type)
        # Each failed attempt is due again at once here, so only a few are made.
        for _ in range(4):
            opened.forebay.persist.run_one()
        waiting = 2 if write_type is WriteType.ASYNC_THROUGH else 0
        assert opened.forebay.persist.backlog().objects == waiting
        for key in ("old", "new"):
            record = opened.head(key)
            assert record is not None
            assert record.state is STATES[write_type]
            assert opened.get(key) == content
        if at != "end":
            assert self.peek(opened, "bucket/old") == old
            assert self.peek(opened, "bucket/new") is None
        assert opened.leavings() == {}
        opened.fail(None)
        opened.persist()
        in_store = content if write_type is WriteType.ASYNC_THROUGH else None
        assert self.peek(opened, "bucket/new") == in_store
        assert opened.get("new") == content
        self.check_retry(opened, write_type, size)

    @each_write_type
    @each_size
    def test_a_full_cache_refuses_only_what_must_be_in_it(
        self, opened: OpenedForebay, write_type: WriteType, size: int
    ) -> None:
        old, content = content_of("old", LARGE), content_of("new", size)
        opened.put("old", old, write_type)
        opened.fill()
        refused = write_type in CACHED and size == LARGE
        for key in ("old", "new"):
            if refused:
                with pytest.raises(SlowDown):
                    opened.put(key, content, write_type)
            else:
                opened.put(key, content, write_type)
                assert opened.get(key) == content
        if refused:
            assert opened.get("old") == old
            assert opened.get("new") is None
        assert opened.leavings() == {}
        opened.fill(False)
        self.check_retry(opened, write_type, size)

    # --- restart -------------------------------------------------------------------------

    @each_write_type
    @each_size
    def test_a_restart_keeps_all_or_where_the_store_forgets_nothing(
        self,
        opened: OpenedForebay,
        reopen: Callable[[], OpenedForebay],
        write_type: WriteType,
        size: int,
    ) -> None:
        content = content_of("new", size)
        written = opened.put("key", content, write_type)
        opened.put("gone", content, write_type)
        opened.forebay.deletes.delete(opened.bucket, "gone", requested=DeleteType.ALLUXIO_ONLY)
        remembers = (
            opened.raw.capabilities.persistent and opened.forebay.catalog.shared_between_processes
        )
        again = reopen()
        if not remembers:
            self.check_forgotten(again)
            return
        assert again.get("key") == content
        record = again.head("key")
        assert record is not None
        assert (record.etag, record.state) == (written.record.etag, STATES[write_type])
        assert again.listed() == {"key": size}
        assert again.leavings() == {}
        again.persist()
        in_store = None if write_type is WriteType.MUST_CACHE else content
        assert self.peek(again, "bucket/key") == in_store
        assert again.get("key") == content
        assert again.leavings() == {}

    def check_forgotten(self, opened: OpenedForebay) -> None:
        """Check that a store which forgets takes the namespace with it."""
        forebay = opened.forebay
        if forebay.catalog.shared_between_processes:
            assert opened.listed() == {}
            assert opened.get("key") is None
        else:
            forebay.buckets.create("bucket", "tester")
        opened.persist()
        assert opened.listed() == {}
        assert self.peek(opened, "bucket/key") is None
        forebay.housekeeping.sweep_void()
        assert opened.leavings() == {}
        assert list(forebay.cache.segments()) == []
        assert forebay.persist.backlog().objects == 0
        forebay.buckets.delete(opened.bucket)

    # --- deleting ------------------------------------------------------------------------

    @pytest.mark.parametrize("persisted", [False, True], ids=["at-once", "persisted"])
    @each_write_type
    @each_delete_type
    def test_a_delete_takes_the_object_away_and_reaches_as_far_as_its_type(
        self,
        opened: OpenedForebay,
        write_type: WriteType,
        delete_type: DeleteType,
        persisted: bool,
    ) -> None:
        content = content_of("new", LARGE)
        opened.put("key", content, write_type)
        if persisted:
            opened.persist()
        before = self.peek(opened, "bucket/key")
        deleted = opened.forebay.deletes.delete(opened.bucket, "key", requested=delete_type)
        assert deleted is delete_type
        for _ in range(2):  # a second look must not bring it back
            assert opened.head("key") is None
            assert opened.listed() == {}
        opened.persist()
        after = before if delete_type is DeleteType.ALLUXIO_ONLY else None
        assert self.peek(opened, "bucket/key") == after
        assert opened.head("key") is None
        assert opened.forebay.persist.backlog().objects == 0
        assert opened.leavings() == {}
        assert list(opened.forebay.cache.segments()) == []

    @each_write_type
    def test_a_hidden_object_shows_again_when_the_source_changes_outside(
        self, opened: OpenedForebay, write_type: WriteType
    ) -> None:
        opened.put("key", content_of("new", SMALL), write_type)
        opened.persist()
        opened.forebay.deletes.delete(opened.bucket, "key", requested=DeleteType.ALLUXIO_ONLY)
        assert opened.head("key") is None
        changed = content_of("changed", SMALL)
        self.poke(opened, "bucket/key", changed)
        assert opened.get("key") == changed
        assert opened.listed() == {"key": SMALL}
        self.remove(opened, "bucket/key")
        assert opened.head("key") is None
        assert opened.leavings() == {}

    @each_write_type
    @each_delete_type
    def test_a_deleted_key_can_be_written_again(
        self, opened: OpenedForebay, write_type: WriteType, delete_type: DeleteType
    ) -> None:
        for first in WriteType:
            opened.put("key", content_of("old", SMALL), first)
            opened.forebay.deletes.delete(opened.bucket, "key", requested=delete_type)
            content = content_of(f"new {first}", SMALL)
            opened.put("key", content, write_type)
            assert opened.get("key") == content, first
            assert opened.listed() == {"key": SMALL}, first
            opened.persist()
            assert opened.get("key") == content, first
        assert opened.leavings() == {}

    @each_write_type
    def test_a_delete_that_the_store_refuses_changes_nothing(
        self, opened: OpenedForebay, write_type: WriteType
    ) -> None:
        content = content_of("new", SMALL)
        opened.put("key", content, write_type)
        mount = opened.forebay.mounts.root
        refusing = FailNth(opened.under.stores[0], "delete", 1, forever=True)
        object.__setattr__(mount, "store", refusing)
        with pytest.raises(ForebayError):
            opened.forebay.deletes.delete(
                opened.bucket, "key", requested=DeleteType.ALLUXIO_AND_UFS
            )
        assert opened.get("key") == content
        assert opened.leavings() == {}
        object.__setattr__(mount, "store", opened.under.stores[0])
        opened.forebay.deletes.delete(opened.bucket, "key", requested=DeleteType.ALLUXIO_AND_UFS)
        assert opened.get("key") is None

    @each_delete_type
    def test_deleting_what_is_not_there_is_success(
        self, opened: OpenedForebay, delete_type: DeleteType
    ) -> None:
        opened.forebay.deletes.delete(opened.bucket, "key", requested=delete_type)
        assert opened.listed() == {}
        assert opened.leavings() == {}

    # --- what others do to the store -----------------------------------------------------

    def test_what_is_put_outside_is_visible_and_what_is_removed_outside_is_gone(
        self, opened: OpenedForebay
    ) -> None:
        content = content_of("outside", LARGE)
        self.poke(opened, "bucket/key", content)
        assert opened.listed() == {"key": LARGE}
        assert opened.get("key") == content
        self.remove(opened, "bucket/key")
        assert opened.listed() == {}
        assert opened.get("key") is None

    @pytest.mark.parametrize("write_type", CACHED)
    def test_an_acknowledged_write_wins_over_a_change_outside(
        self, opened: OpenedForebay, write_type: WriteType
    ) -> None:
        content = content_of("ours", SMALL)
        opened.put("key", content, write_type)
        self.poke(opened, "bucket/key", content_of("theirs", LARGE))
        assert opened.get("key") == content
        assert opened.listed() == {"key": SMALL}
        opened.persist()
        if write_type is WriteType.ASYNC_THROUGH:
            assert self.peek(opened, "bucket/key") == content
        assert opened.get("key") == content
