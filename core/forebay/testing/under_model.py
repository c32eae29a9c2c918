"""An under store against a dictionary: random calls, the same answers."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from forebay.stores.under import UnderStore
from forebay.testing.under_kit import Failing, exists, expected_names, left, names, put, read
from forebay.types import Attributes

_DELIMITERS = ["", "/", "b", "b/"]
MOST_KEYS = 8
"""A machine with more keys would use the last ones less often."""

_numbers = st.integers(min_value=0, max_value=MOST_KEYS - 1)
_contents = st.binary(max_size=5)


class UnderStoreMachine(RuleBasedStateMachine):
    """A store and the dictionary it must be equal to.

    `UnderStoreTests` runs it for `histories`. For more of them, or for other keys, a subclass
    gives `store`, whose ``kit/`` is emptied first, and `held`, the keys below it.
    """

    store: UnderStore
    held: list[str]

    def __init__(self) -> None:
        super().__init__()
        for name in names(self.store.list("kit/")):
            self.store.delete(name)
        assert left(self.store) == [], "a key that is listed cannot be deleted"
        put(self.store, "kit/", b"")
        self._model = {"kit/": b""}

    def _key(self, number: int) -> str:
        return f"kit/{self.held[number % len(self.held)]}"

    @initialize(numbers=st.sets(_numbers))
    def begin(self, numbers: set[int]) -> None:
        """Put some keys: few calls in a row would make two that begin alike."""
        for number in sorted(numbers):
            self.put(number, b"%d" % number, known=True)

    @rule(number=_numbers, content=_contents, known=st.booleans())
    def put(self, number: int, content: bytes, known: bool) -> None:
        """Put, with or without the size announced."""
        key = self._key(number)
        put(self.store, key, content, size=len(content) if known else None)
        self._model[key] = content

    @rule(number=_numbers, content=_contents)
    def fail(self, number: int, content: bytes) -> None:
        """Begin to put, and fail."""
        with pytest.raises(ValueError, match="midway"):
            self.store.put(
                self._key(number),
                Failing(content, ValueError("midway")),
                size=None,
                attributes=Attributes(),
            )

    @rule(number=_numbers)
    def delete(self, number: int) -> None:
        """Delete, there or not."""
        self.store.delete(self._key(number))
        self._model.pop(self._key(number), None)

    @rule(number=_numbers)
    def look(self, number: int) -> None:
        """Compare one key."""
        key = self._key(number)
        assert exists(self.store, key) == (key in self._model)
        if key in self._model:
            assert read(self.store, key) == self._model[key]

    @rule(
        prefix=_numbers, bound=_numbers, cut=st.integers(4, 12), roll=st.sampled_from(_DELIMITERS)
    )
    def list(self, prefix: int, bound: int, cut: int, roll: str) -> None:
        """Compare one listing."""
        begin, after = self._key(prefix)[:cut], self._key(bound)
        listed = names(self.store.list(begin, delimiter=roll, start_after=after))
        assert listed == expected_names(self._model, begin, roll, after)

    @invariant()
    def everything_is_listed(self) -> None:
        """Compare all keys, after every call."""
        assert names(self.store.list("kit/")) == sorted(self._model)
