"""The mount table: the longest prefix wins."""

from __future__ import annotations

import pytest

from forebay.config import MountConfig
from forebay.errors import AccessDenied
from forebay.objects.mounts import Mount, Mounts, split_path
from forebay_memory.under import MemoryUnderStore


@pytest.fixture
def mounts():
    def mount(path, **more):
        store = MemoryUnderStore.from_uri("memory://", {})
        return Mount(MountConfig(path, "memory://", **more), store, 1, *split_path(path))

    made = {
        path: mount(path, read_only=path.endswith("archive"))
        for path in ("/", "/raw", "/raw/old", "/raw/old/archive", "/lake/part")
    }
    yield Mounts(made)
    for each in made.values():
        each.store.close()


@pytest.mark.parametrize(
    ("bucket", "key", "path", "under"),
    [
        ("other", "k", "/", "other/k"),
        ("raw", "k", "/raw", "k"),
        ("raw", "older", "/raw", "older"),
        ("raw", "old/k", "/raw/old", "k"),
        ("raw", "old/", "/raw", "old/"),
        ("raw", "old/archive/a/b", "/raw/old/archive", "a/b"),
        ("lake", "k", "/", "lake/k"),
        ("lake", "part/k", "/lake/part", "k"),
        ("raw", "/old/k", "/raw", "/old/k"),
    ],
)
def test_a_key_belongs_to_the_longest_mount_and_has_a_name_there(mounts, bucket, key, path, under):
    mount = mounts.find(bucket, key)
    assert (path, under) == (mount.config.path, mount.under_key(bucket, key))
    assert key == mount.key(bucket, under)


def test_the_mounts_of_a_bucket_begin_with_the_outermost(mounts):
    paths = [mount.config.path for mount in mounts.of_bucket("raw")]
    assert paths == ["/raw", "/raw/old", "/raw/old/archive"]
    assert [mount.config.path for mount in mounts.of_bucket("lake")] == ["/", "/lake/part"]
    assert [mount.config.path for mount in mounts.of_bucket("other")] == ["/"]
    assert mounts.buckets() == ["lake", "raw"]


def test_a_read_only_mount_refuses_writes(mounts):
    mounts.find("raw", "old/k").check_writable()
    with pytest.raises(AccessDenied, match="/raw/old/archive"):
        mounts.find("raw", "old/archive/k").check_writable()
