"""What a call makes of its request, and how errors are told and logged."""

import logging

import pytest

from forebay.errors import BucketNotEmpty, StorageError, Unavailable
from forebay.s3.address import Address
from forebay.s3.call import Call, error_document, explain
from forebay.s3.dialect import AWS
from forebay.s3.errors import S3Error
from forebay.types import Identity, WriteType


def make(query=None, headers=None, address=None, **more):
    values = {
        "forebay": None,
        "dialect": AWS,
        "address": address or Address("bucket", "", "key"),
        "method": "GET",
        "headers": headers or {},
        "query": query or {},
        "identity": Identity("alice"),
        "request_id": "ID",
        "resource": "/bucket/key",
        "url": "http://host/bucket/key",
        "raw": None,
        "content_length": None,
        "transfer_chunked": False,
        "pool": None,
    }
    return Call(**{**values, **more})


def test_the_bucket_is_shown_as_the_client_wrote_it():
    assert make(address=Address("a", "b/c/", "k")).shown_bucket == "a:b:c"
    assert make(address=Address("a", "b/c/", "k")).key == "b/c/k"
    assert make(address=Address("a", "", "k")).shown_bucket == "a"


def test_numbers_of_the_query():
    assert make({"n": "7"}).number("n", 3, most=10) == 7
    assert make({"n": "70"}).number("n", 3, most=10) == 10
    assert make({"n": ""}).number("n", 3, most=10) == 3
    assert make().number("n", 3, most=10) == 3
    for bad in ("-1", "x", "٣", "1.5", "12345678901", "0"):
        with pytest.raises(S3Error, match="InvalidArgument"):
            make({"n": bad}).number("n", 3, most=10, least=1)


def test_write_types_of_the_header():
    assert make().write_type() is None
    given = make(headers={"x-forebay-write-type": " through "})
    assert given.write_type() is WriteType.THROUGH
    with pytest.raises(S3Error, match="InvalidArgument"):
        make(headers={"x-forebay-delete-type": "THROUGH"}).delete_type()


def test_whether_there_is_a_body():
    assert not make().has_body
    assert not make(content_length=0).has_body
    assert make(content_length=1).has_body
    assert make(transfer_chunked=True).has_body


def test_an_error_document_escapes_what_it_tells():
    read = error_document(S3Error("NoSuchKey", Key="<&>"), "/b/<&>", "ID")
    assert b"<Key>&lt;&amp;&gt;</Key><Resource>/b/&lt;&amp;&gt;</Resource>" in read
    assert not error_document(S3Error("NoSuchKey"), "/", "ID", declaration=False).startswith(b"<?")


def test_the_log_is_told_what_the_client_is_not(caplog):
    with caplog.at_level(logging.DEBUG, "forebay.s3"):
        assert explain(BucketNotEmpty(), "R1").code == "BucketNotEmpty"
        assert caplog.text == ""
        error = explain(Unavailable("host db-7 is down"), "R2")
        assert (error.code, "db-7" in error.message) == ("ServiceUnavailable", False)
        assert explain(StorageError("disk /x"), "R3").status == 503
        assert explain(ZeroDivisionError("why"), "R4").code == "InternalError"
    for told in ("R2", "db-7", "disk /x", "R4", "ZeroDivisionError"):
        assert told in caplog.text
