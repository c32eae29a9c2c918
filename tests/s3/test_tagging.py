"""Tags, over the wire."""

import pytest

pytestmark = pytest.mark.parametrize("root", ["memory", "file"])

TAGS = [{"Key": "key1", "Value": "val1"}, {"Key": "key2", "Value": "val2 + @/:=."}]


@pytest.fixture
def where(s3, bucket):
    s3.put_object(Bucket=bucket, Key="key", Body=b"x")
    return {"Bucket": bucket, "Key": "key"}


def test_objects(s3, where):
    assert s3.get_object_tagging(**where)["TagSet"] == []
    s3.put_object_tagging(**where, Tagging={"TagSet": TAGS[::-1]})
    assert s3.get_object_tagging(**where)["TagSet"] == TAGS
    assert s3.head_object(**where)["TagCount"] == 2
    s3.delete_object_tagging(**where)
    assert s3.get_object_tagging(**where)["TagSet"] == []
    assert "TagCount" not in s3.head_object(**where)


def test_an_overwrite_takes_the_tags_away(s3, where):
    s3.put_object_tagging(**where, Tagging={"TagSet": TAGS})
    s3.put_object(**where, Body=b"new")
    assert s3.get_object_tagging(**where)["TagSet"] == []


def test_buckets(s3, alluxio, bucket, refused):
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
    assert alluxio.get_bucket_tagging(Bucket=bucket)["TagSet"] == []
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": TAGS})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == TAGS
    alluxio.delete_bucket_tagging(Bucket=bucket)
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ([{"Key": f"k{n}", "Value": "v"} for n in range(11)], "BadRequest"),
        ([{"Key": "k" * 129, "Value": "v"}], "InvalidTag"),
        ([{"Key": "k", "Value": "v" * 257}], "InvalidTag"),
        ([{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}], "InvalidTag"),
        ([{"Key": "aws:k", "Value": "v"}], "InvalidTag"),
    ],
)
def test_tags_that_cannot_be(s3, where, tags, code, refused):
    with refused(code, 400):
        s3.put_object_tagging(**where, Tagging={"TagSet": tags})
    assert s3.get_object_tagging(**where)["TagSet"] == []


def test_the_longest_tags_that_can_be(s3, where):
    tags = [{"Key": f"{n}" + "ü" * 127, "Value": "漢" * 256} for n in range(10)]
    s3.put_object_tagging(**where, Tagging={"TagSet": tags})
    assert s3.get_object_tagging(**where)["TagSet"] == tags
