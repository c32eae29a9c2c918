"""Deletes: conditions, order against writes, and what a delete type leaves."""

from __future__ import annotations

import pytest

from forebay.errors import ConditionFailed, NoSuchKey
from forebay.types import DeleteType, WriteType

BOTH = pytest.mark.parametrize("root", ["memory", "file"], indirect=True)
EACH = pytest.mark.parametrize("delete_type", list(DeleteType))


@BOTH
@EACH
def test_if_match_is_decided(opened, delete_type):
    record = opened.put("k", b"x", WriteType.THROUGH).record
    with pytest.raises(ConditionFailed):
        opened.forebay.deletes.delete(opened.bucket, "k", if_match="no", requested=delete_type)
    assert opened.get("k") == b"x"
    opened.forebay.deletes.delete(opened.bucket, "k", if_match=record.etag, requested=delete_type)
    assert opened.get("k") is None
    with pytest.raises(NoSuchKey):
        opened.forebay.deletes.delete(opened.bucket, "k", if_match="*", requested=delete_type)


@BOTH
@EACH
@pytest.mark.parametrize("write_type", list(WriteType))
def test_a_key_can_be_written_again_after_its_delete(opened, delete_type, write_type):
    for content in (b"one", b"two"):
        opened.put("k", content, write_type)
        assert content == opened.get("k")
        opened.forebay.deletes.delete(opened.bucket, "k", requested=delete_type)
        assert (opened.get("k"), opened.listed()) == (None, {})
    opened.persist()
    assert (opened.get("k"), opened.listed()) == (None, {})


@BOTH
def test_a_delete_says_which_type_it_was(opened):
    opened.put("k", b"x", WriteType.THROUGH)
    done = opened.forebay.deletes.delete(opened.bucket, "k", requested=DeleteType.ALLUXIO_ONLY)
    assert DeleteType.ALLUXIO_ONLY is done


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_a_folder_marker_outlives_its_children(opened, files):
    opened.put("x/", b"", WriteType.THROUGH)
    opened.put("x/y", b"1", WriteType.THROUGH)
    opened.forebay.deletes.delete(opened.bucket, "x/y")
    assert opened.listed() == {"x/": 0}
    assert (files / "x").is_dir()
    opened.forebay.deletes.delete(opened.bucket, "x/")
    assert opened.listed() == {}
