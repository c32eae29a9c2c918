"""GetObjectAttributes."""

import pytest

from forebay.s3.details import ASKED

ALL = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"


def ask(s3, *attributes, **headers):
    return s3("GET", "/bucket/key?attributes", **{ASKED: ",".join(attributes)}, **headers)


def test_a_plain_object(s3):
    s3.ok("PUT", "/bucket/key", b"", x_amz_checksum_crc32="AAAAAA==")
    answer = ask(s3, ALL)
    assert answer.root.tag == "GetObjectAttributesResponse"
    assert answer.text("ETag") == "d41d8cd98f00b204e9800998ecf8427e"
    assert answer.text("Checksum/ChecksumCRC32") == "AAAAAA=="
    assert answer.text("Checksum/ChecksumType") == "FULL_OBJECT"
    assert answer.text("StorageClass") == "STANDARD"
    assert answer.text("ObjectSize") == "0"
    assert answer.root.find("ObjectParts") is None
    assert answer.headers["last-modified"].endswith("GMT")


def test_only_what_is_asked_for_is_told(s3):
    s3.ok("PUT", "/bucket/key", b"abc")
    assert [child.tag for child in ask(s3, "ObjectSize").root] == ["ObjectSize"]


def test_parts_by_pages(s3):
    upload = s3.ok("POST", "/bucket/key?uploads").text("UploadId")
    rows = ""
    for number, size in ((1, 5 << 20), (2, 5 << 20), (4, 3)):
        etag = s3.ok(
            "PUT", f"/bucket/key?partNumber={number}&uploadId={upload}", bytes(size)
        ).headers["etag"]
        rows += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    s3.ok("POST", f"/bucket/key?uploadId={upload}", body)
    whole = ask(s3, "ObjectParts")
    assert whole.text("ObjectParts/PartsCount") == "3"
    assert whole.texts("ObjectParts/Part/PartNumber") == ["1", "2", "4"]
    assert whole.texts("ObjectParts/Part/Size") == [str(5 << 20), str(5 << 20), "3"]
    page = ask(s3, "ObjectParts", x_amz_max_parts="2")
    assert page.texts("ObjectParts/Part/PartNumber") == ["1", "2"]
    assert page.text("ObjectParts/IsTruncated") == "true"
    assert page.text("ObjectParts/NextPartNumberMarker") == "2"
    rest = ask(s3, "ObjectParts", x_amz_part_number_marker="2")
    assert rest.texts("ObjectParts/Part/PartNumber") == ["4"]
    assert rest.text("ObjectParts/IsTruncated") == "false"


@pytest.mark.parametrize("asked", ["", "Colour", "ETag,Colour"])
def test_attributes_that_are_not(s3, asked):
    s3.ok("PUT", "/bucket/key")
    answer = ask(s3, asked)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_bad_numbers_conditions_and_missing_keys(s3):
    assert ask(s3, "ETag").code == "NoSuchKey"
    s3.ok("PUT", "/bucket/key")
    assert ask(s3, "ETag", x_amz_max_parts="x").code == "InvalidArgument"
    assert ask(s3, "ETag", x_amz_part_number_marker="-1").code == "InvalidArgument"
    assert ask(s3, "ETag", If_Match='"x"').status == 412
