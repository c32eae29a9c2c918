"""Header fields that servers like to lose."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("name", ["my_key", "a_b-c_d", "plain", "_"])
def test_metadata_names_keep_their_underscores(s3, bucket, name):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={name: "value", "other": "2"})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {name: "value", "other": "2"}


def test_length_and_chunks_at_once_are_refused_and_the_connection_closed(gateway, bucket):
    request = (
        f"PUT /{bucket}/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as connection:
        connection.sendall(request.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert [line.split()[1] for line in answer.split(b"\r\n") if b"HTTP/1" in line] == [b"400"]


def test_only_an_answer_with_content_tells_its_type(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/plain")
    gone = s3.delete_object(Bucket=bucket, Key="k")
    listed = s3.list_objects_v2(Bucket=bucket)
    types = [a["ResponseMetadata"]["HTTPHeaders"].get("content-type") for a in (put, gone, listed)]
    assert types == [None, None, "application/xml"]
