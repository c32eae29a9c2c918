"""Deletes, over the wire."""

import pytest

pytestmark = pytest.mark.parametrize("root", ["memory", "file"])


def keys(s3, bucket):
    return [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.fixture
def full(s3, bucket):
    for key in ("a", "b/c", "b/d", "e+ f"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    return bucket


def test_one(s3, full, refused):
    s3.delete_object(Bucket=full, Key="a")
    s3.delete_object(Bucket=full, Key="a")
    s3.delete_object(Bucket=full, Key="never there")
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=full, Key="a")
    assert keys(s3, full) == ["b/c", "b/d", "e+ f"]


def test_many(s3, full):
    objects = [{"Key": key} for key in ("a", "b/c", "none", "e+ f")]
    answer = s3.delete_objects(Bucket=full, Delete={"Objects": objects})
    assert [one["Key"] for one in answer["Deleted"]] == ["a", "b/c", "none", "e+ f"]
    assert "Errors" not in answer
    assert keys(s3, full) == ["b/d"]


def test_many_and_quietly(s3, full):
    objects = [{"Key": "a"}, {"Key": "b/c", "ETag": '"other"'}]
    answer = s3.delete_objects(Bucket=full, Delete={"Objects": objects, "Quiet": True})
    assert "Deleted" not in answer
    assert [(one["Key"], one["Code"]) for one in answer["Errors"]] == [
        ("b/c", "PreconditionFailed")
    ]
    assert keys(s3, full) == ["b/c", "b/d", "e+ f"]


def test_more_than_a_thousand(s3, full, refused):
    objects = [{"Key": f"k{number}"} for number in range(1001)]
    with refused("MalformedXML", 400):
        s3.delete_objects(Bucket=full, Delete={"Objects": objects})
    s3.delete_objects(Bucket=full, Delete={"Objects": objects[:1000]})


@pytest.mark.parametrize("many", [False, True])
def test_only_from_the_namespace(s3, full, many, gateway):
    def ask(request, **_):
        request.headers["x-forebay-delete-type"] = "ALLUXIO_ONLY"

    s3.meta.events.register("before-sign.s3", ask)
    if many:
        s3.delete_objects(Bucket=full, Delete={"Objects": [{"Key": "a"}]})
    else:
        s3.delete_object(Bucket=full, Key="a")
    assert keys(s3, full) == ["b/c", "b/d", "e+ f"]
    under = next(iter(gateway.forebay.mounts)).store
    assert under.head(f"{full}/a").size == 1, "the under store keeps it"


def test_the_last_of_a_folder_takes_the_folder_along(s3, alluxio, full):
    for key in ("b/c", "b/d"):
        s3.delete_object(Bucket=full, Key=key)
    assert [one["Key"] for one in alluxio.list_objects_v2(Bucket=full)["Contents"]] == ["a", "e+ f"]
