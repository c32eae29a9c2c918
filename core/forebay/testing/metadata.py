"""Conformance kit for metadata stores: each test checks a sentence of the contract."""

# ruff: noqa: D102 - the name of a test is the sentence it checks

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from forebay.errors import StorageError
from forebay.stores.metadata import MetadataStore, Snapshot, Transaction
from forebay.testing import elsewhere
from forebay.testing.elsewhere import Opening

T = TypeVar("T")
Row = tuple[bytes, bytes]

END = b"\xff" * 9
"""A key behind every key of the kit."""
TRICKY = [b"\0", b"\0\0", b"\x01", b"a", b"a\0", b"a\0b", b"a/", b"aa", b"b", b"\xff", b"\xff\xff"]
"""Keys in byte order that a text collation or a C string would sort or cut otherwise."""


class MetadataStoreTests:
    """Every metadata store passes these.

    A subclass gives the fixture `store`: a new, empty store that it closes afterwards. One
    that is `durable` or `shared_between_processes` gives `reopen` too: a function that opens
    the same place once more, and closes what it opened afterwards; with `opening` it is checked
    against other processes, and ones that die, too.
    """

    @pytest.fixture
    def store(self) -> MetadataStore:
        """Give a new, empty store."""
        raise NotImplementedError("give the fixture `store`")

    @pytest.fixture
    def reopen(self) -> Callable[[], MetadataStore]:
        """Give a function that opens the same place once more."""

        def impossible() -> MetadataStore:
            raise NotImplementedError("give the fixture `reopen`: the store says it is durable")

        return impossible

    @pytest.fixture
    def opening(self) -> Opening | None:
        """Give the factory and the arguments that open the same place in another process."""
        return None

    # --- keys and values -------------------------------------------------------------------

    def test_get_gives_the_value_or_none(self, store: MetadataStore) -> None:
        assert store.read(lambda s: s.get(b"k")) is None
        put(store, [(b"k", b"v")])
        assert store.read(lambda s: s.get(b"k")) == b"v"

    def test_put_sets_a_key_again(self, store: MetadataStore) -> None:
        put(store, [(b"k", b"old"), (b"k", b"new")])
        put(store, [(b"k", b"newest")])
        assert rows(store) == [(b"k", b"newest")]

    def test_delete_removes_a_key_and_a_missing_one_is_fine(self, store: MetadataStore) -> None:
        put(store, [(b"k", b"v"), (b"l", b"w")])
        delete(store, [b"k", b"never"])
        delete(store, [b"k"])
        assert rows(store) == [(b"l", b"w")]

    @pytest.mark.parametrize("value", [b"", b"\0", b"\xff\0\xfe", b"x" * (1 << 20)])
    def test_any_bytes_are_a_value(self, store: MetadataStore, value: bytes) -> None:
        put(store, [(b"k", value)])
        assert store.read(lambda s: s.get(b"k")) == value

    # --- scans -----------------------------------------------------------------------------

    def test_scan_goes_in_byte_order(self, store: MetadataStore) -> None:
        put(store, [(key, b"v") for key in (*TRICKY[::2], *TRICKY[1::2])])
        assert [key for key, _ in rows(store)] == TRICKY

    def test_scan_in_reverse_goes_the_same_way_back(self, store: MetadataStore) -> None:
        put(store, [(key, b"v" + key) for key in TRICKY])
        assert rows(store, reverse=True) == [(key, b"v" + key) for key in reversed(TRICKY)]

    @pytest.mark.parametrize("reverse", [False, True])
    def test_scan_has_its_start_and_not_its_stop(self, store: MetadataStore, reverse: bool) -> None:
        put(store, [(key, b"") for key in TRICKY])
        for start, stop in itertools.product(TRICKY, repeat=2):
            expected = [key for key in TRICKY if start <= key < stop]
            found = [key for key, _ in rows(store, start, stop, reverse=reverse)]
            assert found == (expected[::-1] if reverse else expected), (start, stop)

    def test_scans_run_beside_each_other(self, store: MetadataStore) -> None:
        put(store, [(b"%d" % each, b"") for each in range(3)])

        def pairs(snapshot: Snapshot) -> list[bytes]:
            outer = snapshot.scan(b"", END)
            return [a + b for a, _ in outer for b, _ in snapshot.scan(b"", END, reverse=True)]

        expected = [a + b for a in (b"0", b"1", b"2") for b in (b"2", b"1", b"0")]
        assert store.read(pairs) == expected
        assert store.write(pairs) == expected

    def test_a_scan_may_be_left_early(self, store: MetadataStore) -> None:
        put(store, [(b"%04d" % each, b"") for each in range(2000)])

        def first(snapshot: Snapshot) -> bytes:
            return next(snapshot.scan(b"0007", END))[0]

        assert [store.read(first) for _ in range(3)] == [b"0007"] * 3
        assert [store.write(first) for _ in range(3)] == [b"0007"] * 3
        put(store, [(b"0007", b"changed")])
        assert len(rows(store)) == 2000

    # --- transactions ----------------------------------------------------------------------

    def test_read_and_write_return_the_answer(self, store: MetadataStore) -> None:
        answer = object()
        assert store.read(lambda s: answer) is answer
        assert store.write(lambda t: answer) is answer
        assert store.write(lambda t: answer, durable=False) is answer

    def test_a_transaction_sees_its_own_changes(self, store: MetadataStore) -> None:
        put(store, [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])

        def change(transaction: Transaction) -> tuple[list[bytes | None], list[Row], list[Row]]:
            transaction.put(b"a", b"11")
            transaction.delete(b"b")
            transaction.put(b"bb", b"22")
            return (
                [transaction.get(key) for key in (b"a", b"b", b"bb")],
                list(transaction.scan(b"", END)),
                list(transaction.scan(b"", END, reverse=True)),
            )

        values, forth, back = store.write(change)
        assert values == [b"11", None, b"22"]
        assert forth == [(b"a", b"11"), (b"bb", b"22"), (b"c", b"3")]
        assert back == forth[::-1]

    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_scan_bears_changes_made_while_it_runs(
        self, store: MetadataStore, reverse: bool
    ) -> None:
        keys = [b"%04d" % each for each in range(1000)]
        put(store, [(key, b"old") for key in keys])

        def walk(transaction: Transaction) -> list[bytes]:
            seen = []
            for key, _ in transaction.scan(b"", b"~", reverse=reverse):
                seen.append(key)
                if int(key) % 3 == 0:
                    transaction.delete(key)
                elif int(key) % 3 == 1:
                    transaction.put(key, b"new")
                    transaction.put(b"~" + key, b"elsewhere")
            return seen

        assert store.write(walk) == (keys[::-1] if reverse else keys)
        left = [key for key, _ in rows(store, b"", b"~")]
        assert left == [key for key in keys if int(key) % 3]

    def test_an_exception_passes_on_and_undoes_everything(self, store: MetadataStore) -> None:
        put(store, [(b"a", b"1"), (b"b", b"2")])
        wrong = LookupError("the function's own")

        def fail(transaction: Transaction) -> None:
            transaction.put(b"a", b"changed")
            transaction.put(b"a", b"again")
            transaction.delete(b"b")
            transaction.put(b"c", b"3")
            raise wrong

        with pytest.raises(LookupError) as caught:
            store.write(fail)
        assert caught.value is wrong
        assert rows(store) == [(b"a", b"1"), (b"b", b"2")]
        with pytest.raises(LookupError) as caught:
            store.read(lambda s: throw(wrong))
        assert caught.value is wrong
        put(store, [(b"c", b"still working")])
        assert len(rows(store)) == 3

    def test_write_within_write_is_refused(self, store: MetadataStore) -> None:
        with pytest.raises(StorageError):
            store.write(lambda t: put(store, [(b"inner", b"")]))
        put(store, [(b"k", b"still working")])
        assert rows(store) == [(b"k", b"still working")]

    def test_what_was_written_is_there_for_every_thread(self, store: MetadataStore) -> None:
        put(store, [(b"k", b"v")])
        found: list[bytes | None] = []
        together([lambda: found.append(store.read(lambda s: s.get(b"k")))] * 4)
        assert found == [b"v"] * 4

    def test_a_snapshot_does_not_change(self, store: MetadataStore) -> None:
        put(store, [(b"a", b"old"), (b"b", b"old")])
        writer = threading.Thread(target=put, args=(store, [(b"a", b"new"), (b"b", b"new")]))

        def look_twice(snapshot: Snapshot) -> list[bytes | None]:
            first = snapshot.get(b"a")
            if not writer.ident:
                writer.start()
            writer.join(0.3)  # through, or waiting for this function to end
            return [first, snapshot.get(b"b"), *(value for _, value in snapshot.scan(b"", END))]

        assert store.read(look_twice) == [b"old"] * 4
        writer.join()
        assert [value for _, value in rows(store)] == [b"new"] * 2

    # --- many at once ----------------------------------------------------------------------

    def test_no_update_is_lost(self, store: MetadataStore) -> None:
        def count(transaction: Transaction) -> int:
            number = int(transaction.get(b"n") or b"0") + 1
            transaction.put(b"n", b"%d" % number)
            return number

        answers: list[int] = []

        def counting() -> None:
            for turn in range(20):
                answers.append(store.write(count, durable=turn % 5 == 0))

        together([counting] * 8)
        assert sorted(answers) == list(range(1, 161))
        assert rows(store) == [(b"n", b"160")]

    def test_writes_happen_as_if_one_after_the_other(self, store: MetadataStore) -> None:
        won: dict[int, list[bool]] = {turn: [] for turn in range(20)}

        def take(turn: int, mine: bytes, other: bytes) -> None:
            def fn(transaction: Transaction) -> bool:
                if free := transaction.get(other) is None:
                    transaction.put(mine, b"taken")
                return free

            won[turn].append(store.write(fn, durable=False))

        for turn in won:
            a, b = b"a%d" % turn, b"b%d" % turn
            together([partial(take, turn, a, b), partial(take, turn, b, a)])
        assert [sorted(each) for each in won.values()] == [[False, True]] * 20

    def test_an_exception_undoes_nothing_of_the_others(self, store: MetadataStore) -> None:
        def one(name: bytes, fails: bool) -> Callable[[Transaction], bytes]:
            def fn(transaction: Transaction) -> bytes:
                transaction.put(name, b"v")
                if fails:
                    raise LookupError(name)
                return name

            return fn

        kept: list[bytes] = []
        failed: list[bytes] = []

        def writing(number: int) -> None:
            for turn in range(15):
                name = b"%d-%02d" % (number, turn)
                try:
                    kept.append(store.write(one(name, (number + turn) % 3 == 0)))
                except LookupError as error:
                    failed.append(error.args[0])

        together([partial(writing, number) for number in range(8)])
        assert len(kept) + len(failed) == 120
        assert [key for key, _ in rows(store)] == sorted(kept)
        assert not set(kept) & set(failed)

    # --- life ------------------------------------------------------------------------------

    def test_a_durable_write_is_there_after_opening_again(
        self, store: MetadataStore, reopen: Callable[[], MetadataStore]
    ) -> None:
        if not store.durable:
            pytest.skip("the store says it is not durable")
        put(store, [(b"a", b"1"), (b"b", b"2")])
        delete(store, [b"a"])
        store.close()
        assert rows(reopen()) == [(b"b", b"2")]

    def test_a_shared_store_is_one_truth(
        self, store: MetadataStore, reopen: Callable[[], MetadataStore]
    ) -> None:
        if not store.shared_between_processes:
            pytest.skip("the store says it is not shared between processes")
        other = reopen()
        put(store, [(b"a", b"1")])
        assert rows(other) == [(b"a", b"1")]
        put(other, [(b"a", b"2")])
        assert rows(store) == [(b"a", b"2")]

    def test_a_process_that_dies_leaves_whole_transactions_and_no_lock(
        self,
        store: MetadataStore,
        reopen: Callable[[], MetadataStore],
        opening: Opening | None,
    ) -> None:
        if not (store.durable and store.shared_between_processes):
            pytest.skip("the store says it is not durable, or not shared between processes")
        if opening is None:
            pytest.skip("the test class does not say how another process opens the store")
        put(store, [(b"ours", b"1")])
        code = elsewhere.elsewhere(elsewhere.die_while_changing, opening, b"done", b"undone")
        assert code == elsewhere.KILLED
        for each in (store, reopen()):
            put(each, [(b"still", b"working")])
            assert rows(each) == [(b"done", b"kept"), (b"ours", b"1"), (b"still", b"working")]

    def test_processes_lose_no_update_of_each_other(
        self, store: MetadataStore, opening: Opening | None
    ) -> None:
        if not store.shared_between_processes:
            pytest.skip("the store says it is not shared between processes")
        if opening is None:
            pytest.skip("the test class does not say how another process opens the store")

        def count() -> None:
            elsewhere.elsewhere(elsewhere.count_up, opening, b"n", 40, 3)

        together([count] * 3)
        assert store.read(lambda s: s.get(b"n")) == b"120"

    def test_it_behaves_like_a_sorted_dict(self, store: MetadataStore) -> None:
        hold_against_dict(store)


