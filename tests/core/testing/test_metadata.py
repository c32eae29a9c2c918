"""What the kit of metadata stores asks for; `test_zoo` holds it against stores that lie."""

import pytest

from forebay.testing.metadata import MetadataStoreTests, together
from forebay_memory.metadata import MemoryMetadataStore

KIT = MetadataStoreTests()


class NotDurable(MemoryMetadataStore):
    durable = True


def test_a_durable_store_must_say_how_to_open_it_again():
    with pytest.raises(NotImplementedError, match="reopen"):
        KIT.test_a_durable_write_is_there_after_opening_again(
            NotDurable(), MetadataStoreTests.reopen.__wrapped__(KIT)
        )


def test_what_fails_in_a_thread_fails_the_test():
    def fail():
        raise LookupError("in a thread")

    with pytest.raises(LookupError, match="in a thread"):
        together([fail, lambda: None])
