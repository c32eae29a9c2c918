"""Attributes as extended attributes, and the types of files that have none."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.testing.under_kit import ATTRIBUTES, put
from forebay.types import Attributes
from forebay_local import attributes
from forebay_local.under import LocalUnderStore

_NAME = "user.forebay.attributes"
_MARK = "user.forebay.directory"
_texts = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"")
    fd = os.open(path, os.O_RDWR)
    if not attributes.supported(fd):
        pytest.skip("the file system of the tests keeps no extended attributes")
    yield fd
    os.close(fd)


@pytest.fixture
def under(tmp_path):
    store = LocalUnderStore(str(tmp_path / "root"), durable=False)
    yield store
    store.close()


@given(_texts, _texts, _texts)
def test_attributes_come_back_whatever_text_they_are(tmp_path_factory, headers, metadata, tags):
    given_ones = Attributes(headers, metadata, tags)
    path = tmp_path_factory.mktemp("attributes") / "file"
    path.write_bytes(b"")
    fd = os.open(path, os.O_RDWR)
    try:
        attributes.write(fd, given_ones)
        assert attributes.read(fd, "x.txt") == given_ones
    finally:
        os.close(fd)


def test_what_is_too_big_is_left_out_and_the_object_stays(under):
    huge = Attributes(metadata={"k": "v" * 70_000})
    put(under, "b/x", b"bytes", attributes=huge)
    assert under.head("b/x").size == 5
    put(under, "b/folder/", b"", attributes=huge)
    assert under.head("b/folder/").attributes == Attributes()


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"null", b"1", b'{"headers":1}', b"{"])
def test_value_that_is_not_ours_counts_as_none(file, value):
    os.setxattr(file, _NAME, value)
    assert attributes.read(file, "x.txt") == Attributes(headers={"content-type": "text/plain"})
    os.setxattr(file, _MARK, value)
    assert attributes.read_mark(file) is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.txt", "text/plain"),
        ("b.d/a.HTML", "text/html"),
        ("a.json", "application/json"),
        ("a.png", "image/png"),
        ("a.tar.gz", None),
        ("a", None),
        ("a.unknown-type", None),
        ("dir.txt/a", None),
        ("", None),
    ],
)
def test_type_is_guessed_from_the_last_segment(key, expected):
    headers = {} if expected is None else {"content-type": expected}
    assert attributes.guess(key) == Attributes(headers=headers)


def test_object_without_a_type_gets_none_guessed(under):
    put(under, "b/x.txt", b"1")
    assert under.head("b/x.txt").attributes == Attributes()


def test_file_from_outside_has_its_type_guessed(under, tmp_path):
    (tmp_path / "root" / "x.txt").write_bytes(b"1")
    guessed = {"content-type": "text/plain"}
    assert under.head("x.txt").attributes == Attributes(headers=guessed)


def test_mark_says_implied_or_explicit(file):
    assert attributes.read_mark(file) is None
    attributes.mark_implied(file)
    assert attributes.read_mark(file) == attributes.Mark(implied=True)
    first = attributes.mark_explicit(file, ATTRIBUTES)
    assert attributes.read_mark(file) == first
    assert not first.implied
    assert first.attributes == ATTRIBUTES
    assert attributes.mark_explicit(file, ATTRIBUTES).token != first.token


def test_folder_marker_keeps_attributes_and_fingerprint_while_children_come_and_go(under):
    told = put(under, "b/folder/", b"", attributes=ATTRIBUTES)
    put(under, "b/folder/x", b"1")
    under.delete("b/folder/x")
    assert under.head("b/folder/") == told
    assert put(under, "b/folder/", b"", attributes=ATTRIBUTES).fingerprint != told.fingerprint


def test_who_tries_a_file_system_at_the_same_time_hears_the_same(file):
    """A worker that is told otherwise than the others would keep no attributes at all."""
    together, answers = threading.Barrier(8), []

    def one():
        together.wait()
        answers.extend(attributes.supported(file) for _ in range(300))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 2400
