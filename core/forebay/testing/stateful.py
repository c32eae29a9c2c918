"""A whole Forebay against a model of what S3 clients and the under store may see.

The model shares no code with Forebay: a key has bytes in the store, bytes that only the cache
holds, and may be hidden. Hypothesis looks for the shortest way to make the two disagree.
"""

# ruff: noqa: D102 - the name of a rule says what happens

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.errors import BodyError, ConditionFailed, NoSuchKey, NotFound, ServiceUnavailable
from forebay.objects import persist, uploads
from forebay.objects.uploads import CompletedPart
from forebay.streams import BLOCK, BytesReader
from forebay.testing.opened import KEPT, Content, OpenedForebay, content_of
from forebay.types import Attributes, CommonPrefix, DeleteType, WriteConditions, WriteType

KEYS = ("a", "a/", "a/b", "a/b/c", "b", "b//d", "ü")
THROUGH = (WriteType.CACHE_THROUGH, WriteType.THROUGH)
EXAMPLES = int(os.environ.get("FOREBAY_EXAMPLES", "12"))
"""How many histories to try; more than the default are other ones at each run."""

profile = hypothesis.settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    derandomize="FOREBAY_EXAMPLES" not in os.environ,
    suppress_health_check=list(hypothesis.HealthCheck),
)

keys = st.sampled_from(KEYS)
write_types = st.sampled_from(list(WriteType))
delete_types = st.sampled_from(list(DeleteType))
lengths = st.sampled_from([0, 1000, 17_000, 140_000])


@dataclass
class Known:
    """What the model knows of one key."""

    store: bytes | None = None
    cached: bytes | None = None
    job: bool = False
    hidden: bool = False

    @property
    def visible(self) -> bytes | None:
        """The bytes that a client sees."""
        if self.cached is not None:
            return self.cached
        return None if self.hidden else self.store


