"""Metadata stores with one lie each; every one is honest in all the rest."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from forebay.testing import MetadataStoreTests
from forebay_memory.metadata import MemoryMetadataStore
from forebay_sqlite.metadata import SqliteMetadataStore

END = b"\xff" * 9


class View:
    """Passes everything on; liars change one thing."""

    def __init__(self, inner):
        self.inner = inner

    def get(self, key):
        return self.inner.get(key)

    def put(self, key, value):
        self.inner.put(key, value)

    def delete(self, key):
        self.inner.delete(key)

    def scan(self, start, stop, *, reverse=False):
        return self.inner.scan(start, stop, reverse=reverse)


class Honest(MemoryMetadataStore):
    view = View

    def read(self, fn):
        return super().read(lambda s: fn(self.view(s)))

    def write(self, fn, *, durable=True):
        return super().write(lambda t: fn(self.view(t)), durable=durable)


class HonestFiles(SqliteMetadataStore):
    """The store in a file, which remembers and is seen by others."""

    def close(self):
        if not self._closed:  # the kit closes some itself
            super().close()


class TestHonest(MetadataStoreTests):
    made = Honest
    view = View

    @pytest.fixture
    def store(self):
        store = self.made()
        if self.view is not View:
            store.view = self.view
        return store

    @pytest.fixture
    def reopen(self):
        return self.made


class TestHonestFiles(MetadataStoreTests):
    made = HonestFiles

    @pytest.fixture
    def reopen(self, tmp_path):
        opened = []
        yield lambda: opened.append(self.made(tmp_path / "catalog.db")) or opened[-1]
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, reopen):
        return reopen()

    @pytest.fixture
    def opening(self, tmp_path):
        return self.made, (tmp_path / "catalog.db",)


class StopIsIncluded(View):
    caught_by = "test_scan_has_its_start_and_not_its_stop"

    def scan(self, start, stop, *, reverse=False):
        return super().scan(start, stop + b"\0", reverse=reverse)


class ReverseIsIgnored(View):
    caught_by = "test_scan_in_reverse_goes_the_same_way_back"

    def scan(self, start, stop, *, reverse=False):
        return super().scan(start, stop)


class SortedAsText(View):
    caught_by = "test_scan_goes_in_byte_order"

    def scan(self, start, stop, *, reverse=False):
        found = super().scan(start, stop)
        return iter(sorted(found, key=lambda row: row[0].replace(b"\0", b""), reverse=reverse))


class ScanIsFromBefore(View):
    caught_by = "test_a_transaction_sees_its_own_changes"

    def __init__(self, inner):
        super().__init__(inner)
        self.before = list(inner.scan(b"", b"\xff" * 9))

    def scan(self, start, stop, *, reverse=False):
        found = [row for row in self.before if start <= row[0] < stop]
        return iter(found[::-1] if reverse else found)


class ScanLosesItsPlace(View):
    caught_by = "test_a_scan_bears_changes_made_while_it_runs"

    def scan(self, start, stop, *, reverse=False):
        keys = self.inner._keys
        places = range(len(keys))
        for place in reversed(places) if reverse else places:
            if place < len(keys) and start <= keys[place] < stop:
                yield keys[place], self.inner.get(keys[place])


class EmptyIsMissing(View):
    caught_by = "test_any_bytes_are_a_value"

    def get(self, key):
        return super().get(key) or None


class DeleteWantsTheKey(View):
    caught_by = "test_delete_removes_a_key_and_a_missing_one_is_fine"

    def delete(self, key):
        if self.get(key) is None:
            raise KeyError(key)
        super().delete(key)


class CommitsOnException(Honest):
    caught_by = "test_an_exception_passes_on_and_undoes_everything"

    def write(self, fn, *, durable=True):
        def careless(transaction):
            try:
                return fn(transaction), None
            except Exception as error:
                return None, error

        answer, error = super().write(careless)
        if error is not None:
            raise error
        return answer


class SwallowsExceptions(Honest):
    caught_by = "test_an_exception_passes_on_and_undoes_everything"

    def write(self, fn, *, durable=True):
        with suppress(LookupError):
            return super().write(fn)


class WrapsExceptions(Honest):
    caught_by = "test_an_exception_passes_on_and_undoes_everything"

    def write(self, fn, *, durable=True):
        try:
            return super().write(fn)
        except LookupError as error:
            raise LookupError(*error.args) from error


class ForgetsTheAnswer(Honest):
    caught_by = "test_read_and_write_return_the_answer"

    def write(self, fn, *, durable=True):
        super().write(fn)


class LosesUpdates(Honest):
    """Runs the function on a snapshot, and only its changes in a transaction."""

    caught_by = "test_no_update_is_lost"

    def write(self, fn, *, durable=True):
        changes = {}

        class Recorded(View):
            def get(self, key):
                return changes.get(key, super().get(key))

            def put(self, key, value):
                changes[key] = value

        answer = self.read(lambda s: fn(Recorded(s)))
        time.sleep(0.0001)
        MemoryMetadataStore.write(self, lambda t: [t.put(k, v) for k, v in changes.items()])
        return answer


class NestsWrites(Honest):
    caught_by = "test_write_within_write_is_refused"

    def write(self, fn, *, durable=True):
        if self._running:
            return MemoryMetadataStore().write(fn)
        return super().write(fn)


class OneFailureUndoesAll(Honest):
    caught_by = "test_an_exception_undoes_nothing_of_the_others"

    def write(self, fn, *, durable=True):
        try:
            return super().write(fn)
        except LookupError:
            super().write(lambda t: [t.delete(k) for k, _ in list(t.scan(b"", b"\xff" * 9))])
            raise


class ReadsWhatIsNotCommitted(Honest):
    """Reads without the lock that keeps writers out."""

    caught_by = "test_a_snapshot_does_not_change"

    def read(self, fn):
        from forebay_memory.metadata import _Snapshot

        return fn(_Snapshot(self._keys, self._values))


class NotDurable(Honest):
    beside = "HonestFiles"
    caught_by = "test_a_durable_write_is_there_after_opening_again"

    durable = True


class NotShared(Honest):
    beside = "HonestFiles"
    caught_by = "test_a_shared_store_is_one_truth"

    shared_between_processes = True


class MissingIsEmpty(View):
    caught_by = "test_get_gives_the_value_or_none"

    def get(self, key):
        return super().get(key) or b""


class FirstPutStays(View):
    caught_by = "test_put_sets_a_key_again"

    def put(self, key, value):
        if self.get(key) is None:
            super().put(key, value)


class OneScanAtATime(View):
    """Has one cursor: a new scan moves it."""

    caught_by = "test_scans_run_beside_each_other"

    def scan(self, start, stop, *, reverse=False):
        self.cursor = super().scan(start, stop, reverse=reverse)
        while (row := next(self.cursor, None)) is not None:
            yield row


class ScansGoOn(Honest):
    """Keeps a scan that was left, and goes on with it when asked for the same one."""

    caught_by = "test_a_scan_may_be_left_early"

    def __init__(self):
        super().__init__()
        self.left = {}
        store = self

        class GoesOn(View):
            def scan(self, start, stop, *, reverse=False):
                rows = list(super().scan(start, stop, reverse=reverse))
                at = store.left.pop((start, stop, reverse), 0)
                for number in range(at, len(rows)):
                    store.left[start, stop, reverse] = number + 1
                    yield rows[number]
                store.left.pop((start, stop, reverse), None)

        self.view = GoesOn


class EveryThreadHasItsOwn(Honest):
    caught_by = "test_what_was_written_is_there_for_every_thread"

    def __init__(self):
        super().__init__()
        self.own = threading.local()

    def _of_this_thread(self):
        if not hasattr(self.own, "store"):
            self.own.store = Honest()
        return self.own.store

    def read(self, fn):
        return self._of_this_thread().read(fn)

    def write(self, fn, *, durable=True):
        return self._of_this_thread().write(fn, durable=durable)


class LooksOnlyAtWhatItWrote(Honest):
    """Snapshot isolation: finds two writers of one key, not two that looked at each other's."""

    caught_by = "test_writes_happen_as_if_one_after_the_other"

    def write(self, fn, *, durable=True):
        while True:
            changes, before = {}, {}

            class Recorded(View):
                def get(self, key):
                    return changes.get(key, super().get(key))  # noqa: B023 - used in this turn

                def put(self, key, value):
                    before.setdefault(key, super().get(key))  # noqa: B023
                    changes[key] = value  # noqa: B023

            answer = self.read(lambda s: fn(Recorded(s)))
            time.sleep(0.001)

            def commit(transaction):
                if any(transaction.get(key) != value for key, value in before.items()):  # noqa: B023
                    return False
                for key, value in changes.items():  # noqa: B023
                    transaction.put(key, value)
                return True

            if MemoryMetadataStore.write(self, commit):
                return answer


