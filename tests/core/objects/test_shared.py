"""What every object operation shares."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forebay.errors import KeyTooLongError, StorageError
from forebay.events import BucketCreated
from forebay.hookspecs import hookimpl
from forebay.objects.shared import MD5_OF_NOTHING, check_key, check_stored, derived_etag
from forebay.streams import BLOCK, BytesReader
from forebay.testing.faults import Around, UnderStoreLayer
from forebay.types import ObjectInfo, PersistState, WriteType


@pytest.mark.parametrize("key", ["k", "x" * 1024, "é" * 512, "😀" * 256])
def test_keys_up_to_1024_bytes_are_fine(key):
    check_key(key)


@pytest.mark.parametrize("key", ["x" * 1025, "é" * 513, "😀" * 257])
def test_longer_keys_are_refused(key):
    with pytest.raises(KeyTooLongError) as caught:
        check_key(key)
    assert {"Size": str(len(key.encode())), "MaxSizeAllowed": "1024"} == caught.value.fields


def test_a_derived_etag_cannot_be_taken_for_an_md5():
    assert derived_etag("a") != derived_etag("b")
    assert "-" in derived_etag("a")


def test_a_plugin_that_fails_on_an_event_hurts_no_request(open_forebay, caplog):
    class Broken:
        @hookimpl
        def track_event(self, event):
            raise RuntimeError("boom")

    opened = open_forebay(plugins=[Broken()])
    opened.forebay.buckets.create("bucket", "tester")
    assert opened.bucket.name == "bucket"
    assert f"a plugin failed on {BucketCreated.__name__}" in caplog.text


class Drops(Around):
    """A store that takes a body and keeps nothing of it, as some do with form-encoded ones."""

    def put(self, key, /, body, *, size, **options):
        while body.read(BLOCK):
            pass
        return self.inner.put(key, BytesReader(b""), size=0, **options)


@pytest.mark.parametrize("write_type", ["CACHE_THROUGH", "THROUGH", "ASYNC_THROUGH"])
def test_bytes_that_an_under_store_dropped_are_not_acknowledged(open_forebay, write_type):
    opened = open_forebay(plugins=[UnderStoreLayer(Drops)])
    opened.forebay.buckets.create("bucket", "tester")
    if write_type == "ASYNC_THROUGH":
        opened.put("key", b"content", WriteType.ASYNC_THROUGH)
        opened.forebay.persist.run_one()
        assert opened.get("key") == b"content"
        assert opened.head("key").state is PersistState.TO_BE_PERSISTED
    else:
        with pytest.raises(StorageError, match=r"holds 0 bytes .* was given 7"):
            opened.put("key", b"content", WriteType(write_type))


def test_what_a_store_says_it_holds_is_held_against_what_it_was_given():
    def info(size, etag):
        return ObjectInfo("key", size, datetime.now(UTC), "print", etag)

    check_stored(info(7, None), 7)
    check_stored(info(7, "0" * 32), 7)
    check_stored(info(0, MD5_OF_NOTHING), 0)
    for wrong in (info(6, None), info(7, MD5_OF_NOTHING)):
        with pytest.raises(StorageError):
            check_stored(wrong, 7)
