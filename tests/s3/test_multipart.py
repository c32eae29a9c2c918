"""Multipart uploads, over the wire."""

import base64
import concurrent.futures
import hashlib
import os
import threading

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.parametrize("root", ["memory", "file"])

PART = os.urandom(5 << 20)
LAST = os.urandom(12345)


@pytest.fixture
def where(bucket):
    return {"Bucket": bucket, "Key": "dir/key"}


@pytest.fixture
def upload(s3, where):
    return {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}


def put(s3, upload, number, body, **more):
    etag = s3.upload_part(**upload, PartNumber=number, Body=body, **more)["ETag"]
    return {"PartNumber": number, "ETag": etag}


def complete(s3, upload, *parts, **more):
    return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": list(parts)}, **more)


def read(s3, where, **more):
    return s3.get_object(**where, **more)["Body"].read()


@pytest.mark.parametrize("write_type", ["CACHE_THROUGH", "MUST_CACHE", "ASYNC_THROUGH", "THROUGH"])
def test_parts_in_any_order_and_at_once(s3, where, write_type):
    def ask(request, **_):
        request.headers["x-forebay-write-type"] = write_type

    s3.meta.events.register("before-sign.s3.CreateMultipartUpload", ask)
    upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    bodies = {3: LAST, 1: PART, 2: PART[::-1]}
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda pair: put(s3, upload, *pair), bodies.items()))
    parts = sorted(made, key=lambda part: part["PartNumber"])
    done = complete(s3, upload, *parts)
    digests = b"".join(hashlib.md5(bodies[number]).digest() for number in (1, 2, 3))
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    assert read(s3, where) == bodies[1] + bodies[2] + bodies[3]
    assert read(s3, where, PartNumber=3) == LAST
    assert s3.head_object(**where, PartNumber=1)["PartsCount"] == 3
    over = f"bytes={len(PART) - 5}-{len(PART) + 4}"
    assert read(s3, where, Range=over) == PART[-5:] + PART[::-1][:5]


def test_nothing_shows_before_completion(s3, where, bucket, upload):
    s3.put_object(**where, Body=b"old")
    part = put(s3, upload, 1, LAST)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert read(s3, where) == b"old"
    complete(s3, upload, part)
    assert read(s3, where) == LAST


def test_a_part_can_be_replaced_and_only_listed_parts_count(s3, where, upload):
    put(s3, upload, 1, b"first try")
    second = put(s3, upload, 1, LAST)
    put(s3, upload, 2, b"not listed")
    complete(s3, upload, second)
    assert read(s3, where) == LAST


def test_a_completion_sent_again(s3, upload):
    part = put(s3, upload, 1, LAST)
    assert complete(s3, upload, part)["ETag"] == complete(s3, upload, part)["ETag"]


def test_completions_that_cannot_be(s3, upload, refused):
    one, two = put(s3, upload, 1, LAST), put(s3, upload, 2, LAST)
    for code, parts in (
        ("InvalidPartOrder", [two, one]),
        ("InvalidPart", [{"PartNumber": 1, "ETag": '"x"'}]),
        ("InvalidPart", [one, {"PartNumber": 3, "ETag": one["ETag"]}]),
        ("EntityTooSmall", [one, two]),
        ("MalformedXML", []),
    ):
        with refused(code, 400):
            complete(s3, upload, *parts)
    complete(s3, upload, one)


def test_an_aborted_upload_is_gone(s3, where, upload, refused):
    part = put(s3, upload, 1, LAST)
    s3.abort_multipart_upload(**upload)
    for ask in (
        lambda: put(s3, upload, 1, LAST),
        lambda: complete(s3, upload, part),
        lambda: s3.list_parts(**upload),
        lambda: s3.abort_multipart_upload(**upload),
    ):
        with refused("NoSuchUpload", 404):
            ask()
    with refused(404, 404):
        s3.head_object(**where)


