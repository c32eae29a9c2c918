"""Buckets, over the wire."""

import pytest

pytestmark = pytest.mark.parametrize("root", ["memory", "file"])


def names(client):
    return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]


def test_create_list_delete(s3, unique, refused):
    first, second = f"{unique}-first", f"{unique}-second"
    assert s3.create_bucket(Bucket=first)["Location"] == f"/{first}"
    s3.create_bucket(Bucket=second)
    assert names(s3) == [first, second]
    s3.delete_bucket(Bucket=first)
    assert names(s3) == [second]
    with refused(404, 404):
        s3.head_bucket(Bucket=first)
    with refused("NoSuchBucket", 404):
        s3.delete_bucket(Bucket=first)


def test_a_bucket_created_again_is_as_empty_as_new(s3, bucket):
    s3.put_object(Bucket=bucket, Key="key", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="key")
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_only_an_empty_bucket_goes(s3, bucket, refused):
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="a/b")
    s3.delete_bucket(Bucket=bucket)


def test_head_and_location(s3, bucket):
    assert s3.head_bucket(Bucket=bucket)["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None


def test_buckets_of_others(connect, s3, user, bucket, refused):
    other = connect(user=f"not-{user}")
    with refused(403, 403):
        other.head_bucket(Bucket=bucket)
    with refused("AccessDenied", 403):
        other.put_object(Bucket=bucket, Key="key", Body=b"x")
    with refused("BucketAlreadyExists", 409):
        other.create_bucket(Bucket=bucket)
    assert (names(s3), names(other)) == ([bucket], [])


def test_pages_of_buckets(s3, unique):
    made = [f"{unique}-{number}" for number in range(5)]
    for name in made:
        s3.create_bucket(Bucket=name)
    pages = list(s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 2}))
    found = [[bucket["Name"] for bucket in page["Buckets"]] for page in pages]
    assert found == [made[:2], made[2:4], made[4:]]


def test_what_clients_ask_by_habit(s3, bucket, refused):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    for ask, code in (
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
        (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
        (s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
        (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
        (s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
        (s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError"),
    ):
        with refused(code, 404):
            ask(Bucket=bucket)


def test_what_is_not_made_says_so(s3, bucket, refused):
    with refused("NotImplemented", 501):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with refused("NotImplemented", 501):
        s3.put_bucket_policy(Bucket=bucket, Policy="{}")
    with refused("NotImplemented", 501):
        s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
