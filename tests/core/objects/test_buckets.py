"""Buckets: top-level directories, with owners and without."""

from __future__ import annotations

import pytest

from forebay.config import MountConfig
from forebay.errors import (
    AccessDenied,
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    NoSuchBucket,
)
from forebay.types import DeleteType, WriteType

FILE = pytest.mark.parametrize("root", ["file"], indirect=True)


def names(opened, user="tester", **more):
    return [bucket.name for bucket in opened.forebay.buckets.list(user, limit=10, **more)[0]]


def test_a_bucket_has_the_owner_who_created_it(opened):
    assert opened.bucket.owner == "tester"
    assert (names(opened), names(opened, "stranger")) == (["bucket"], [])


def test_creating_it_again_tells_whose_it_is(opened):
    with pytest.raises(BucketAlreadyOwnedByYou):
        opened.forebay.buckets.create("bucket", "tester")
    with pytest.raises(BucketAlreadyExists):
        opened.forebay.buckets.create("bucket", "stranger")


def test_a_listing_is_paged_by_name(opened):
    for name in ("zeta", "alpha", "mid"):
        opened.forebay.buckets.create(name, "tester")
    found, more = opened.forebay.buckets.list("tester", limit=2)
    assert ([bucket.name for bucket in found], more) == (["alpha", "bucket"], True)
    assert names(opened, after="bucket") == ["mid", "zeta"]
    assert names(opened, prefix="m") == ["mid"]


@FILE
def test_a_directory_from_outside_is_a_bucket_of_nobody(opened, files):
    (files.parent / "lake").mkdir()
    assert opened.forebay.buckets.get("lake").owner is None
    assert names(opened) == ["bucket", "lake"]
    assert names(opened, "stranger") == ["lake"]


@FILE
def test_a_file_at_the_root_is_no_bucket(opened, files):
    (files.parent / "loose").write_bytes(b"x")
    with pytest.raises(NoSuchBucket):
        opened.forebay.buckets.get("loose")
    assert names(opened) == ["bucket"]


@pytest.mark.parametrize("root", ["memory", "file"], indirect=True)
@pytest.mark.parametrize("write_type", list(WriteType))
def test_a_bucket_with_objects_is_not_deleted(opened, write_type):
    opened.put("k", b"x", write_type)
    with pytest.raises(BucketNotEmpty):
        opened.forebay.buckets.delete(opened.bucket)
    opened.forebay.deletes.delete(opened.bucket, "k")
    opened.forebay.buckets.delete(opened.bucket)
    with pytest.raises(NoSuchBucket):
        opened.forebay.buckets.get("bucket")


@FILE
def test_the_directory_goes_with_the_bucket_or_stays_hidden(opened, files):
    opened.forebay.buckets.delete(opened.bucket, DeleteType.ALLUXIO_ONLY)
    assert files.is_dir()
    assert names(opened) == []
    opened.forebay.buckets.create("bucket", "other")
    opened.forebay.buckets.delete(opened.bucket, DeleteType.ALLUXIO_AND_UFS)
    assert not files.exists()


@FILE
def test_a_bucket_deleted_in_the_namespace_alone_starts_empty_when_it_comes_back(opened, files):
    opened.put("k", b"x", WriteType.THROUGH)
    opened.forebay.deletes.delete(opened.bucket, "k", requested=DeleteType.ALLUXIO_ONLY)
    opened.forebay.buckets.delete(opened.bucket, DeleteType.ALLUXIO_ONLY)
    opened.forebay.buckets.create("bucket", "tester")
    assert (files / "k").read_bytes() == b"x"
    assert (opened.listed(), opened.get("k")) == ({}, None)


def test_a_write_to_a_bucket_that_went_and_came_again_is_refused(opened):
    gone = opened.bucket
    opened.forebay.buckets.delete(gone)
    opened.forebay.buckets.create("bucket", "tester")
    assert gone.id != opened.bucket.id
    with pytest.raises(NoSuchBucket):
        opened.forebay.buckets.set_tags(gone, {"k": "v"})


def test_a_mount_point_is_a_bucket_that_cannot_be_deleted(open_forebay, root):
    mounts = {"/": MountConfig("/", root), "/raw": MountConfig("/raw", "memory://raw")}
    opened = open_forebay(mounts=mounts)
    raw = opened.forebay.buckets.get("raw")
    assert names(opened, "anybody") == ["raw"]
    with pytest.raises(AccessDenied):
        opened.forebay.buckets.delete(raw)


def test_tags_are_kept(opened):
    opened.forebay.buckets.set_tags(opened.bucket, {"team": "sea"})
    assert opened.bucket.tags == {"team": "sea"}


@pytest.mark.parametrize("name", ["-", "none-such"])
def test_what_is_not_there_is_no_such_bucket(opened, name):
    with pytest.raises(NoSuchBucket):
        opened.forebay.buckets.get(name)