class ForebayMachine(RuleBasedStateMachine):
    """A Forebay over one under store, and the model of it.

    A subclass overrides `uri`, and says which catalog and tier stand in front of the store.
    A class that inherits the subclass's `TestCase`, with ``settings = ForebayMachine.histories``,
    is its test.
    """

    histories = profile

    catalog_kind = "sqlite"
    tier_kind = "disk"
    plugins: tuple[object, ...] = ()

    def uri(self, directory: Path) -> str:
        """Give the URI of an empty store; it may lie in `directory`."""
        raise NotImplementedError("override `uri`")

    def __init__(self) -> None:
        super().__init__()
        self._ending = ExitStack()
        patch = self._ending.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(uploads, "SMALLEST_PART", 1)
        patch.setattr(persist, "FIRST_PAUSE", 0.0)
        directory = Path(tempfile.mkdtemp())
        self._ending.callback(shutil.rmtree, directory)
        state = directory / "state"
        catalog = str(state / "catalog.db") if self.catalog_kind == "sqlite" else ""
        shelves = str(state / "pages") if self.tier_kind == "disk" else ""
        tier = TierConfig(name="T", kind=self.tier_kind, path=shelves, capacity=64 << 20)
        self._config = Config(
            mounts={"/": MountConfig("/", self.uri(directory))},
            metadata=MetadataConfig(kind=self.catalog_kind, path=catalog),
            cache=CacheConfig(tiers=[tier], page_size=4096),
            durability="process",
            state=str(state),
        )
        self._made = 0
        self.model = {key: Known() for key in KEYS}

    @initialize()
    def begin(self) -> None:
        self.opened = OpenedForebay(self._config, self.plugins)
        self._closing = self._ending.enter_context(ExitStack())
        self._closing.enter_context(self.opened)
        self.opened.forebay.buckets.create("bucket", "tester")

    # --- what clients do -----------------------------------------------------------------

    @rule(key=keys, length=lengths, write_type=write_types)
    def put(self, key: str, length: int, write_type: WriteType) -> None:
        content = self._new(length)
        self.opened.put(key, content, write_type)
        self._written(key, content, write_type)

    @rule(key=keys, write_type=write_types, count=st.integers(1, 3))
    def put_in_parts(self, key: str, write_type: WriteType, count: int) -> None:
        pieces = [self._new(5000) for _ in range(count)]
        made = self.opened.forebay.uploads.create(
            self.opened.bucket, key, attributes=KEPT, owner="tester", requested=write_type
        ).upload_id
        for number, piece in enumerate(pieces, 1):
            self.opened.forebay.uploads.put_part(
                self.opened.bucket, key, made, number, Content(piece)
            )
        listed = [CompletedPart(number) for number in range(1, count + 1)]
        for _ in range(2):  # the second call gets the answer of the first
            self.opened.forebay.uploads.complete(self.opened.bucket, key, made, listed)
        self._written(key, b"".join(pieces), write_type)

    @rule(
        key=keys, length=lengths, write_type=write_types, fault=st.sampled_from(["digest", "short"])
    )
    def put_a_bad_body(self, key: str, length: int, write_type: WriteType, fault: str) -> None:
        with pytest.raises(BodyError):
            self.opened.put(key, self._new(length), write_type, fault)

    @rule(key=keys, write_type=write_types, match=st.sampled_from(["none", "any", "same", "other"]))
    def put_on_a_condition(self, key: str, write_type: WriteType, match: str) -> None:
        there = self.model[key].visible is not None
        record = self.opened.head(key)
        etag = record.etag if record is not None else "0" * 32
        conditions, refusal = {
            "none": (WriteConditions(if_none_match="*"), ConditionFailed if there else None),
            "any": (WriteConditions(if_match="*"), None if there else NoSuchKey),
            "same": (WriteConditions(if_match=etag), None if there else NoSuchKey),
            "other": (WriteConditions(if_match="1"), ConditionFailed if there else NoSuchKey),
        }[match]
        content = self._new(100)

        def put() -> None:
            self.opened.forebay.writes.put(
                self.opened.bucket,
                key,
                Content(content),
                attributes=KEPT,
                owner="tester",
                requested=write_type,
                conditions=conditions,
            )

        if refusal is not None:
            with pytest.raises(refusal):
                put()
            return
        put()
        self._written(key, content, write_type)

    @rule(key=keys, delete_type=delete_types)
    def delete(self, key: str, delete_type: DeleteType) -> None:
        self.opened.forebay.deletes.delete(self.opened.bucket, key, requested=delete_type)
        known = self.model[key]
        if known.visible is None:
            return
        if delete_type is DeleteType.ALLUXIO_AND_UFS:
            self.model[key] = Known()
        else:
            self.model[key] = Known(store=known.store, hidden=known.store is not None)

    @rule(key=keys, value=st.sampled_from(["x", "y"]))
    def tag(self, key: str, value: str) -> None:
        def tag() -> None:
            self.opened.forebay.writes.set_tags(self.opened.bucket, key, {"t": value})

        if self.model[key].visible is None:
            with pytest.raises(NoSuchKey):
                tag()
            return
        tag()
        record = self.opened.head(key)
        assert record is not None
        assert record.tags == {"t": value}

    # --- what goes wrong -----------------------------------------------------------------

    @rule(key=keys, length=lengths, write_type=st.sampled_from(THROUGH), end=st.booleans())
    def put_while_the_store_fails(
        self, key: str, length: int, write_type: WriteType, end: bool
    ) -> None:
        content = self._new(length)
        self.opened.fail("end" if end else "middle")
        with pytest.raises(ServiceUnavailable):
            self.opened.put(key, content, write_type)
        self.opened.fail(None)
        if end:  # it was published, and the answer was lost
            self._written(key, content, write_type)

    @rule()
    def persist_while_the_store_fails(self) -> None:
        self.opened.fail("start")
        for _ in range(3):
            self.opened.forebay.persist.run_one()
        self.opened.fail(None)

    @rule()
    def restart(self) -> None:
        capabilities = self.opened.raw.capabilities
        remembers = self.opened.forebay.catalog.shared_between_processes
        self._closing.close()
        self.opened = self._closing.enter_context(OpenedForebay(self._config, self.plugins))
        if not remembers:
            self.opened.forebay.buckets.create("bucket", "tester")
        self.opened.forebay.housekeeping.sweep_void()
        self.opened.forebay.housekeeping.sweep_orphans()
        if not (remembers and capabilities.persistent):
            self.model = {key: Known() for key in KEYS}

    # --- what goes on behind -------------------------------------------------------------

    @rule()
    def persist(self) -> None:
        self.opened.persist()
        for key, known in self.model.items():
            if known.job:
                self.model[key] = Known(store=known.cached)

    @rule()
    def clean(self) -> None:
        assert self.opened.leavings() == {}

    @rule(key=keys, length=lengths)
    def somebody_puts_into_the_store(self, key: str, length: int) -> None:
        content = self._new(length)
        self.opened.raw.put(
            f"bucket/{key}", BytesReader(content), size=len(content), attributes=Attributes()
        )
        known = self.model[key]
        known.store, known.hidden = content, False

    @rule(key=keys)
    def somebody_deletes_in_the_store(self, key: str) -> None:
        self.opened.raw.delete(f"bucket/{key}")
        known = self.model[key]
        known.store, known.hidden = None, False

    # --- what must be so -----------------------------------------------------------------

    @rule(key=keys)
    def look_and_read(self, key: str) -> None:
        content = self.model[key].visible
        assert self.opened.get(key) == content
        record = self.opened.head(key)
        assert (record is None) == (content is None)
        if record is not None and content is not None:
            assert record.size == len(content)
            if "-" not in record.etag:
                assert record.etag == hashlib.md5(content, usedforsecurity=False).hexdigest()

    @rule(
        prefix=st.sampled_from(["", "a", "a/", "b/"]),
        delimiter=st.sampled_from(["", "/"]),
        after=st.sampled_from(["", "a", "a/", "a/b", "b"]),
        limit=st.integers(1, 8),
    )
    def list_a_page(self, prefix: str, delimiter: str, after: str, limit: int) -> None:
        names = set()
        for key, known in self.model.items():
            if known.visible is None or not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            name = prefix + head + found if found else key
            if name > after and not (found and after.startswith(name)):
                names.add(name)
        wanted = sorted(names, key=str.encode)
        page = self.opened.forebay.listings.objects(
            self.opened.bucket, prefix=prefix, delimiter=delimiter, after=after, limit=limit
        )
        found_names = [e.prefix if isinstance(e, CommonPrefix) else e.key for e in page.entries]
        assert found_names == wanted[:limit]
        assert page.truncated == (len(wanted) > limit)

    @invariant()
    def everything_visible_is_listed(self) -> None:
        if not hasattr(self, "opened"):
            return
        wanted = {k: len(m.visible) for k, m in self.model.items() if m.visible is not None}
        assert self.opened.listed() == wanted

    def teardown(self) -> None:
        """Read everything once more, from behind Forebay's back too."""
        with self._ending:
            if not hasattr(self, "opened"):
                return
            self.persist()
            for key, known in self.model.items():
                assert self.opened.get(key) == known.visible, key
                assert self._peek(key) == known.store, key
            assert self.opened.leavings() == {}
            assert self.opened.forebay.persist.backlog().objects == 0

    # --- the model -----------------------------------------------------------------------

    def _new(self, length: int) -> bytes:
        """Make bytes of a length that no other has: on a coarse clock only it may tell."""
        self._made += 1
        return content_of(str(self._made), length + self._made)

    def _written(self, key: str, content: bytes, write_type: WriteType) -> None:
        if write_type in THROUGH:
            self.model[key] = Known(store=content)
            return
        self.model[key] = Known(
            store=self.model[key].store,
            cached=content,
            job=write_type is WriteType.ASYNC_THROUGH,
        )

    def _peek(self, key: str) -> bytes | None:
        try:
            with self.opened.raw.open(f"bucket/{key}") as reader:
                return b"".join(iter(lambda: reader.read(BLOCK), b""))
        except NotFound:
            return None
