"""Reading as bytes arrive: what is handed over when, and what comes of answers that break."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from forebay.errors import NotFound, NotSupported, PreconditionFailed, SourceChanged, Unavailable
from forebay_obstore.carrier import Stream, told
from forebay_obstore.reader import ObstoreReader

INFO = told("key", 20, datetime.now(UTC), "etag", strong=True)
WHOLE = b"0123456789abcdefghij"


class Source:
    """Answers by a script: a number is bytes to send, an error is raised in their place."""

    def __init__(self, *script):
        self.script, self.asked, self.given, self.open = list(script), [], 0, 0

    def __call__(self, start):
        self.asked.append(start)
        if self.script and isinstance(self.script[0], list):
            raise self.script.pop(0)[0]
        self.open += 1
        return Stream(INFO, self._blocks(start), self._close)

    def _close(self):
        self.open -= 1

    def _blocks(self, at):
        while self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            if step is None:
                return
            self.given += 1
            yield WHOLE[at : at + step]
            at += step


class Filling(Source):
    """The same, into memory; a number is the bytes that come before the next step."""

    def __call__(self, start):
        self.at = start
        return replace(super().__call__(start), into=self._into)

    def _into(self, room):
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        came = WHOLE[self.at : self.at + min(step or 0, len(room))]
        if step and step > len(came):
            self.script.insert(0, step - len(came))
        room[: len(came)] = came
        self.at += len(came)
        return len(came)


def read(reader):
    return b"".join(iter(lambda: reader.read(100), b""))


def fill(reader, size):
    """Read to the end into rooms of `size` bytes; give the bytes and what came at a time."""
    found = []
    while True:
        room = bytearray(size)
        count = reader.read_into(memoryview(room))
        if not count:
            return b"".join(found), [len(one) for one in found]
        found.append(bytes(room[:count]))


def test_bytes_are_handed_over_as_they_arrive():
    source = Source(3, 5, 12)
    reader = ObstoreReader(source, 0, 20)
    assert reader.info == INFO
    assert source.given == 0, "opening waits for no byte"
    assert reader.read(100) == b"012"
    assert source.given == 1
    assert [reader.read(2), reader.read(100)] == [b"34", b"567"]
    assert read(reader) == WHOLE[8:]
    assert (source.asked, source.open) == ([0], 0)


def test_no_more_is_given_than_was_asked_for():
    source = Source(20, 20)
    reader = ObstoreReader(source, 2, 9)
    assert read(reader) == WHOLE[2:9]
    assert reader.read(1) == b""


def test_nothing_is_asked_for_where_there_is_nothing_to_read():
    source = Source()
    assert ObstoreReader(source, 7, 7, INFO).read(10) == b""
    assert source.asked == []


@pytest.mark.parametrize("broken", [Unavailable("cut"), None], ids=["cut", "short"])
def test_connection_that_breaks_is_opened_again_where_it_broke(broken):
    source = Source(3, broken, 4, 4, broken, 20)
    reader = ObstoreReader(source, 0, 20)
    assert read(reader) == WHOLE
    assert source.asked == [0, 3, 11]
    assert source.open == 0


@pytest.mark.parametrize("broken", [Unavailable("cut"), None], ids=["cut", "short"])
def test_connection_that_brings_nothing_is_not_opened_again(broken):
    source = Source(broken)
    with pytest.raises(Unavailable):
        ObstoreReader(source, 0, 20).read(1)
    assert source.asked == [0]
    source = Source(3, broken, broken)
    reader = ObstoreReader(source, 0, 20)
    assert reader.read(9) == b"012"
    with pytest.raises(Unavailable):
        reader.read(1)
    assert (source.asked, source.open) == ([0, 3], 0)


@pytest.mark.parametrize("error", [NotFound("gone"), PreconditionFailed("other")])
def test_version_that_goes_midway_is_source_changed(error):
    source = Source(3, Unavailable("cut"), [error])
    reader = ObstoreReader(source, 0, 20)
    assert reader.read(9) == b"012"
    with pytest.raises(SourceChanged) as caught:
        reader.read(1)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [NotFound("gone"), PreconditionFailed("-"), Unavailable("-")])
def test_error_of_the_first_request_is_the_openers(error):
    with pytest.raises(type(error)) as caught:
        ObstoreReader(Source([error]), 0, 20)
    assert caught.value is error


def test_closing_lets_go_of_the_connection():
    source = Source(3)
    reader = ObstoreReader(source, 0, 20)
    reader.read(1)
    reader.close()
    reader.close()
    assert source.open == 0


def test_reader_has_no_file():
    with pytest.raises(NotSupported):
        ObstoreReader(Source(), 0, 0, INFO).fileno()


@pytest.mark.parametrize("kind", [Source, Filling])
def test_bytes_go_into_memory_where_they_are_wanted(kind):
    source = kind(20)
    assert fill(ObstoreReader(source, 3, 12), 4) == (WHOLE[3:12], [4, 4, 1])
    assert (source.asked, source.open) == ([3], 0)


@pytest.mark.parametrize("kind", [Source, Filling])
@pytest.mark.parametrize("broken", [Unavailable("cut"), None], ids=["cut", "short"])
def test_what_goes_into_memory_is_asked_for_again_where_it_broke(kind, broken):
    source = kind(3, broken, 4, broken, 20)
    assert fill(ObstoreReader(source, 0, 20), 9)[0] == WHOLE
    assert (source.asked, source.open) == ([0, 3, 7], 0)


def test_a_reader_may_be_read_and_made_to_fill_by_turns():
    reader = ObstoreReader(Source(8, 12), 0, 20)
    assert reader.read(2) == b"01"
    room = bytearray(4)
    assert (reader.read_into(memoryview(room)), bytes(room)) == (4, b"2345")
    assert fill(reader, 100)[0] == WHOLE[6:]
