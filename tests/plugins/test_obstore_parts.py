"""Uploads in parts through a gateway over S3: what the origin gets, when, and what it holds."""

from __future__ import annotations

import contextlib
import hashlib
import random
from typing import NamedTuple

import pytest
from botocore.exceptions import ClientError
from botocore.handlers import validate_bucket_name

import forebay
from forebay_obstore.wire import Wire

MIB = 1 << 20
PART = 5 * MIB


class Request(NamedTuple):
    """One request on its way to the origin."""

    method: str
    query: tuple[str, ...]
    size: int


@pytest.fixture(scope="module")
def near(origin, tmp_path_factory):
    """A client of a gateway whose cache has room for three parts."""
    place = tmp_path_factory.mktemp("near")
    config = place / "forebay.toml"
    options = f'options = {{ endpoint_url = "{origin.meta.endpoint_url}" }}\n'
    config.write_text(
        f'state = "{place}/state"\n'
        f'[mounts."/"]\nunder = "s3://far/root"\nwrite_type = "THROUGH"\n{options}'
        f'[mounts."/kept"]\nunder = "s3://far/kept"\nwrite_type = "CACHE_THROUGH"\n{options}'
        f'[[cache.tiers]]\nname = "SSD"\nkind = "disk"\npath = "{place}/pages"\n'
        'capacity = "30 MiB"\n'
    )
    with forebay.Gateway(str(config)) as gateway, contextlib.closing(gateway.client()) as client:
        client.create_bucket(Bucket="lake")
        yield client


@pytest.fixture
def asked(monkeypatch):
    """Every request that goes out to the origin."""
    sent, once = [], Wire._once

    def counted(self, method, key, query, headers, body):
        sent.append(Request(method, tuple(name for name, _ in query), len(body)))
        return once(self, method, key, query, headers, body)

    monkeypatch.setattr(Wire, "_once", counted)
    return sent


def upload(client, bucket, key, bodies, **more):
    """Upload `bodies` as parts; give what completes it."""
    where = {"Bucket": bucket, "Key": key}
    where["UploadId"] = client.create_multipart_upload(**where, **more)["UploadId"]
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(**where, PartNumber=n, Body=body)["ETag"]}
        for n, body in enumerate(bodies, 1)
    ]
    return where | {"MultipartUpload": {"Parts": parts}}


def bodies(seed, *sizes):
    return [random.Random(f"{seed} {n}").randbytes(size) for n, size in enumerate(sizes)]


def read(client, key, bucket="lake"):
    return client.get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("origin", ["forebay"], indirect=True)
def test_the_completion_of_64_mib_sends_no_byte_and_they_need_no_room(origin, near, asked):
    sent = bodies(64, *[8 * MIB] * 8)
    last = upload(near, "lake", "large", sent, Metadata={"a": "1"})
    assert [one.size for one in asked if one.method == "PUT"] == [8 * MIB] * 8
    asked.clear()
    made = near.complete_multipart_upload(**last)
    assert [(one.method, one.query) for one in asked] == [("POST", ("uploadId",))]
    told = made["ResponseMetadata"]["HTTPHeaders"]
    assert told["x-forebay-write-type"] == "THROUGH"
    assert told["x-forebay-durability"] == "under-store"
    direct = origin.complete_multipart_upload(**upload(origin, "far", "direct", sent))
    stored = origin.head_object(Bucket="far", Key="root/lake/large")
    head = near.head_object(Bucket="lake", Key="large")
    assert made["ETag"] == direct["ETag"] == stored["ETag"] == head["ETag"]
    assert stored["Metadata"] == head["Metadata"] == {"a": "1"}
    assert read(near, "large") == b"".join(sent)


def test_parts_are_the_object_here_and_at_the_origin(origin, near, asked):
    sent = bodies("few", PART, 9 * MIB, 3)
    last = upload(near, "lake", "dir/a b", sent, ContentType="text/x", Tagging="t=1")
    asked.clear()
    near.complete_multipart_upload(**last)
    assert not [one for one in asked if one.method == "PUT"]
    stored = origin.get_object(Bucket="far", Key="root/lake/dir/a b")
    assert stored["Body"].read() == read(near, "dir/a b") == b"".join(sent)
    assert stored["ContentType"] == near.head_object(Bucket="lake", Key="dir/a b")["ContentType"]
    assert near.get_object_tagging(Bucket="lake", Key="dir/a b")["TagSet"] == [
        {"Key": "t", "Value": "1"}
    ]
    assert "Uploads" not in origin.list_multipart_uploads(Bucket="far")