def test_complete_abort_and_upload_at_once(connect, s3, where, upload):
    part = put(s3, upload, 1, LAST)
    start = threading.Barrier(3)
    outcomes = {}

    def run(name, work):
        client = connect()
        start.wait()
        try:
            work(client)
            outcomes[name] = 200
        except ClientError as error:
            outcomes[name] = error.response["ResponseMetadata"]["HTTPStatusCode"]

    threads = [
        threading.Thread(target=run, args=pair)
        for pair in (
            ("complete", lambda client: complete(client, upload, part)),
            ("abort", lambda client: client.abort_multipart_upload(**upload)),
            ("part", lambda client: put(client, upload, 1, LAST)),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes["part"] in (200, 404)
    assert {outcomes["complete"], outcomes["abort"]} == {200, 404}, "one of the two wins"
    if outcomes["complete"] == 200:
        assert read(s3, where) == LAST


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_composite_checksums(s3, where, algorithm):
    begun = s3.create_multipart_upload(**where, ChecksumAlgorithm=algorithm)
    assert begun["ChecksumType"] == "COMPOSITE"
    upload = {**where, "UploadId": begun["UploadId"]}
    name = f"Checksum{algorithm}"
    parts = []
    for number, body in ((1, PART), (2, LAST)):
        made = s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
        parts.append({"PartNumber": number, "ETag": made["ETag"], name: made[name]})
    done = complete(s3, upload, *parts)
    assert done[name].endswith("-2")
    assert s3.head_object(**where, ChecksumMode="ENABLED")[name] == done[name]
    assert read(s3, where, ChecksumMode="ENABLED") == PART + LAST
    told = s3.get_object_attributes(**where, ObjectAttributes=["ObjectParts", "Checksum"])
    assert told["Checksum"][name] == done[name]
    assert [part["Size"] for part in told["ObjectParts"]["Parts"]] == [len(PART), len(LAST)]
    assert [part[name] for part in told["ObjectParts"]["Parts"]] == [p[name] for p in parts]


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_checksums_of_the_full_object(s3, where, bucket, algorithm):
    name = f"Checksum{algorithm}"
    whole = s3.put_object(
        Bucket=bucket, Key="whole", Body=PART + LAST, ChecksumAlgorithm=algorithm
    )[name]
    begun = s3.create_multipart_upload(
        **where, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT"
    )
    upload = {**where, "UploadId": begun["UploadId"]}
    parts = [
        put(s3, upload, number, body, ChecksumAlgorithm=algorithm)
        for number, body in ((1, PART), (2, LAST))
    ]
    done = complete(s3, upload, *parts, ChecksumType="FULL_OBJECT", **{name: whole})
    assert (done[name], done["ChecksumType"]) == (whole, "FULL_OBJECT")


def test_a_bad_part_is_not_kept(wire, upload, s3):
    target = f"/{upload['Bucket']}/dir/key?partNumber=1&uploadId={upload['UploadId']}"
    wrong = base64.b64encode(bytes(16)).decode()
    answer = wire("PUT", target, b"x", **{"Content-MD5": wrong})
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert "Parts" not in s3.list_parts(**upload)


def test_copied_parts(s3, where, bucket, upload):
    s3.put_object(Bucket=bucket, Key="source", Body=PART + LAST)
    source = {"CopySource": {"Bucket": bucket, "Key": "source"}}
    parts = []
    for number, asked in ((1, f"bytes=0-{len(PART) - 1}"), (2, "bytes=10-19")):
        made = s3.upload_part_copy(**upload, **source, PartNumber=number, CopySourceRange=asked)
        parts.append({"PartNumber": number, "ETag": made["CopyPartResult"]["ETag"]})
    complete(s3, upload, *parts)
    assert read(s3, where) == PART + PART[10:20]


def test_listings_of_parts_and_uploads(s3, where, bucket, upload, user):
    for number in (1, 2, 9, 10):
        put(s3, upload, number, b"%d" % number)
    pages = s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 3})
    found = [[part["PartNumber"] for part in page["Parts"]] for page in pages]
    assert found == [[1, 2, 9], [10]]
    second = s3.create_multipart_upload(**where)["UploadId"]
    other = s3.create_multipart_upload(Bucket=bucket, Key="z")["UploadId"]
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 1}
    )
    uploads = [one for page in pages for one in page["Uploads"]]
    assert sorted(one["UploadId"] for one in uploads) == sorted([upload["UploadId"], second, other])
    assert [one["Key"] for one in uploads] == ["dir/key", "dir/key", "z"]
    assert uploads[0]["Initiator"]["ID"] == user
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [one["Prefix"] for one in rolled["CommonPrefixes"]] == ["dir/"]


def test_an_upload_keeps_what_it_was_begun_with(s3, where):
    begun = s3.create_multipart_upload(
        **where, ContentType="text/x", Metadata={"a": "1"}, Tagging="t=1"
    )
    upload = {**where, "UploadId": begun["UploadId"]}
    complete(s3, upload, put(s3, upload, 1, LAST))
    head = s3.head_object(**where)
    assert (head["ContentType"], head["Metadata"]) == ("text/x", {"a": "1"})
    assert s3.get_object_tagging(**where)["TagSet"] == [{"Key": "t", "Value": "1"}]
