"""Conditions of reads and writes, over the wire."""

import datetime as dt
import threading

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.parametrize("root", ["memory", "file"])

PAST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
FUTURE = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def etag(s3, bucket):
    return s3.put_object(Bucket=bucket, Key="key", Body=b"there")["ETag"]


def test_reads(s3, bucket, etag, refused):
    for ask in (s3.get_object, s3.head_object):
        where = {"Bucket": bucket, "Key": "key"}
        ask(**where, IfMatch=etag)
        ask(**where, IfNoneMatch='"other"')
        ask(**where, IfModifiedSince=PAST)
        ask(**where, IfUnmodifiedSince=FUTURE)
        ask(**where, IfMatch=etag, IfUnmodifiedSince=PAST)
        for condition in (
            {"IfNoneMatch": etag},
            {"IfNoneMatch": "*"},
            {"IfModifiedSince": FUTURE},
            {"IfNoneMatch": etag, "IfModifiedSince": PAST},
        ):
            with refused(304, 304):
                ask(**where, **condition)
        for condition in ({"IfMatch": '"other"'}, {"IfUnmodifiedSince": PAST}):
            with pytest.raises(ClientError) as caught:
                ask(**where, **condition)
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412


def test_not_modified_carries_the_etag_and_no_body(wire, s3, bucket, etag):
    answer = wire("GET", f"/{bucket}/key", If_None_Match=etag)
    assert (answer.status, answer.headers["etag"], answer.body) == (304, etag, b"")


def test_one_of_many_creators_wins(connect, s3, bucket):
    clients = [connect() for _ in range(8)]
    start = threading.Barrier(len(clients))
    outcomes = []

    def create(number, client):
        start.wait()
        try:
            client.put_object(Bucket=bucket, Key="only", Body=b"%d" % number, IfNoneMatch="*")
            outcomes.append(number)
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=create, args=pair) for pair in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [one for one in outcomes if isinstance(one, int)]
    losers = {one for one in outcomes if not isinstance(one, int)}
    assert len(winners) == 1
    assert losers <= {"PreconditionFailed", "ConditionalRequestConflict"}
    assert s3.get_object(Bucket=bucket, Key="only")["Body"].read() == b"%d" % winners[0]


def test_compare_and_swap(s3, bucket, etag, refused):
    second = s3.put_object(Bucket=bucket, Key="key", Body=b"second", IfMatch=etag)["ETag"]
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="key", Body=b"third", IfMatch=etag)
    with refused("NoSuchKey", 404):
        s3.put_object(Bucket=bucket, Key="none", Body=b"x", IfMatch=etag)
    assert s3.head_object(Bucket=bucket, Key="key")["ETag"] == second


def test_conditions_s3_does_not_know_on_writes(s3, bucket, etag, refused):
    with refused("NotImplemented", 501):
        s3.put_object(Bucket=bucket, Key="key", Body=b"x", IfNoneMatch=etag)
    with refused("NotImplemented", 501):
        s3.put_object(Bucket=bucket, Key="key", Body=b"x", IfMatch="*")


def test_deletes(s3, bucket, etag, refused):
    with refused("PreconditionFailed", 412):
        s3.delete_object(Bucket=bucket, Key="key", IfMatch='"other"')
    s3.delete_object(Bucket=bucket, Key="key", IfMatch=etag)
    with refused("NoSuchKey", 404):
        s3.delete_object(Bucket=bucket, Key="key", IfMatch="*")


def test_completions(s3, bucket, etag, refused):
    where = {"Bucket": bucket, "Key": "key"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    with refused("PreconditionFailed", 412):
        s3.complete_multipart_upload(
            **where, UploadId=upload, MultipartUpload=parts, IfNoneMatch="*"
        )
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts, IfMatch=etag)
    assert s3.get_object(**where)["Body"].read() == b"part"
