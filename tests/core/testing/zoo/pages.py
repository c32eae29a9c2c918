"""Page stores with one lie each; every one is honest in all the rest."""

from __future__ import annotations

import os
import time

import pytest

from forebay.testing import PageStoreTests
from forebay.types import PageId
from forebay_local.pages import DiskPageStore
from forebay_memory.pages import MemoryPageReader, MemoryPageStore, MemoryPageWriter


class Honest(MemoryPageStore):
    """The store in memory, which forgets."""


class HonestFiles(DiskPageStore):
    """The store of files, which remembers and is seen by others."""


class TestHonest(PageStoreTests):
    store = Honest

    @pytest.fixture
    def pages(self):
        return self.store()

    @pytest.fixture
    def reopen(self):
        return self.store

    @pytest.fixture
    def opening(self):
        return self.store, ()


class TestHonestFiles(PageStoreTests):
    store = HonestFiles

    @pytest.fixture
    def reopen(self, tmp_path):
        return lambda: self.store(tmp_path)

    @pytest.fixture
    def pages(self, reopen):
        return reopen()

    @pytest.fixture
    def opening(self, tmp_path):
        return self.store, (tmp_path,)


class VisibleBeforeCommit(Honest):
    caught_by = "test_nothing_is_visible_before_commit"

    def writer(self, page, /, size):
        store = self

        class Writer(MemoryPageWriter):
            def write(self, block):
                super().write(block)
                store._keep(page, bytes(self._content))

        return Writer(self, page, size)


class KeepsWhatIsLentToIt(Honest):
    caught_by = "test_the_memory_of_a_block_is_the_writers_again"

    def writer(self, page, /, size):
        class Writer(MemoryPageWriter):
            lent = ()

            def write(self, block):
                self.lent = (*self.lent, block)

            def commit(self, *, sync):
                for block in self.lent:
                    super().write(block)
                super().commit(sync=sync)

        return Writer(self, page, size)


class AbortCommits(Honest):
    caught_by = "test_an_aborted_page_is_never_seen"

    def writer(self, page, /, size):
        store = self

        class Writer(MemoryPageWriter):
            def abort(self):
                if self._content is not None:
                    store._keep(page, bytes(self._content))
                super().abort()

        return Writer(self, page, size)


class AbortRemovesTheCommitted(Honest):
    caught_by = "test_abort_after_commit_is_harmless"

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


class TakesAnySize(Honest):
    caught_by = "test_a_page_of_another_size_than_announced_is_refused"

    def writer(self, page, /, size):
        return super().writer(page, None)


class ForgetsTheIndex(Honest):
    caught_by = "test_pages_do_not_touch_each_other"

    def writer(self, page, /, size):
        return super().writer(PageId(page.segment, page.page_size), size)

    def open(self, page, /):
        return super().open(PageId(page.segment, page.page_size))


class KeepsTheOld(Honest):
    caught_by = "test_writing_a_page_again_replaces_it_at_commit"

    def _keep(self, page, content):
        if page not in self._shelf:
            super()._keep(page, content)


class ShortReads(Honest):
    caught_by = "test_pread_gives_fewer_bytes_only_at_the_end"

    def open(self, page, /):
        class Reader(MemoryPageReader):
            def pread(self, length, offset):
                return super().pread(min(length, 7), offset)

        reader = super().open(page)
        return reader and Reader(reader._content)


class PaddedFile(Honest):
    """Gives the descriptor of a file that holds more than the page."""

    caught_by = "test_the_descriptor_is_of_a_file_with_exactly_this_page"

    def open(self, page, /):
        reader = super().open(page)
        if reader is not None:
            fd = os.memfd_create("page")
            os.write(fd, reader._content + b"\0")
            reader.fileno = lambda: fd
            reader.close = lambda: os.close(fd)
        return reader


class DeleteIsSeenByReaders(Honest):
    caught_by = "test_an_open_page_outlives_its_deletion"

    def open(self, page, /):
        store, reader = self, super().open(page)
        if reader is not None:
            reader.pread = lambda length, at: store._shelf.get(page, b"")[at : at + length]
        return reader


class DeleteAlwaysSaysYes(Honest):
    caught_by = "test_delete_tells_whether_the_page_was_there"

    def delete(self, page, /):
        super().delete(page)
        return True


class ListsWrongSizes(Honest):
    caught_by = "test_pages_gives_every_page_and_its_size"

    def pages(self):
        return iter([(page, 1 << 20) for page, _ in super().pages()])


class NotDurable(Honest):
    beside = "HonestFiles"
    caught_by = "test_a_synced_page_is_there_after_opening_again"

    durable = True


class NotShared(Honest):
    beside = "HonestFiles"
    caught_by = "test_a_shared_store_shows_every_page_to_every_process"

    shared_between_processes = True


class KeepsWholeMebibytes(Honest):
    caught_by = "test_a_page_holds_what_was_written"

    def _keep(self, page, content):
        super()._keep(page, content[: 1 << 20])


class SharesOneBuffer(Honest):
    caught_by = "test_writers_of_one_page_leave_one_whole_page"

    def __init__(self):
        super().__init__()
        self.buffers = {}

    def writer(self, page, /, size):
        store = self

        class Writer(MemoryPageWriter):
            def write(self, block):
                buffer = store.buffers[page] = bytearray()
                for at in range(0, len(block), 1000):
                    buffer += block[at : at + 1000]
                    time.sleep(0.0001)  # another writer begins meanwhile
                super().write(bytes(store.buffers[page]))

        return Writer(self, page, None)


class LastBegunWins(Honest):
    caught_by = "test_it_behaves_like_a_dictionary"

    def __init__(self):
        super().__init__()
        self.latest = {}

    def writer(self, page, /, size):
        store = self

        class Writer(MemoryPageWriter):
            def commit(self, *, sync):
                if store.latest[page] is self:
                    super().commit(sync=sync)

        self.latest[page] = Writer(self, page, size)
        return self.latest[page]


class ShowsHalfPages(HonestFiles):
    caught_by = "test_a_process_that_dies_leaves_whole_pages_only"

    def writer(self, page, /, size):
        inner = super().writer(page, None)
        write = inner.write

        def write_through(block):
            write(block)
            inner.commit(sync=False)
            inner.commit = lambda *, sync: None

        inner.write = write_through
        return inner


class LeavesTheDeadInSight(HonestFiles):
    caught_by = "test_a_process_that_dies_leaves_whole_pages_only"

    def pages(self):
        yield from super().pages()
        for folder in self._root.rglob("*"):
            if folder.is_file() and "data" not in folder.parts:
                yield PageId(folder.name), folder.stat().st_size


LIARS = [found for found in list(vars().values()) if "caught_by" in getattr(found, "__dict__", ())]
for _liar in LIARS:
    _honest = TestHonestFiles if issubclass(_liar, HonestFiles) else TestHonest
    _name = f"Test{_liar.__name__}"
    globals()[_name] = type(_name, (_honest,), {"store": _liar})
