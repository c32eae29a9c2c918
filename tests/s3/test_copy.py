"""CopyObject, over the wire."""

import os

import pytest

pytestmark = pytest.mark.parametrize("root", ["memory", "file"])

BODY = os.urandom(2 << 20)


@pytest.fixture
def source(s3, bucket):
    s3.put_object(
        Bucket=bucket,
        Key="so urce+/ü",
        Body=BODY,
        ContentType="text/x",
        Metadata={"a": "1"},
        Tagging="t=1",
    )
    return {"Bucket": bucket, "Key": "so urce+/ü"}


def read(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_a_copy_is_the_same(s3, bucket, source):
    made = s3.copy_object(Bucket=bucket, Key="target", CopySource=source)["CopyObjectResult"]
    head = s3.head_object(Bucket=bucket, Key="target")
    assert head["ETag"] == made["ETag"] == s3.head_object(**source)["ETag"]
    assert (head["ContentType"], head["Metadata"]) == ("text/x", {"a": "1"})
    assert s3.get_object_tagging(Bucket=bucket, Key="target")["TagSet"][0]["Key"] == "t"
    assert read(s3, bucket, "target") == BODY
    s3.delete_object(**source)
    assert read(s3, bucket, "target") == BODY


def test_between_buckets(s3, bucket, source, unique):
    other = f"other-{unique}"
    s3.create_bucket(Bucket=other)
    s3.copy_object(Bucket=other, Key="target", CopySource=source)
    assert read(s3, other, "target") == BODY


def test_new_metadata_in_place(s3, bucket, source, refused):
    with refused("InvalidRequest", 400):
        s3.copy_object(**source, CopySource=source)
    s3.copy_object(**source, CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert s3.head_object(**source)["Metadata"] == {"b": "2"}
    assert read(s3, bucket=bucket, key=source["Key"]) == BODY


def test_conditions(s3, bucket, source, refused):
    etag = s3.head_object(**source)["ETag"]
    where = {"Bucket": bucket, "Key": "target", "CopySource": source}
    with refused("PreconditionFailed", 412):
        s3.copy_object(**where, CopySourceIfNoneMatch=etag)
    s3.copy_object(**where, CopySourceIfMatch=etag)
    with refused("PreconditionFailed", 412):
        s3.copy_object(**where, IfNoneMatch="*")


def test_what_is_not_there(s3, bucket, refused):
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="t", CopySource={"Bucket": bucket, "Key": "none"})
    with refused("NoSuchBucket", 404):
        s3.copy_object(Bucket=bucket, Key="t", CopySource={"Bucket": "absent", "Key": "none"})


def test_what_belongs_to_others(connect, s3, user, source, unique, refused):
    thief = connect(user=f"not-{user}")
    thief.create_bucket(Bucket=f"loot-{unique}")
    with refused("AccessDenied", 403):
        thief.copy_object(Bucket=f"loot-{unique}", Key="t", CopySource=source)


def test_dots_never_leave_the_bucket(s3, bucket, source, wire, unique):
    other = f"other-{unique}"
    s3.create_bucket(Bucket=other)
    s3.put_object(Bucket=other, Key="secret", Body=b"secret")
    for path in (f"{bucket}/../{other}/secret", f"{bucket}/%2e%2e/{other}/secret"):
        answer = wire("PUT", f"/{bucket}/t", x_amz_copy_source=path)
        assert (answer.status, answer.code) == (404, "NoSuchKey")
