"""Buckets, and sub-directories as buckets."""

import pytest

from forebay.config import ServerConfig
from forebay.properties import Properties

CONFIGURATION = "<CreateBucketConfiguration>{}</CreateBucketConfiguration>"


def test_create_head_delete(s3):
    answer = s3.ok("PUT", "/fresh")
    assert (answer.status, answer.headers["location"]) == (200, "/fresh")
    head = s3.ok("HEAD", "/fresh")
    assert head.headers["x-amz-bucket-region"] == "us-east-1"
    assert s3.ok("DELETE", "/fresh").status == 204
    assert s3("HEAD", "/fresh").status == 404
    assert s3("DELETE", "/fresh").code == "NoSuchBucket"


def test_only_an_empty_bucket_can_be_deleted(s3):
    s3.ok("PUT", "/bucket/key")
    answer = s3("DELETE", "/bucket")
    assert (answer.status, answer.code) == (409, "BucketNotEmpty")
    s3.ok("DELETE", "/bucket/key")
    s3.ok("POST", "/bucket/key?uploads")
    s3.ok("DELETE", "/bucket")


def test_creating_ones_own_bucket_again(make):
    s3 = make()
    s3.ok("PUT", "/bucket")
    s3.ok("PUT", "/bucket")
    elsewhere = make(server=ServerConfig(region="eu-west-1"))
    elsewhere.ok("PUT", "/bucket")
    answer = elsewhere("PUT", "/bucket")
    assert (answer.status, answer.code) == (409, "BucketAlreadyOwnedByYou")
    elsewhere.ok("PUT", "/api/v1/s3/bucket")
    taken = elsewhere.as_user("bob")("PUT", "/bucket")
    assert (taken.status, taken.code) == (409, "BucketAlreadyExists")


@pytest.mark.parametrize("name", ["ab", "Upper", "a_b", "192.168.0.1", "xn--a", "x" * 64, ".."])
def test_names_that_no_bucket_can_have(s3, name):
    answer = s3("PUT", f"/{name}")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")


def test_a_property_lifts_the_naming_rules(make):
    s3 = make(properties=Properties(bucket_naming_restrictions=False))
    s3.ok("PUT", "/A_b")
    assert s3("PUT", "/-").code == "InvalidBucketName"


def test_regions(make):
    s3 = make()
    s3.ok("PUT", "/bucket", CONFIGURATION.format("").encode())
    assert s3.ok("GET", "/bucket?location").root.text is None
    elsewhere = make(server=ServerConfig(region="eu-west-1"))
    asked = "<LocationConstraint>{}</LocationConstraint>"
    elsewhere.ok("PUT", "/one", CONFIGURATION.format(asked.format("eu-west-1")).encode())
    elsewhere.ok("PUT", "/two", CONFIGURATION.format(asked.format("EU")).encode())
    location = elsewhere.ok("GET", "/one?location")
    assert (location.root.tag, location.root.text) == ("LocationConstraint", "eu-west-1")
    assert elsewhere.ok("HEAD", "/one").headers["x-amz-bucket-region"] == "eu-west-1"
    answer = elsewhere("PUT", "/six", CONFIGURATION.format(asked.format("us-west-2")).encode())
    assert (answer.status, answer.code) == (400, "IllegalLocationConstraintException")
    assert elsewhere("HEAD", "/six").status == 404


def test_tags_at_creation_and_bodies_that_are_refused(s3):
    tags = "<Tags><Tag><Key>a</Key><Value>1</Value></Tag></Tags>"
    s3.ok("PUT", "/tagged", CONFIGURATION.format(tags).encode())
    assert s3.ok("GET", "/tagged?tagging").texts("TagSet/Tag/Key") == ["a"]
    assert s3("PUT", "/other", b"<x/>").code == "MalformedXML"
    directory = "<Bucket><Type>Directory</Type></Bucket>"
    assert s3("PUT", "/other", CONFIGURATION.format(directory).encode()).status == 501
    assert s3("PUT", "/other", x_amz_bucket_object_lock_enabled="true").status == 501
    assert s3("HEAD", "/other").status == 404


# --- sub-directories --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bucket:in", "bucket%3Ain"])
def test_a_sub_directory_as_bucket(s3, name):
    assert s3("HEAD", f"/{name}").status == 404
    answer = s3.ok("PUT", f"/{name}")
    assert answer.headers["location"] == "/bucket:in"
    assert s3.ok("HEAD", f"/{name}").headers["x-amz-bucket-region"] == "us-east-1"
    assert s3.ok("HEAD", "/bucket/in/").headers["content-length"] == "0"
    s3.ok("PUT", f"/{name}/key", b"inside")
    assert s3.ok("GET", "/bucket/in/key").body == b"inside"
    full = s3("DELETE", f"/{name}")
    assert (full.status, full.code) == (409, "BucketNotEmpty")
    s3.ok("DELETE", f"/{name}/key")
    assert s3.ok("DELETE", f"/{name}").status == 204
    assert s3("HEAD", f"/{name}").status == 404
    assert s3("DELETE", f"/{name}").code == "NoSuchBucket"


def test_a_sub_directory_that_only_holds_keys_exists(s3):
    s3.ok("PUT", "/bucket/a/b/key", b"x")
    assert s3.ok("HEAD", "/bucket:a:b").status == 200
    assert s3("HEAD", "/bucket:a:c").status == 404
    assert s3.ok("PUT", "/bucket:a").status == 200


def test_a_sub_directory_of_no_bucket(s3):
    for method in ("PUT", "HEAD", "GET", "DELETE"):
        assert s3(method, "/absent:a").status == 404
    assert s3("PUT", "/bucket:..").code == "InvalidBucketName"
    assert s3("PUT", "/bucket::a").code == "InvalidBucketName"
    assert s3.as_user("bob")("PUT", "/bucket:a").code == "AccessDenied"
