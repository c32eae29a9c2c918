"""The kit of under stores is tested by stores that lie: each lie has a test that catches it."""

from __future__ import annotations

import importlib.util
import inspect
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forebay.errors import ForebayError
from forebay.testing import under_kit, under_model
from forebay.testing.under import ODD_KEYS, UnderStoreTests
from forebay.testing.under_listing import ListingTests
from forebay.testing.under_reading import ReadingTests
from forebay.testing.under_writing import WritingTests
from forebay.types import CommonPrefix, ObjectInfo
from forebay_memory.under import MemoryUnderStore, _Object

_spec = importlib.util.spec_from_file_location("liars", Path(__file__).with_name("liars.py"))
liars = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(liars)

KITS = (UnderStoreTests, ListingTests, ReadingTests, WritingTests)
TESTS = {name for kit in KITS for name in vars(kit) if name.startswith("test_")}
# What a kit test fails with when it catches a lie; any other error is a broken liar.
CAUGHT = (AssertionError, pytest.fail.Exception, ForebayError)


class Kit(UnderStoreTests):
    __test__ = False  # run by hand below

    def poke(self, under, key, content):
        info = ObjectInfo(key, len(content), datetime.now(UTC), f"poked-{len(content)}")
        under._objects[key] = _Object(info, content)
        under._keys[:] = sorted(under._objects)

    def peek(self, under, key):
        found = under._objects.get(key)
        return found and found.content

    def twin(self, under):
        return under.twin() if hasattr(under, "twin") else type(under)()


def run(store, liar):
    getattr(Kit(), liar.caught_by)(store, **getattr(liar, "arguments", {}))


@pytest.mark.parametrize("liar", liars.LIARS, ids=lambda liar: liar.__name__)
def test_liar_is_caught_by_the_test_named_after_its_lie(liar):
    with pytest.raises(CAUGHT):
        run(liar(), liar)


@pytest.mark.parametrize("liar", liars.LIARS, ids=lambda liar: liar.__name__)
def test_honest_store_passes_where_the_liar_is_caught(liar):
    run(MemoryUnderStore(), liar)


def test_every_test_of_the_kit_catches_a_liar():
    assert {liar.caught_by for liar in liars.LIARS} == TESTS


def test_every_test_says_which_sentence_it_checks():
    for name in TESTS:
        assert inspect.getdoc(getattr(UnderStoreTests, name)), name


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
    class Against(under_model.Against):
        store = MemoryUnderStore()
        held = ["a"]

    under_kit.put(Against.store, "kit/left over", b"x")
    machine = Against()
    assert under_kit.names(Against.store.list()) == ["kit/"]
    machine.put(0, b"1", True)
    machine.look(0)
    machine.delete(0)
    machine.look(0)
    under_kit.put(Against.store, "kit/a", b"behind the model")
    with pytest.raises(AssertionError):
        machine.look(0)


def test_names_are_those_of_keys_and_common_prefixes():
    info = ObjectInfo("a", 0, datetime.now(UTC), "-")
    assert under_kit.names([info, CommonPrefix("b/")]) == ["a", "b/"]
