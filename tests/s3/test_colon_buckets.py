"""Sub-directories as buckets (``a:b``), over the wire, on both endpoints."""

import pytest

pytestmark = [
    pytest.mark.parametrize("root", ["memory", "file"]),
    pytest.mark.parametrize("endpoint", ["aws", "alluxio"]),
]


@pytest.fixture
def client(connect, endpoint):
    return connect(alluxio=endpoint == "alluxio", colons=True)


@pytest.fixture
def inner(client, bucket):
    client.create_bucket(Bucket=f"{bucket}:x:y")
    return f"{bucket}:x:y"


def keys(client, bucket, **more):
    page = client.list_objects_v2(Bucket=bucket, **more)
    return [one["Key"] for one in page.get("Contents", [])]


def test_it_is_a_folder_of_its_bucket(client, s3, bucket, inner):
    client.put_object(Bucket=inner, Key="key", Body=b"inside")
    assert s3.get_object(Bucket=bucket, Key="x/y/key")["Body"].read() == b"inside"
    assert client.get_object(Bucket=inner, Key="key")["Body"].read() == b"inside"
    assert keys(client, inner) == ["key"]
    assert client.list_objects(Bucket=inner)["Name"] == inner


def test_it_is_never_listed_as_a_bucket(client, bucket, inner):
    assert [one["Name"] for one in client.list_buckets()["Buckets"]] == [bucket]


def test_it_exists_while_its_marker_or_a_key_does(client, s3, bucket, inner, refused):
    client.head_bucket(Bucket=inner)
    s3.put_object(Bucket=bucket, Key="p/q", Body=b"")
    client.head_bucket(Bucket=f"{bucket}:p")
    with refused(404, 404):
        client.head_bucket(Bucket=f"{bucket}:none")
    with refused("BucketNotEmpty", 409):
        client.delete_bucket(Bucket=f"{bucket}:p")
    client.delete_bucket(Bucket=inner)
    with refused(404, 404):
        client.head_bucket(Bucket=inner)


def test_its_tags_are_the_markers(client, s3, bucket, inner):
    tags = [{"Key": "a", "Value": "1"}]
    client.put_bucket_tagging(Bucket=inner, Tagging={"TagSet": tags})
    assert client.get_bucket_tagging(Bucket=inner)["TagSet"] == tags
    assert s3.get_object_tagging(Bucket=bucket, Key="x/y/")["TagSet"] == tags
    client.delete_bucket_tagging(Bucket=inner)
    assert s3.get_object_tagging(Bucket=bucket, Key="x/y/")["TagSet"] == []


def test_copies(client, s3, bucket, inner):
    client.put_object(Bucket=inner, Key="source", Body=b"copied")
    source = {"Bucket": inner, "Key": "source"}
    client.copy_object(Bucket=bucket, Key="out", CopySource=source)
    client.copy_object(Bucket=inner, Key="in", CopySource=source)
    assert s3.get_object(Bucket=bucket, Key="out")["Body"].read() == b"copied"
    assert s3.get_object(Bucket=bucket, Key="x/y/in")["Body"].read() == b"copied"


def test_deletes(client, inner):
    for key in ("a", "b", "c"):
        client.put_object(Bucket=inner, Key=key, Body=b"")
    client.delete_object(Bucket=inner, Key="a")
    objects = {"Objects": [{"Key": "b"}]}
    assert client.delete_objects(Bucket=inner, Delete=objects)["Deleted"][0]["Key"] == "b"
    assert keys(client, inner) == ["c"]


def test_uploads(client, inner):
    where = {"Bucket": inner, "Key": "key"}
    upload = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"]}
    assert [one["Key"] for one in client.list_multipart_uploads(Bucket=inner)["Uploads"]] == ["key"]
    etag = client.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
    assert client.list_parts(**upload)["Bucket"] == inner
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    done = client.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert (done["Bucket"], done["Key"]) == (inner, "key")
    assert client.get_object(**where)["Body"].read() == b"part"


def test_pages(client, inner):
    for key in ("a/1", "a/2", "b", "c/3"):
        client.put_object(Bucket=inner, Key=key, Body=b"")
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=inner, Delimiter="/", PaginationConfig={"PageSize": 1}
    )
    found = []
    for page in pages:
        found += [one["Key"] for one in page.get("Contents", [])]
        found += [one["Prefix"] for one in page.get("CommonPrefixes", [])]
    assert found == ["a/", "b", "c/"]


def test_names_that_cannot_be(client, bucket, refused):
    for bad in (f"{bucket}:..", f"{bucket}::x", f"{bucket}:"):
        with refused("InvalidBucketName", 400):
            client.create_bucket(Bucket=bad)
    with refused("NoSuchBucket", 404):
        client.create_bucket(Bucket="absent:x")
