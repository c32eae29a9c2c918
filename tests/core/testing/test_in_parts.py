import hashlib

import pytest

from forebay.testing.in_parts import TakesParts
from forebay.testing.under_kit import put
from forebay.testing.under_multipart import MultipartTests, begin, part
from forebay_memory.under import MemoryUnderStore


class TestTakesParts(MultipartTests):
    @pytest.fixture
    def under(self, tmp_path):
        return TakesParts(MemoryUnderStore(), tmp_path / "parts")


def test_etag_is_that_of_the_parts_until_the_object_is_another(tmp_path):
    store = TakesParts(MemoryUnderStore(), tmp_path / "parts")
    token = begin(store, "k")
    assert store.under_way() == 1
    store.complete_upload("k", token, [part(store, token, 1, b"x", "k")])
    etag = hashlib.md5(hashlib.md5(b"x").digest()).hexdigest() + "-1"
    assert (store.head("k").etag, store.under_way()) == (etag, 0)
    assert put(store, "k", b"x").etag == store.head("k").etag == hashlib.md5(b"x").hexdigest()
