"""The kit finds metadata stores that lie: each is caught by the test named after its lie."""

import time
from contextlib import suppress

import pytest
from hypothesis import Phase, settings

from forebay.testing.metadata import MACHINE, MetadataStoreTests, hold_against_dict
from forebay_memory.metadata import MemoryMetadataStore

KIT = MetadataStoreTests()
UNSHRUNK = settings(MACHINE, phases=[Phase.generate])  # found is enough here


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


class StopIsIncluded(View):
    def scan(self, start, stop, *, reverse=False):
        return super().scan(start, stop + b"\0", reverse=reverse)


class ReverseIsIgnored(View):
    def scan(self, start, stop, *, reverse=False):
        return super().scan(start, stop)


class SortedAsText(View):
    def scan(self, start, stop, *, reverse=False):
        found = super().scan(start, stop)
        return iter(sorted(found, key=lambda row: row[0].replace(b"\0", b""), reverse=reverse))


class ScanIsFromBefore(View):
    def __init__(self, inner):
        super().__init__(inner)
        self.before = list(inner.scan(b"", b"\xff" * 9))

    def scan(self, start, stop, *, reverse=False):
        found = [row for row in self.before if start <= row[0] < stop]
        return iter(found[::-1] if reverse else found)


class ScanLosesItsPlace(View):
    def scan(self, start, stop, *, reverse=False):
        keys = self.inner._keys
        places = range(len(keys))
        for place in reversed(places) if reverse else places:
            if place < len(keys) and start <= keys[place] < stop:
                yield keys[place], self.inner.get(keys[place])


class EmptyIsMissing(View):
    def get(self, key):
        return super().get(key) or None


class DeleteWantsTheKey(View):
    def delete(self, key):
        if self.get(key) is None:
            raise KeyError(key)
        super().delete(key)


def lying(view):
    return type(view.__name__, (Honest,), {"view": view})


class CommitsOnException(Honest):
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
    def write(self, fn, *, durable=True):
        with suppress(LookupError):
            return super().write(fn)


class WrapsExceptions(Honest):
    def write(self, fn, *, durable=True):
        try:
            return super().write(fn)
        except LookupError as error:
            raise LookupError(*error.args) from error


class ForgetsTheAnswer(Honest):
    def write(self, fn, *, durable=True):
        super().write(fn)


class LosesUpdates(Honest):
    """Runs the function on a snapshot, and only its changes in a transaction."""

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
    def write(self, fn, *, durable=True):
        if self._running:
            return MemoryMetadataStore().write(fn)
        return super().write(fn)


class OneFailureUndoesAll(Honest):
    def write(self, fn, *, durable=True):
        try:
            return super().write(fn)
        except LookupError:
            super().write(lambda t: [t.delete(k) for k, _ in list(t.scan(b"", b"\xff" * 9))])
            raise


class ReadsWhatIsNotCommitted(Honest):
    """Reads without the lock that keeps writers out."""

    def read(self, fn):
        from forebay_memory.metadata import _Snapshot

        return fn(_Snapshot(self._keys, self._values))


class NotDurable(Honest):
    durable = True


class NotShared(Honest):
    shared_between_processes = True


@pytest.mark.parametrize(
    ("liar", "caught"),
    [
        (lying(StopIsIncluded), lambda s: KIT.test_scan_has_its_start_and_not_its_stop(s, False)),
        (lying(ReverseIsIgnored), KIT.test_scan_in_reverse_goes_the_same_way_back),
        (lying(SortedAsText), KIT.test_scan_goes_in_byte_order),
        (lying(ReverseIsIgnored), lambda s: hold_against_dict(s, UNSHRUNK)),
        (CommitsOnException, lambda s: hold_against_dict(s, UNSHRUNK)),
        (lying(ScanIsFromBefore), KIT.test_a_transaction_sees_its_own_changes),
        (
            lying(ScanLosesItsPlace),
            lambda s: KIT.test_a_scan_bears_changes_made_while_it_runs(s, False),
        ),
        (lying(EmptyIsMissing), lambda s: KIT.test_any_bytes_are_a_value(s, b"")),
        (lying(DeleteWantsTheKey), KIT.test_delete_removes_a_key_and_a_missing_one_is_fine),
        (CommitsOnException, KIT.test_an_exception_passes_on_and_undoes_everything),
        (SwallowsExceptions, KIT.test_an_exception_passes_on_and_undoes_everything),
        (WrapsExceptions, KIT.test_an_exception_passes_on_and_undoes_everything),
        (ForgetsTheAnswer, KIT.test_read_and_write_return_the_answer),
        (LosesUpdates, KIT.test_no_update_is_lost),
        (NestsWrites, KIT.test_write_within_write_is_refused),
        (OneFailureUndoesAll, KIT.test_an_exception_undoes_nothing_of_the_others),
        (ReadsWhatIsNotCommitted, KIT.test_a_snapshot_does_not_change),
        (
            NotDurable,
            lambda s: KIT.test_a_durable_write_is_there_after_opening_again(s, NotDurable),
        ),
        (NotShared, lambda s: KIT.test_a_shared_store_is_one_truth(s, NotShared)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_liar_is_caught(liar, caught):
    caught(Honest()) if liar not in (NotDurable, NotShared) else None
    with pytest.raises((AssertionError, KeyError, ValueError, pytest.fail.Exception)):
        caught(liar())


def test_a_durable_store_must_say_how_to_open_it_again():
    with pytest.raises(NotImplementedError, match="reopen"):
        KIT.test_a_durable_write_is_there_after_opening_again(
            NotDurable(), MetadataStoreTests.reopen.__wrapped__(KIT)
        )
