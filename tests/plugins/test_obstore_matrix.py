"""The write types and delete types over a bucket of another server."""

import contextlib
import itertools

import boto3
import pytest

import forebay
from forebay.testing.matrix import WriteTypeTests

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def far():
    with (
        forebay.Gateway("memory://") as server,
        contextlib.closing(
            boto3.client(
                "s3",
                endpoint_url=server.url,
                aws_access_key_id="tester",
                aws_secret_access_key="any",
            )
        ) as client,
    ):
        yield client


class TestS3(WriteTypeTests):
    @pytest.fixture
    def mount_uri(self, far):
        self.client, self.bucket = far, f"lake-{next(_numbers)}"
        far.create_bucket(Bucket=self.bucket)
        return f"s3://{self.bucket}/deep/er"

    @pytest.fixture
    def mount_options(self, far):
        return {
            "endpoint_url": far.meta.endpoint_url,
            "access_key_id": "tester",
            "secret_access_key": "b",
        }

    def peek(self, opened, key):
        assert "Uploads" not in self.client.list_multipart_uploads(Bucket=self.bucket)
        try:
            found = self.client.get_object(Bucket=self.bucket, Key=f"deep/er/{key}")
        except self.client.exceptions.NoSuchKey:
            return None
        return found["Body"].read()

    def poke(self, opened, key, content):
        self.client.put_object(Bucket=self.bucket, Key=f"deep/er/{key}", Body=content)

    def remove(self, opened, key):
        self.client.delete_object(Bucket=self.bucket, Key=f"deep/er/{key}")
