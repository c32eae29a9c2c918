import hashlib

import pytest

from forebay.catalog.records import SegmentRef, Upload
from forebay.errors import InvalidRequest
from forebay.objects.whole import record_of_parts
from forebay.types import PersistState


def test_record_of_parts_is_that_of_the_whole():
    hashes = [hashlib.md5(content) for content in (b"one", b"two")]
    refs = [SegmentRef("", 3, n, h.hexdigest()) for n, h in enumerate(hashes, 1)]
    upload = Upload("id", 1, "key", 2, "t", {"a": "b"}, write_type="THROUGH")
    record = record_of_parts(upload, refs, 7, {}, "", 6)
    joined = hashlib.md5(b"".join(h.digest() for h in hashes)).hexdigest()
    assert (record.object_id, record.etag, record.size) == ("id", f"{joined}-2", 6)
    assert (record.generation, record.owner, record.headers) == (7, "t", {"a": "b"})
    assert (record.state, record.parts, record.checksums) == (PersistState.PERSISTED, 2, {})
    with pytest.raises(InvalidRequest):
        record_of_parts(upload, refs, 7, {}, "", 5)
