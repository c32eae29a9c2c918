"""Deletes: conditions, order against writes, and what a delete type leaves."""

from __future__ import annotations

import threading

import pytest

from forebay.errors import ConditionFailed, NoSuchKey
from forebay.streams import BytesReader
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


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_a_delete_of_the_namespace_hides_a_write_that_ends_while_the_store_is_asked(opened):
    """A write through, overtaken by a cached one, publishes between look-up and commit."""
    opened.put("k", b"old", WriteType.THROUGH)
    store, head = opened.under.stores[0], opened.under.stores[0].inner.head
    reached, go = threading.Event(), threading.Event()

    put = store.inner.put

    def publish(key, body, **options):
        blocks = []
        while block := body.read(1 << 20):  # the gate is passed: the intent is taken
            blocks.append(block)
        reached.set()
        assert go.wait(10)
        return put(key, BytesReader(b"".join(blocks)), **options)

    def ask(key):
        found = head(key)
        if reached.is_set() and not go.is_set():
            go.set()
            writer.join(10)
        return found

    writer = threading.Thread(target=opened.put, args=("k", b"through", WriteType.THROUGH))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.inner, "put", publish)
        writer.start()
        assert reached.wait(10)
        opened.put("k", b"cached", WriteType.MUST_CACHE)
        patch.setattr(store.inner, "head", ask)
        opened.forebay.deletes.delete(opened.bucket, "k", requested=DeleteType.ALLUXIO_ONLY)
    writer.join(10)
    assert not writer.is_alive()
    assert (opened.get("k"), opened.listed()) == (None, {})
