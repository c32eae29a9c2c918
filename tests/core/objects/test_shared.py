"""What every object operation shares."""

from __future__ import annotations

import pytest

from forebay.errors import KeyTooLongError
from forebay.events import BucketCreated
from forebay.hookspecs import hookimpl
from forebay.objects.shared import check_key, derived_etag


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