def test_an_upload_of_nothing_is_an_empty_object(near):
    made = near.complete_multipart_upload(**upload(near, "lake", "empty", [b""]))
    assert made["ETag"].endswith('-1"')
    assert read(near, "empty") == b""


def test_parts_that_the_cache_keeps_are_read_from_there(near, asked):
    sent = bodies("kept", PART, 3)
    near.complete_multipart_upload(**upload(near, "kept", "k", sent))
    asked.clear()
    assert read(near, "k", "kept") == b"".join(sent)
    assert asked == []


def test_copied_parts_and_checksums_are_as_ever(origin, near):
    sent = bodies("source", 6 * MIB)
    near.put_object(Bucket="lake", Key="source", Body=sent[0])
    where = {"Bucket": "lake", "Key": "copied"}
    begun = near.create_multipart_upload(**where, ChecksumAlgorithm="CRC32")
    where["UploadId"] = begun["UploadId"]
    source = {"Bucket": "lake", "Key": "source"}
    one = near.upload_part_copy(**where, PartNumber=1, CopySource=source)["CopyPartResult"]
    two = near.upload_part(**where, PartNumber=7, Body=b"end", ChecksumAlgorithm="CRC32")
    listed = near.list_parts(**where)["Parts"]
    assert [(part["PartNumber"], part["Size"]) for part in listed] == [(1, 6 * MIB), (7, 3)]
    parts = [
        {"PartNumber": n, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}
        for n, part in ((1, one), (7, two))
    ]
    made = near.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert made["ChecksumCRC32"].endswith("-2")
    assert made["ChecksumType"] == "COMPOSITE"
    assert read(near, "copied") == sent[0] + b"end"
    stored = origin.head_object(Bucket="far", Key="root/lake/copied")
    assert stored["ETag"] == made["ETag"]


def test_an_upload_to_a_directory_as_bucket_is_one_at_the_origin(origin, near, asked):
    near.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
    near.put_object(Bucket="lake", Key="sub/", Body=b"")
    asked.clear()
    sent = bodies("sub", PART, 3)
    near.complete_multipart_upload(**upload(near, "lake:sub", "k", sent))
    assert [one.size for one in asked if one.method == "PUT"] == [PART, 3]
    assert read(near, "sub/k") == b"".join(sent)
    assert origin.head_object(Bucket="far", Key="root/lake/sub/k")["ContentLength"] == PART + 3


def test_an_aborted_upload_is_aborted_at_the_origin(origin, near):
    last = upload(near, "lake", "aborted", bodies("aborted", PART))
    assert len(origin.list_multipart_uploads(Bucket="far")["Uploads"]) == 1
    del last["MultipartUpload"]
    near.abort_multipart_upload(**last)
    assert "Uploads" not in origin.list_multipart_uploads(Bucket="far")


@pytest.mark.parametrize("origin", ["forebay"], indirect=True)  # moto answers 500
def test_an_origin_that_forgot_an_upload_is_told_of_with_the_part_to_send_again(origin, near):
    last = upload(near, "lake", "lost", bodies("lost", PART, 3))
    found = origin.list_multipart_uploads(Bucket="far")["Uploads"][0]
    origin.abort_multipart_upload(Bucket="far", Key=found["Key"], UploadId=found["UploadId"])
    with pytest.raises(ClientError) as refused:
        near.complete_multipart_upload(**last)
    error = refused.value.response["Error"]
    assert (error["Code"], error["PartNumber"]) == ("InvalidPart", "1")
    for number, body in enumerate(bodies("lost", PART, 3), 1):
        near.upload_part(
            Bucket="lake", Key="lost", UploadId=last["UploadId"], PartNumber=number, Body=body
        )
    near.complete_multipart_upload(**last)
    whole = b"".join(bodies("lost", PART, 3))
    assert hashlib.md5(read(near, "lost")).digest() == hashlib.md5(whole).digest()
