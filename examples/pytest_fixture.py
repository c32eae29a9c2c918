"""An S3 server of its own for every test: copy the fixture into your conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import forebay


@pytest.fixture
def s3() -> Iterator[Any]:
    """Give a boto3 client of an empty server that is gone after the test."""
    with forebay.Gateway("memory://") as gateway:
        yield gateway.client()


def test_what_was_put_comes_back(s3: Any) -> None:
    """Use it."""
    s3.create_bucket(Bucket="fixtures")
    s3.put_object(Bucket="fixtures", Key="report.csv", Body=b"a,b\n1,2\n")
    assert s3.get_object(Bucket="fixtures", Key="report.csv")["Body"].read() == b"a,b\n1,2\n"
