"""The machine finds a store that lies, however many honest steps hide it."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from forebay.errors import BodyError
from forebay.hookspecs import hookimpl
from forebay.streams import BytesReader
from forebay.testing.stateful import ForebayMachine, profile
from forebay_memory.under import MemoryUnderStore


class KeepsWhatWasDeleted(MemoryUnderStore):
    def delete(self, key, /):
        pass


class LeavesOutTheLast(MemoryUnderStore):
    def list(self, *args, **options):
        found = list(super().list(*args, **options))
        yield from found[:-1] if len(found) > 2 else found


class PublishesBadBodies(MemoryUnderStore):
    def put(self, key, /, body, *, size, **options):
        read = b""
        try:
            while block := body.read(1000):
                read += block
        except BodyError:
            super().put(key, BytesReader(read), size=len(read), **options)
            raise
        return super().put(key, BytesReader(read), size=size, **options)


class GivesOldBytes(MemoryUnderStore):
    def put(self, key, /, body, **options):
        kept = self._objects.get(key)
        info = super().put(key, body, **options)
        if kept is not None and len(kept.content) > 1000:
            self._objects[key] = type(kept)(info, kept.content[: info.size].ljust(info.size))
        return info


class Machine(ForebayMachine):
    catalog_kind = "memory"
    tier_kind = "memory"

    def uri(self, directory):
        return "liar://"


@pytest.mark.parametrize(
    "liar", [KeepsWhatWasDeleted, LeavesOutTheLast, PublishesBadBodies, GivesOldBytes]
)
def test_a_liar_is_found(liar):
    class Plugin:
        @hookimpl
        def under_store_factory(self, scheme):
            return (lambda uri, options: liar()) if scheme == "liar" else None

    class Lied(Machine):
        plugins = (Plugin(),)

    settings = hypothesis.settings(
        profile,
        max_examples=200,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        report_multiple_bugs=False,
        print_blob=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Lied, settings=settings)
