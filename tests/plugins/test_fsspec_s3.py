"""Stores of flat keys through fsspec's public methods: S3 by s3fs, where that is installed.

It pins botocore to a version of its own, so the packages of the tests do not have it.
"""

import itertools

import boto3
import pytest

from forebay.testing.under import UnderStoreTests
from forebay_fsspec.opening import open_store

pytest.importorskip("s3fs", reason="s3fs is not installed")
moto_server = pytest.importorskip("moto.server")

_numbers = itertools.count(1)


@pytest.mark.slow
class TestS3(UnderStoreTests):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls):
        server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()

    @pytest.fixture
    def under(self, url):
        keys = {"aws_access_key_id": "tester", "aws_secret_access_key": "any"}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
        bucket = f"bucket-{next(_numbers)}"
        client.create_bucket(Bucket=bucket)
        uri = f"fsspec+s3://{bucket}/some/prefix"
        options = {"endpoint_url": url, "key": "tester", "secret": "any"}
        store = open_store(uri, options)
        store.client, store.bucket, store.opened_by = client, bucket, (uri, options)
        yield store
        store.close()
        client.close()

    def poke(self, under, key, content):
        under.client.put_object(Bucket=under.bucket, Key=f"some/prefix/{key}", Body=content)

    def peek(self, under, key):
        try:
            found = under.client.get_object(Bucket=under.bucket, Key=f"some/prefix/{key}")
        except under.client.exceptions.NoSuchKey:
            return None
        return found["Body"].read()

    def opening(self, under):
        return open_store, under.opened_by