class LosesTheEmptyKey(View):
    caught_by = "test_it_behaves_like_a_sorted_dict"

    def put(self, key, value):
        if key.strip(b"\0"):
            super().put(key, value)


class CommitsAsItGoes(HonestFiles):
    caught_by = "test_a_process_that_dies_leaves_whole_transactions_and_no_lock"

    def write(self, fn, *, durable=True):
        store, write = self, super().write

        class Direct(View):
            def __init__(self):
                """There is nothing inside."""

            def get(self, key):
                return store.read(lambda s: s.get(key))

            def put(self, key, value):
                write(lambda t: t.put(key, value))

            def delete(self, key):
                write(lambda t: t.delete(key))

            def scan(self, start, stop, *, reverse=False):
                return iter(store.read(lambda s: list(s.scan(start, stop, reverse=reverse))))

        return fn(Direct())


class ReadsBeforeItLocks(HonestFiles):
    caught_by = "test_processes_lose_no_update_of_each_other"

    def write(self, fn, *, durable=True):
        changes = {}

        class Recorded(View):
            def put(self, key, value):
                changes[key] = value

        answer = self.read(lambda s: fn(Recorded(s)))
        time.sleep(0.001)
        super().write(lambda t: [t.put(k, v) for k, v in changes.items()] and None)
        return answer


LIARS = [found for found in list(vars().values()) if "caught_by" in getattr(found, "__dict__", ())]
for _liar in LIARS:
    _name = f"Test{_liar.__name__}"
    if issubclass(_liar, HonestFiles):
        globals()[_name] = type(_name, (TestHonestFiles,), {"made": _liar})
    elif issubclass(_liar, View):
        globals()[_name] = type(_name, (TestHonest,), {"view": _liar})
    else:
        globals()[_name] = type(_name, (TestHonest,), {"made": _liar})
