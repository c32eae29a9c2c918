"""CopyObject through a gateway over S3: what the origin is asked for, and what it holds then."""

from __future__ import annotations

import contextlib
import hashlib
import random
from typing import NamedTuple

import pytest
from botocore.exceptions import ClientError

import forebay
from forebay.errors import NotSupported
from forebay.objects import copies
from forebay_obstore.s3 import S3Requests
from forebay_obstore.wire import Wire

MIB = 1 << 20


class Request(NamedTuple):
    """One request on its way to the origin."""

    method: str
    key: str
    query: dict[str, str]
    by_store: bool
    size: int


@pytest.fixture(scope="module")
def near(origin, tmp_path_factory):
    place = tmp_path_factory.mktemp("near")
    config = place / "forebay.toml"
    config.write_text(
        f'state = "{place}/state"\n[mounts."/"]\nunder = "s3://far/root"\n'
        f'options = {{ endpoint_url = "{origin.meta.endpoint_url}" }}\n'
    )
    with forebay.Gateway(str(config)) as gateway, contextlib.closing(gateway.client()) as client:
        client.create_bucket(Bucket="lake")
        yield client


@pytest.fixture
def asked(monkeypatch):
    """Every request that goes out to the origin."""
    sent, once = [], Wire._once

    def counted(self, method, key, query, headers, body):
        by_store = "x-amz-copy-source" in headers
        sent.append(Request(method, key, dict(query), by_store, len(body)))
        return once(self, method, key, query, headers, body)

    monkeypatch.setattr(Wire, "_once", counted)
    return sent


def read(near, key):
    return near.get_object(Bucket="lake", Key=key)["Body"].read()


@pytest.mark.parametrize("origin", ["forebay"], indirect=True)
def test_a_copy_of_64_mib_moves_no_byte(origin, near, asked):
    body = random.Random(64).randbytes(64 * MIB)
    near.put_object(
        Bucket="lake", Key="source", Body=body, ContentType="text/x", Metadata={"a": "1"},
        Tagging="t=1",
    )  # fmt: skip
    asked.clear()
    made = near.copy_object(
        Bucket="lake", Key="dir/tar get", CopySource={"Bucket": "lake", "Key": "source"}
    )
    assert [(one.method, one.key, one.by_store, one.size) for one in asked] == [
        ("HEAD", "root/lake/source", False, 0),
        ("PUT", "root/lake/dir/tar get", True, 0),
    ]
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    assert made["CopyObjectResult"]["ETag"] == etag
    told = made["ResponseMetadata"]["HTTPHeaders"]
    assert told["x-forebay-write-type"] == "CACHE_THROUGH"
    assert told["x-forebay-durability"] == "under-store"
    head = near.head_object(Bucket="lake", Key="dir/tar get")
    assert (head["ETag"], head["ContentType"], head["Metadata"]) == (etag, "text/x", {"a": "1"})
    assert near.get_object_tagging(Bucket="lake", Key="dir/tar get")["TagSet"] == [
        {"Key": "t", "Value": "1"}
    ]
    stored = origin.head_object(Bucket="far", Key="root/lake/dir/tar get")
    assert (stored["ContentType"], stored["Metadata"]) == ("text/x", {"a": "1"})
    assert read(near, "dir/tar get") == body


def test_a_copy_onto_itself_changes_metadata_at_the_origin(origin, near, asked):
    body = random.Random(2).randbytes(2 * MIB)
    where = {"Bucket": "lake", "Key": "same"}
    near.put_object(**where, Body=body, Metadata={"a": "1"})
    asked.clear()
    near.copy_object(**where, CopySource=where, MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert [one.size for one in asked if one.method == "PUT"] == [0]
    assert near.head_object(**where)["Metadata"] == {"b": "2"}
    assert origin.head_object(Bucket="far", Key="root/lake/same")["Metadata"] == {"b": "2"}
    assert read(near, "same") == body


def test_a_version_that_others_made_is_copied_and_no_other(origin, near, asked):
    where = {"Bucket": "lake", "Key": "shared"}
    near.put_object(**where, Body=random.Random(3).randbytes(2 * MIB))
    old = near.head_object(**where)["ETag"]
    body = random.Random(4).randbytes(2 * MIB)
    origin.put_object(Bucket="far", Key="root/lake/shared", Body=body)
    with pytest.raises(ClientError) as refused:
        near.copy_object(Bucket="lake", Key="t", CopySource=where, CopySourceIfMatch=old)
    assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
    made = near.copy_object(Bucket="lake", Key="t", CopySource=where)
    assert made["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert not any(one.method == "GET" and "tagging" not in one.query for one in asked)
    assert read(near, "t") == body


def test_an_origin_that_copies_nothing_gets_the_bytes(near, asked, monkeypatch):
    def refuse(*_):
        raise NotSupported("501")

    monkeypatch.setattr(S3Requests, "copy", refuse)
    body = random.Random(5).randbytes(2 * MIB)
    near.put_object(Bucket="lake", Key="plain", Body=body)
    near.copy_object(Bucket="lake", Key="moved", CopySource={"Bucket": "lake", "Key": "plain"})
    assert asked[-1].size == len(body)
    assert read(near, "moved") == body


def test_few_bytes_are_moved_and_stay_near(near, asked):
    body = bytes(copies.AT_STORE - 1)
    near.put_object(Bucket="lake", Key="few", Body=body)
    asked.clear()
    near.copy_object(Bucket="lake", Key="as few", CopySource={"Bucket": "lake", "Key": "few"})
    assert [(one.method, one.by_store) for one in asked] == [("PUT", False)]
    assert read(near, "as few") == body
    assert len(asked) == 1, "it was read from the cache"
