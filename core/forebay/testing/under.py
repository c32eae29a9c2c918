"""The conformance kit of under stores: one test for each sentence of the contract.

A store's test module has a class that inherits `UnderStoreTests`, gives the fixture `under`
and the two ways around the store, `poke` and `peek`; `opening`, `poke_directory`, `steps` and
`sever` let the kit check more. The store must be empty; but for keys that try to get out,
everything the kit puts lies below ``kit/``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from forebay.errors import InvalidKey
from forebay.stores.under import UnderStore
from forebay.testing.under_copying import CopyingTests
from forebay.testing.under_kit import exists, left, names, put, read
from forebay.testing.under_life import LifeTests
from forebay.testing.under_listing import ListingTests
from forebay.testing.under_model import UnderStoreMachine
from forebay.testing.under_multipart import MultipartTests
from forebay.testing.under_reading import ReadingTests
from forebay.testing.under_writing import WritingTests

ODD_KEYS = [
    "../x",
    "a/../../x",
    "..",
    ".",
    "./.",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%2f",
    "%252e%252e/",
    "..\\x",
    "/etc/passwd",
    "/",
    "//",
    "///x",
    "a//b",
    "a/./b",
    "a/b/",
    "trailing. ",
    " ",
    "\t\r\n",
    "\x01\x1f\x7f",
    "*?<>|:\"'`$&;",
    "-rf",
    "~",
    "CON",
    ".forebay",
    ".forebay/staging/x",
    ".forebay~f~x",
    ".forebay~d~/x",
    ".FOREBAY~f~",
    "é",
    "e\u0301",
    "\u202egnp.exe",
    "\ufeff",
    "\uffff",
    "\U0001f30a/\U0010ffff",
    "s" * 255,
    "s" * 256,
    "ü" * 128,
    "s" * 1000,
    "s" * 500 + "/" + "t" * 500,
    "d/" * 500 + "x",
    "/" * 500,
]
"""Keys, below ``kit/``, that S3 allows and that some storage takes amiss."""

_CLASHING = ["a", "a/", "a/b", "a//", "b/c/d", "b/c/e", "b/c", "a.b"]
_PLAIN = ["a.txt", "b/c", "b/d", "b/e/f", "b/e/g", "b.txt", "c/d/e/f", "d"]


class UnderStoreTests(
    ReadingTests, WritingTests, ListingTests, CopyingTests, MultipartTests, LifeTests
):
    """What every under store promises; inherit, and override the fixture and the two ways."""

    @pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: ascii(key)[1:41])
    def test_odd_key_is_held_literally_or_refused(self, under: UnderStore, key: str) -> None:
        """Check the capability `any_key`: its claim, or that a refusal is InvalidKey."""
        content = b"" if key.endswith("/") else b"odd"
        put(under, "kit/witness", b"w")
        for odd in (f"kit/{key}", key):
            try:
                given = put(under, odd, content)
            except InvalidKey:
                assert not under.capabilities.any_key, "an any_key store refused a key"
                continue
            assert under.head(odd).fingerprint == given.fingerprint
            assert read(under, odd) == content
            assert odd in names(under.list(odd))
            assert odd in names(under.list(start_after=odd[:-1]))
            assert set(left(under)) - {odd} == {"kit/witness"}
            under.delete(odd)
            assert not exists(under, odd)
            assert left(under) == ["kit/witness"]
        assert read(under, "kit/witness") == b"w"

    def test_keys_that_begin_alike_do_not_meet(self, under: UnderStore) -> None:
        """Check the capability `any_key`: an object beside keys below it, in any order."""
        for order in (_CLASHING, _CLASHING[::-1]):
            keys = self.fill(under, order)
            for key in keys:
                assert read(under, key) == key.removeprefix("kit/").encode()
            assert names(under.list("kit/")) == sorted(keys)
            for key in keys:
                under.delete(key)
                assert not exists(under, key)
            assert left(under) == []

    def test_several_threads_may_call_at_once(self, under: UnderStore) -> None:
        """Check keys in one directory, and that a key's bytes are always of one put."""

        def work(number: int) -> None:
            own, content = f"kit/dir/{number}", b"%d" % number * 1000
            for _ in range(5):
                put(under, own, content)
                put(under, "kit/dir/shared", content)
                assert read(under, own) == content
                shared = read(under, "kit/dir/shared")
                assert len(set(shared)) == 1, "bytes of two puts"
                assert own in names(under.list("kit/dir/"))
                under.delete(own)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(8)))
        assert names(under.list("kit/")) == ["kit/dir/shared"]

    def test_store_behaves_as_a_dictionary(self, under: UnderStore) -> None:
        """Check random sequences of all methods against a plain dictionary."""
        keys = _CLASHING if under.capabilities.any_key else _PLAIN

        class Machine(UnderStoreMachine):
            store = under
            held = keys

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=self.histories,
                stateful_step_count=20,
                deadline=None,
                derandomize=True,
                database=None,
                report_multiple_bugs=False,
                phases=[Phase.generate, Phase.shrink],
            ),
        )
