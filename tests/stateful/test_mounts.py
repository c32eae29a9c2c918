"""Mounts that come and go, objects changed on both sides: every history against a model."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.errors import ConfigurationError, MountBusy, NoSuchKey
from forebay.objects import persist
from forebay.runtime import Forebay
from forebay.streams import BLOCK
from forebay.testing.opened import Content
from forebay.testing.stateful import profile
from forebay.types import Attributes, DeleteType, WriteType

POINTS = {"/b": "", "/b/s": "s/", "/b/s/t": "s/t/"}
KEYS = ("k", "s/k", "s/t/k", "s/t/u/k", "sk")
STORES = ("one", "two", "three")


class Mounts(RuleBasedStateMachine):
    """Two Forebays of one catalog, three directories to be mounted, and what must be seen.

    `stores` is what each directory holds by its own keys; `only` the objects that the cache
    alone has, by key, each with the path of the mount that it was written through.
    """

    def __init__(self):
        super().__init__()
        self.ending = ExitStack()
        patch = self.ending.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(persist, "FIRST_PAUSE", 0.0)
        # In memory where that can be: each history makes two catalogs and a tier.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(dir=memory))
        self.ending.callback(shutil.rmtree, self.directory)
        for name in ("root", *STORES):
            (self.directory / name).mkdir()
        state = self.directory / "state"
        tier = TierConfig(name="T", path=str(state / "pages"), capacity=64 << 20)
        self.config = Config(
            mounts={"/": MountConfig("/", (self.directory / "root").as_uri())},
            metadata=MetadataConfig(kind="sqlite", path=str(state / "catalog.db")),
            cache=CacheConfig(tiers=[tier], page_size=4096, inline_size=0),
            durability="process",
            state=str(state),
        )
        self.count = 0
        self.mounted = {"/": "root"}
        self.stores = {name: {} for name in ("root", *STORES)}
        self.only = {}

    @initialize()
    def begin(self):
        self.forebays = [Forebay(self.config), Forebay(self.config)]
        self.closing = self.ending.enter_context(ExitStack())
        for forebay in self.forebays:
            self.closing.callback(forebay.close)
        self.forebays[0].buckets.create("b", "tester")

    def teardown(self):
        self.ending.close()

    # --- the model ---------------------------------------------------------------------

    def holder(self, key):
        """The path of the mount that holds a key, and the key's name in its store."""
        paths = [p for p in self.mounted if p != "/" and key.startswith(POINTS[p])]
        path = max(paths, key=len, default="/")
        return path, f"b/{key}" if path == "/" else key[len(POINTS[path]) :]

    def visible(self):
        found = {}
        for path, store in self.mounted.items():
            for name, content in self.stores[store].items():
                key = name.removeprefix("b/") if path == "/" else POINTS[path] + name
                if self.holder(key)[0] == path:
                    found[key] = content
        return found | {key: content for key, (_, content) in self.only.items()}

    def new(self):
        self.count += 1
        return f"{self.count}".encode() * (1 + self.count % 3 * 3000)

    # --- rules -------------------------------------------------------------------------

    @rule(which=st.sampled_from([0, 1]), key=st.sampled_from(KEYS), through=st.booleans())
    def put(self, which, key, through):
        forebay, content = self.forebays[which], self.new()
        forebay.writes.put(
            forebay.buckets.get("b"), key, Content(content), attributes=Attributes(),
            owner="tester",
            requested=WriteType.THROUGH if through else WriteType.ASYNC_THROUGH,
        )  # fmt: skip
        path, name = self.holder(key)
        self.only.pop(key, None)
        if through:
            self.stores[self.mounted[path]][name] = content
        else:
            self.only[key] = (path, content)

    @rule(which=st.sampled_from([0, 1]), key=st.sampled_from(KEYS))
    def delete(self, which, key):
        forebay = self.forebays[which]
        forebay.deletes.delete(forebay.buckets.get("b"), key, requested=DeleteType.ALLUXIO_AND_UFS)
        path, name = self.holder(key)
        if key in self.visible():
            self.only.pop(key, None)
            self.stores[self.mounted[path]].pop(name, None)

    @rule(store=st.sampled_from(["root", *STORES]), key=st.sampled_from(KEYS))
    def change_outside(self, store, key):
        name, content = f"b/{key}" if store == "root" else key, self.new()
        target = self.directory / store / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = self.directory / "draft"
        draft.write_bytes(content)
        draft.rename(target)
        self.stores[store][name] = content

    @rule(which=st.sampled_from([0, 1]))
    def persist(self, which):
        while self.forebays[which].persist.run_one():
            pass
        for key, (path, content) in self.only.items():
            name = self.holder(key)[1]
            self.stores[self.mounted[path]][name] = content
        self.only = {}

    @rule(
        which=st.sampled_from([0, 1]),
        path=st.sampled_from([*POINTS]),
        store=st.sampled_from(STORES),
    )
    def mount(self, which, path, store):
        mounting = self.forebays[which].mounting
        if path in self.mounted:
            with pytest.raises(ConfigurationError, match="mounted already"):
                mounting.mount(path, {"under": str(self.directory / store)})
            return
        if store in self.mounted.values():
            return  # two mounts of one store would need a wider model
        if any(
            key.startswith(POINTS[path]) and len(written) < len(path)
            for key, (written, _) in self.only.items()
        ):
            with pytest.raises(MountBusy):
                mounting.mount(path, {"under": str(self.directory / store)})
            return
        mounting.mount(path, {"under": str(self.directory / store)})
        self.mounted[path] = store
        self.follow()

    @rule(which=st.sampled_from([0, 1]), path=st.sampled_from([*POINTS]), force=st.booleans())
    def unmount(self, which, path, force):
        mounting = self.forebays[which].mounting
        if path not in self.mounted:
            with pytest.raises(ConfigurationError, match="nothing is mounted"):
                mounting.unmount(path, force=force)
            return
        lost = [key for key, (written, _) in self.only.items() if written == path]
        if lost and not force:
            with pytest.raises(MountBusy, match=f"{len(lost)} objects"):
                mounting.unmount(path)
            return
        mounting.unmount(path, force=force)
        del self.mounted[path]
        self.only = {key: kept for key, kept in self.only.items() if key not in lost}
        self.follow()

    def follow(self):
        """Let both look at the catalog, as their threads would; a sweep may run in between."""
        for forebay in self.forebays:
            forebay._table.refresh()

    @rule(which=st.sampled_from([0, 1]))
    def sweep(self, which):
        housekeeping = self.forebays[which].housekeeping
        housekeeping.sweep_void()
        while housekeeping.empty_trash():
            pass

    @rule()
    def restart(self):
        self.closing.close()
        self.begin_again()

    def begin_again(self):
        self.forebays = [Forebay(self.config), Forebay(self.config)]
        self.closing = self.ending.enter_context(ExitStack())
        for forebay in self.forebays:
            self.closing.callback(forebay.close)

    # --- what must be seen -----------------------------------------------------------------

    @invariant()
    def both_see_what_is_there(self):
        if not hasattr(self, "forebays"):
            return
        wanted = self.visible()
        for forebay in self.forebays:
            bucket = forebay.buckets.get("b")
            found = {}
            for key in KEYS:
                try:
                    with forebay.reads.get(bucket, key, lambda _: None) as opened:
                        read = opened.read
                        found[key] = b"".join(iter(lambda read=read: read(BLOCK), b""))
                except NoSuchKey:
                    continue
            assert found == {key: content for key, content in wanted.items() if key in KEYS}
            entries = forebay.listings.objects(bucket).entries
            sizes = {e.key: e.size for e in entries if not e.key.endswith("/")}
            assert sizes == {key: len(content) for key, content in wanted.items()}


class TestMounts(Mounts.TestCase):
    settings = hypothesis.settings(profile, stateful_step_count=20)
