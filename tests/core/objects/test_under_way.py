import pytest

from forebay.errors import NoSuchUpload
from forebay.objects import under_way
from forebay.types import Attributes


def test_an_upload_is_found_by_key_and_id_and_by_nothing_else(opened):
    made = opened.forebay.uploads.create(opened.bucket, "key", attributes=Attributes(), owner=None)
    bucket, read = opened.bucket, opened.forebay.catalog.read
    assert read(lambda s: under_way.find(s, bucket, "key", made.upload_id)) == made
    assert read(lambda s: s.get(under_way.row_of(made))) is not None
    for key, upload_id in (("other", made.upload_id), ("key", "../x"), ("key", "0" * 65)):
        with pytest.raises(NoSuchUpload):
            read(lambda s, key=key, name=upload_id: under_way.find(s, bucket, key, name))
