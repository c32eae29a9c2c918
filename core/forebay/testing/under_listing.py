"""What under stores promise of `list`."""

from __future__ import annotations

import pytest

from forebay.stores.under import UnderStore
from forebay.testing.under_kit import UnderStoreKit, expected_names, names, put, read
from forebay.types import CommonPrefix, ObjectInfo


class ListingTests(UnderStoreKit):
    """The contract's sentences on listing objects."""

    def test_list_is_strictly_increasing_by_utf8_bytes(self, under: UnderStore) -> None:
        """Check keys whose order differs by characters, directories and UTF-16."""
        keys = self.fill(
            under,
            [
                "b/z",
                "b.txt",
                "b!",
                "b0",
                "b-/x",
                "B",
                "\u00e9",
                "\uffee",
                "\U0001f30a",
                "b//z",
                "c",
            ],
        )
        listed = names(under.list("kit/"))
        assert listed == sorted(keys, key=str.encode)

    def test_list_tells_what_head_tells(self, under: UnderStore) -> None:
        """Check that a listing and `head` agree on every object."""
        for key in self.fill(under, ["a", "b/c", "b/d/e"]):
            (entry,) = (e for e in under.list("kit/") if isinstance(e, ObjectInfo) and e.key == key)
            told = under.head(key)
            assert (entry.size, entry.fingerprint) == (told.size, told.fingerprint)
            assert (entry.etag, entry.last_modified) == (told.etag, told.last_modified)

    def test_list_gives_every_object_once(self, under: UnderStore) -> None:
        """Check a few hundred keys over many directories."""
        keys = self.fill(under, [f"{n % 7}/{n % 3}/{n}" for n in range(300)])
        assert names(under.list("kit/")) == sorted(keys)
        assert names(under.list("kit/3/")) == sorted(k for k in keys if k.startswith("kit/3/"))

    def test_list_is_an_iterator(self, under: UnderStore) -> None:
        """Check that it can be left at any entry, and that two can be under way."""
        keys = self.fill(under, ["a", "b/c", "b/d", "e"])
        first, second = under.list("kit/"), under.list("kit/")
        assert iter(first) is first, "a listing is an iterator"
        taken = [next(first), next(second), next(first), next(second)]
        assert names(taken) == [keys[0], keys[0], keys[1], keys[1]]

    def test_list_is_lazy(self, under: UnderStore) -> None:
        """Check that the first entry costs the storage a part of what all of them cost."""
        keys = self.fill(under, [f"{n // 3:04}/{n:06}" for n in range(self.many)])
        whole = self.steps(under, lambda: list(under.list("kit/")))
        if whole is None:
            pytest.skip("the test class cannot count the steps of the storage")
        first = self.steps(under, lambda: next(under.list("kit/")))
        behind = self.steps(under, lambda: next(under.list("kit/", start_after=keys[-2])))
        assert first is not None
        assert behind is not None
        assert 0 < first <= whole / 2, f"{first} of {whole} steps for the first entry"
        assert 0 < behind <= whole / 2, f"{behind} of {whole} steps for the last entry"

    def test_empty_directory_is_listed_as_an_empty_object(self, under: UnderStore) -> None:
        """Check that a directory made outside is the 0-byte key ``x/`` while nothing is in it."""
        if not self.poke_directory(under, "kit/made"):
            pytest.skip("the storage has no directories, or the test class cannot make one")
        assert names(under.list("kit/")) == ["kit/made/"]
        told = under.head("kit/made/")
        assert (told.key, told.size) == ("kit/made/", 0)
        assert read(under, "kit/made/") == b""
        put(under, "kit/made/object", b"x")
        assert names(under.list("kit/")) == ["kit/made/object"]

    def test_start_after_is_exclusive(self, under: UnderStore) -> None:
        """Check keys that are there, that are not, and bounds outside of all."""
        keys = self.fill(under, ["a", "b/c", "b/d/e", "b/f", "b0", "c"])
        for bound in [
            *keys,
            "",
            "kit",
            "kit/",
            "kit/b",
            "kit/b/",
            "kit/b/d0",
            "kit/zz",
            "zz",
            "\0",
        ]:
            expected = [key for key in sorted(keys) if key > bound]
            assert names(under.list("kit/", start_after=bound)) == expected, bound

    def test_prefix_need_not_end_at_a_slash(self, under: UnderStore) -> None:
        """Check prefixes that end within a name, and ones that nothing has."""
        keys = self.fill(under, ["a/bc", "a/bd/x", "a/be", "ab"])
        for prefix in (
            "kit/a",
            "kit/a/",
            "kit/a/b",
            "kit/a/bd",
            "kit/a/bd/",
            "kit/a/bd/x",
            "kit/x",
        ):
            expected = [key for key in sorted(keys) if key.startswith(prefix)]
            assert names(under.list(prefix)) == expected, prefix
        assert names(under.list("kit/a\0")) == []

    def test_delimiter_rolls_keys_up(self, under: UnderStore) -> None:
        """Check the slash and others, behind every kind of prefix."""
        keys = self.fill(under, ["a/b/c", "a/b/d", "a/e", "a.txt", "f-g-h", "f-i", "x/y/z"])
        for delimiter in ("/", "-", "b/", "/b", "no such"):
            for prefix in ("kit/", "kit/a", "kit/a/", "kit/a/b", "kit/f-", "kit/x/y/z"):
                entries = list(under.list(prefix, delimiter=delimiter))
                expected = expected_names(keys, prefix, delimiter, "")
                assert names(entries) == expected, (delimiter, prefix)
                for entry in entries:
                    rolled = isinstance(entry, CommonPrefix)
                    assert rolled == (names([entry])[0] not in keys), "an object was rolled up"

    def test_common_prefix_is_not_repeated_behind_start_after(self, under: UnderStore) -> None:
        """Check that one is left out when not greater than, or the beginning of, the bound."""
        keys = self.fill(under, ["a/b", "a/c", "a.txt", "d/e/f", "g"])
        for bound in ("kit/a", "kit/a/", "kit/a/b", "kit/a/zz", "kit/a0", "kit/d/", "kit/d/e/f"):
            for delimiter in ("/", "e"):
                listed = names(under.list("kit/", delimiter=delimiter, start_after=bound))
                assert listed == expected_names(keys, "kit/", delimiter, bound), (bound, delimiter)

    @pytest.mark.parametrize("delimiter", ["", "/"])
    def test_pages_by_start_after_give_everything_once(
        self, under: UnderStore, delimiter: str
    ) -> None:
        """Check that going on after the last name given loses and repeats nothing."""
        keys = self.fill(under, ["a", "b/c", "b/d/e", "b/f", "b0", "c/d", "e", "f/g/h/i"])
        found: list[str] = []
        bound = ""
        while page := names(under.list("kit/", delimiter=delimiter, start_after=bound))[:2]:
            found += page
            bound = page[-1]
        assert found == expected_names(keys, "kit/", delimiter, "")

    def test_list_under_way_keeps_what_stays(self, under: UnderStore) -> None:
        """Check that keys that are there throughout appear exactly once."""
        stable = self.fill(under, [f"{n % 5}/stable{n}" for n in range(50)])
        passing = [f"kit/{n % 5}/passing{n}" for n in range(25)]
        for key in passing[::2]:
            put(under, key, b"x")
        seen = []
        for number, entry in enumerate(under.list("kit/")):
            seen += names([entry])
            key = passing[number % len(passing)]
            (under.delete if number % 2 else lambda k: put(under, k, b"y"))(key)
        assert [key for key in seen if "stable" in key] == sorted(stable)
        assert seen == sorted(set(seen)), "a listing is strictly increasing whatever happens"
