"""What the kit of under stores is made of; `test_zoo` holds the kit against stores that lie."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import pytest

from forebay.testing import under_kit, under_model
from forebay.testing.under import ODD_KEYS, UnderStoreTests
from forebay.testing.under_copying import CopyingTests
from forebay.testing.under_life import LifeTests
from forebay.testing.under_listing import ListingTests
from forebay.testing.under_multipart import MultipartTests
from forebay.testing.under_reading import ReadingTests
from forebay.testing.under_writing import WritingTests
from forebay.types import CommonPrefix, ObjectInfo
from forebay_memory.under import MemoryUnderStore

TESTS = {name for name in dir(UnderStoreTests) if name.startswith("test_")}


def test_every_test_says_which_sentence_it_checks():
    for name in TESTS:
        assert inspect.getdoc(getattr(UnderStoreTests, name)), name


def test_the_kit_is_all_of_its_parts():
    parts = {CopyingTests, LifeTests, ListingTests, MultipartTests, ReadingTests, WritingTests}
    assert parts == set(UnderStoreTests.__bases__)


def test_odd_keys_are_within_the_limits_of_s3():
    for key in ODD_KEYS:
        assert 1 <= len(f"kit/{key}".encode()) <= 1024
        assert "\0" not in key


@pytest.mark.parametrize(
    ("prefix", "delimiter", "after", "expected"),
    [
        ("", "", "", ["a", "a/b", "a/c", "d"]),
        ("", "/", "", ["a", "a/", "d"]),
        ("", "/", "a/", ["d"]),
        ("", "/", "a/b", ["d"]),
        ("a/", "/", "", ["a/b", "a/c"]),
        ("a/", "", "a/b", ["a/c"]),
        ("x", "", "", []),
    ],
)
def test_naive_listing_is_what_the_contract_says(prefix, delimiter, after, expected):
    keys = ["d", "a/c", "a", "a/b"]
    assert under_kit.expected_names(keys, prefix, delimiter, after) == expected


def test_model_starts_from_an_empty_store():
    class Machine(under_model.UnderStoreMachine):
        store = MemoryUnderStore()
        held = ["a"]

    under_kit.put(Machine.store, "kit/left over", b"x")
    machine = Machine()
    assert under_kit.names(Machine.store.list()) == ["kit/"]
    machine.put(0, b"1", True)
    machine.look(0)
    machine.delete(0)
    machine.look(0)
    under_kit.put(Machine.store, "kit/a", b"behind the model")
    with pytest.raises(AssertionError):
        machine.look(0)


def test_names_are_those_of_keys_and_common_prefixes():
    info = ObjectInfo("a", 0, datetime.now(UTC), "-")
    assert under_kit.names([info, CommonPrefix("b/")]) == ["a", "b/"]
