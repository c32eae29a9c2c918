"""The kit finds page stores that lie: each is caught by the test named after its lie."""

import pytest

from forebay.testing.pages import PageStoreTests
from forebay.types import PageId
from forebay_memory.pages import MemoryPageReader, MemoryPageStore, MemoryPageWriter

KIT = PageStoreTests()


class VisibleBeforeCommit(MemoryPageStore):
    def writer(self, page, /, size):
        store = self

        class Writer(MemoryPageWriter):
            def write(self, block):
                super().write(block)
                store._keep(page, bytes(self._content))

        return Writer(self, page, size)


class AbortCommits(MemoryPageStore):
    def writer(self, page, /, size):
        store = self

        class Writer(MemoryPageWriter):
            def abort(self):
                if self._content is not None:
                    store._keep(page, bytes(self._content))
                super().abort()

        return Writer(self, page, size)


class AbortRemovesTheCommitted(MemoryPageStore):
    def writer(self, page, /, size):
        store = self

        class Writer(MemoryPageWriter):
            def commit(self, *, sync):
                super().commit(sync=sync)
                self.committed = True

            def abort(self):
                super().abort()
                if hasattr(self, "committed"):
                    store.delete(page)

        return Writer(self, page, size)


class TakesAnySize(MemoryPageStore):
    def writer(self, page, /, size):
        return super().writer(page, None)


class ForgetsTheIndex(MemoryPageStore):
    def writer(self, page, /, size):
        return super().writer(PageId(page.segment, page.page_size), size)

    def open(self, page, /):
        return super().open(PageId(page.segment, page.page_size))


class KeepsTheOld(MemoryPageStore):
    def _keep(self, page, content):
        if page not in self._shelf:
            super()._keep(page, content)


class ShortReads(MemoryPageStore):
    def open(self, page, /):
        class Reader(MemoryPageReader):
            def pread(self, length, offset):
                return super().pread(min(length, 7), offset)

        reader = super().open(page)
        return reader and Reader(reader._content)


class PaddedFile(MemoryPageStore):
    """Gives the descriptor of a file that holds more than the page."""

    def open(self, page, /):
        import os

        reader = super().open(page)
        if reader is not None:
            fd = os.memfd_create("page")
            os.write(fd, reader._content + b"\0")
            reader.fileno = lambda: fd
            reader.close = lambda: os.close(fd)
        return reader


class DeleteIsSeenByReaders(MemoryPageStore):
    def open(self, page, /):
        store, reader = self, super().open(page)
        if reader is not None:
            reader.pread = lambda length, at: store._shelf.get(page, b"")[at : at + length]
        return reader


class DeleteAlwaysSaysYes(MemoryPageStore):
    def delete(self, page, /):
        super().delete(page)
        return True


class ListsWrongSizes(MemoryPageStore):
    def pages(self):
        return iter([(page, 1 << 20) for page, _ in super().pages()])


class NotDurable(MemoryPageStore):
    durable = True


class NotShared(MemoryPageStore):
    shared_between_processes = True


@pytest.mark.parametrize(
    ("liar", "caught"),
    [
        (VisibleBeforeCommit, KIT.test_nothing_is_visible_before_commit),
        (AbortCommits, KIT.test_an_aborted_page_is_never_seen),
        (AbortRemovesTheCommitted, KIT.test_abort_after_commit_is_harmless),
        (
            TakesAnySize,
            lambda p: KIT.test_a_page_of_another_size_than_announced_is_refused(p, b"12345"),
        ),
        (ForgetsTheIndex, KIT.test_pages_do_not_touch_each_other),
        (KeepsTheOld, KIT.test_writing_a_page_again_replaces_it_at_commit),
        (ShortReads, KIT.test_pread_gives_fewer_bytes_only_at_the_end),
        (PaddedFile, KIT.test_the_descriptor_is_of_a_file_with_exactly_this_page),
        (DeleteIsSeenByReaders, KIT.test_an_open_page_outlives_its_deletion),
        (DeleteAlwaysSaysYes, KIT.test_delete_tells_whether_the_page_was_there),
        (ListsWrongSizes, KIT.test_pages_gives_every_page_and_its_size),
        (NotDurable, lambda p: KIT.test_a_synced_page_is_there_after_opening_again(p, NotDurable)),
        (
            NotShared,
            lambda p: KIT.test_a_shared_store_shows_every_page_to_every_process(p, NotShared),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_liar_is_caught(liar, caught):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        caught(liar())