KEYS = st.lists(st.sampled_from([0, 97, 255]), min_size=1, max_size=2).map(bytes)
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=8)


class SortedDictMachine(RuleBasedStateMachine):
    """Holds a store against a dict whose keys are sorted anew for every answer."""

    def __init__(self, store: MetadataStore) -> None:
        super().__init__()
        self.store = store
        self.model: dict[bytes, bytes] = {}
        delete(store, [key for key, _ in rows(store)])

    @rule(changes=CHANGES, fails=st.booleans(), durable=st.booleans())
    def write(self, changes: list[tuple[bytes, bytes | None]], fails: bool, durable: bool) -> None:
        """Commit some changes, or make them and fail."""
        after = dict(self.model)

        def fn(transaction: Transaction) -> list[Row]:
            for key, value in changes:
                if value is None:
                    transaction.delete(key)
                else:
                    transaction.put(key, value)
            if fails:
                raise LookupError
            return list(transaction.scan(b"", END))

        for key, value in changes:
            after.pop(key, None)
            if value is not None:
                after[key] = value
        if fails:
            with pytest.raises(LookupError):
                self.store.write(fn, durable=durable)
        else:
            assert self.store.write(fn, durable=durable) == sorted(after.items())
            self.model = after

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        """Look up one key."""
        assert self.store.read(lambda s: s.get(key)) == self.model.get(key)

    @rule(start=KEYS, stop=KEYS | st.just(END), limit=st.integers(1, 13))
    def scan(self, start: bytes, stop: bytes, limit: int) -> None:
        """Look at both ends of a range."""

        def first(reverse: bool) -> list[Row]:
            return self.store.read(
                lambda s: list(itertools.islice(s.scan(start, stop, reverse=reverse), limit))
            )

        expected = sorted(row for row in self.model.items() if start <= row[0] < stop)
        assert first(False) == expected[:limit]
        assert first(True) == expected[::-1][:limit]


MACHINE = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],  # explaining takes minutes and says little of histories
    suppress_health_check=list(HealthCheck),
)


def hold_against_dict(store: MetadataStore, using: settings = MACHINE) -> None:
    """Run a store through many random histories."""

    class Machine(SortedDictMachine):
        def __init__(self) -> None:
            super().__init__(store)

    run_state_machine_as_test(Machine, settings=using)


def put(store: MetadataStore, pairs: Iterable[Row]) -> None:
    """Set keys in one durable transaction."""

    def fn(transaction: Transaction) -> None:
        for key, value in pairs:
            transaction.put(key, value)

    store.write(fn)


def delete(store: MetadataStore, keys: Iterable[bytes]) -> None:
    """Remove keys in one durable transaction."""

    def fn(transaction: Transaction) -> None:
        for key in keys:
            transaction.delete(key)

    store.write(fn)


def rows(
    store: MetadataStore, start: bytes = b"", stop: bytes = END, *, reverse: bool = False
) -> list[Row]:
    """Give everything in a range."""
    return store.read(lambda s: list(s.scan(start, stop, reverse=reverse)))


def throw(error: Exception) -> None:
    """Raise an error where only an expression fits."""
    raise error


def together(functions: Iterable[Callable[[], Any]]) -> None:
    """Run functions in a thread each, begun at one moment; pass on the first exception."""
    functions = list(functions)
    start = threading.Barrier(len(functions))
    wrong: list[BaseException] = []

    def run(function: Callable[[], Any]) -> None:
        try:
            start.wait(30)
            function()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if wrong:
        raise wrong[0]
    assert not any(thread.is_alive() for thread in threads), "a call never came back"
