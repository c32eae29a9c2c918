"""Conformance kit for page stores: each test checks a sentence of the contract."""

# ruff: noqa: D102 - the name of a test is the sentence it checks

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from forebay.errors import StorageError
from forebay.stores.pages import PageReader, PageStore, PageWriter
from forebay.testing import elsewhere
from forebay.testing.elsewhere import Opening
from forebay.types import PageId

PAGE = PageId("018f-A_b", 1 << 20, 3)
ODD = bytes(range(256)) * 9 + b"end"


class PageStoreTests:
    """Every page store passes these.

    A subclass gives the fixture `pages`: a new, empty store that it closes afterwards. One
    that is `durable` or `shared_between_processes` gives `reopen` too: a function that opens
    the same place once more, and closes what it opened afterwards; with `opening` it is checked
    against processes that die, too.
    """

    @pytest.fixture
    def pages(self) -> PageStore:
        """Give a new, empty store."""
        raise NotImplementedError("give the fixture `pages`")

    @pytest.fixture
    def reopen(self) -> Callable[[], PageStore]:
        """Give a function that opens the same place once more."""

        def impossible() -> PageStore:
            raise NotImplementedError("give the fixture `reopen`: the store says it is durable")

        return impossible

    @pytest.fixture
    def opening(self) -> Opening | None:
        """Give the factory and the arguments that open the same place in another process."""
        return None

    # --- writing ---------------------------------------------------------------------------

    @pytest.mark.parametrize("announced", [True, False])
    @pytest.mark.parametrize("sync", [True, False])
    @pytest.mark.parametrize("length", [0, 1, len(ODD), (1 << 20) - 1, 1 << 20, (5 << 19) + 7])
    def test_a_page_holds_what_was_written(
        self, pages: PageStore, length: int, sync: bool, announced: bool
    ) -> None:
        content = (ODD * (length // len(ODD) + 1))[:length]
        writer = pages.writer(PAGE, length if announced else None)
        for start in range(0, length, 700_001):
            writer.write(content[start : start + 700_001])
        writer.commit(sync=sync)
        assert held(pages, PAGE) == content

    def test_the_memory_of_a_block_is_the_writers_again(self, pages: PageStore) -> None:
        writer = pages.writer(PAGE, 3 * len(ODD))
        room = bytearray(len(ODD))
        for _ in range(3):
            room[:] = ODD
            writer.write(memoryview(room))
            room[:] = bytes(len(ODD))
        writer.commit(sync=False)
        assert held(pages, PAGE) == 3 * ODD

    def test_nothing_is_visible_before_commit(self, pages: PageStore) -> None:
        writer = pages.writer(PAGE, len(ODD))
        writer.write(ODD)
        assert pages.open(PAGE) is None
        assert list(pages.pages()) == []
        writer.commit(sync=False)
        assert held(pages, PAGE) == ODD

    def test_an_aborted_page_is_never_seen(self, pages: PageStore) -> None:
        writer = pages.writer(PAGE, None)
        writer.write(ODD)
        writer.abort()
        writer.abort()
        assert pages.open(PAGE) is None
        assert list(pages.pages()) == []

    def test_abort_after_commit_is_harmless(self, pages: PageStore) -> None:
        writer = pages.writer(PAGE, None)
        writer.write(ODD)
        writer.commit(sync=False)
        writer.abort()
        assert held(pages, PAGE) == ODD

    @pytest.mark.parametrize("given", [b"", b"12345", b"1234567"])
    def test_a_page_of_another_size_than_announced_is_refused(
        self, pages: PageStore, given: bytes
    ) -> None:
        writer = pages.writer(PAGE, 6)
        with pytest.raises(StorageError):  # noqa: PT012 - either call may refuse
            writer.write(given)
            writer.commit(sync=False)
        writer.abort()
        assert pages.open(PAGE) is None
        assert list(pages.pages()) == []

    def test_writing_a_page_again_replaces_it_at_commit(self, pages: PageStore) -> None:
        put(pages, PAGE, b"old")
        reader = pages.open(PAGE)
        assert reader is not None
        writer = pages.writer(PAGE, 5)
        writer.write(b"newer")
        assert held(pages, PAGE) == b"old"
        writer.commit(sync=True)
        assert held(pages, PAGE) == b"newer"
        assert list(pages.pages()) == [(PAGE, 5)]
        assert reader.pread(9, 0) == b"old"
        reader.close()

    def test_pages_do_not_touch_each_other(self, pages: PageStore) -> None:
        ids = [
            PageId(segment, size, index)
            for segment in ("a", "b", "A", "a-1")
            for size, index in ((0, 0), (1024, 0), (1024, 1), (102, 41))
        ]
        for page in ids:
            put(pages, page, repr(page).encode())
        assert pages.delete(ids[3])
        for page in ids:
            assert held(pages, page) == (None if page == ids[3] else repr(page).encode())

    # --- reading ---------------------------------------------------------------------------

    def test_pread_gives_fewer_bytes_only_at_the_end(self, pages: PageStore) -> None:
        put(pages, PAGE, ODD)
        reader = pages.open(PAGE)
        assert reader is not None
        try:
            assert reader.size == len(ODD)
            assert reader.pread(10, 0) == ODD[:10]
            assert reader.pread(10, 255) == ODD[255:265]
            assert reader.pread(10, len(ODD) - 4) == ODD[-4:]
            assert reader.pread(10, len(ODD)) == b""
            assert reader.pread(10, len(ODD) + 9) == b""
        finally:
            reader.close()

    def test_the_descriptor_is_of_a_file_with_exactly_this_page(self, pages: PageStore) -> None:
        put(pages, PAGE, ODD)
        reader = pages.open(PAGE)
        assert reader is not None
        try:
            fd = reader.fileno()
            if fd is not None:
                assert os.fstat(fd).st_size == len(ODD)
                assert os.pread(fd, len(ODD) + 1, 0) == ODD
        finally:
            reader.close()

    def test_an_open_page_outlives_its_deletion(self, pages: PageStore) -> None:
        put(pages, PAGE, ODD)
        reader = pages.open(PAGE)
        assert reader is not None
        assert pages.delete(PAGE)
        assert reader.pread(len(ODD), 0) == ODD
        reader.close()
        assert pages.open(PAGE) is None

    def test_delete_tells_whether_the_page_was_there(self, pages: PageStore) -> None:
        put(pages, PAGE, ODD)
        assert [pages.delete(PAGE) for _ in range(2)] == [True, False]
        assert held(pages, PAGE) is None

    def test_pages_gives_every_page_and_its_size(self, pages: PageStore) -> None:
        assert list(pages.pages()) == []
        expected = {PageId(f"s{each % 7}", 1024, each): each for each in range(40)}
        for page, size in expected.items():
            put(pages, page, b"x" * size)
        found = list(pages.pages())
        assert len(found) == 40
        assert dict(found) == expected

    # --- many at once ----------------------------------------------------------------------

    def test_writers_of_one_page_leave_one_whole_page(self, pages: PageStore) -> None:
        wrong: list[str] = []

        def write(letter: bytes) -> None:
            for _ in range(10):
                put(pages, PAGE, letter * 5000)
                content = held(pages, PAGE)
                if content is None or len(content) != 5000 or len(set(content)) != 1:
                    wrong.append(f"{letter!r} met a torn page")

        threads = [threading.Thread(target=write, args=(each,)) for each in (b"a", b"b", b"c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert list(pages.pages()) == [(PAGE, 5000)]

    # --- life ------------------------------------------------------------------------------

    def test_a_synced_page_is_there_after_opening_again(
        self, pages: PageStore, reopen: Callable[[], PageStore]
    ) -> None:
        if not pages.durable:
            pytest.skip("the store says it is not durable")
        put(pages, PAGE, ODD)
        unfinished = pages.writer(PageId("unfinished"), None)
        unfinished.write(ODD)
        unfinished.abort()
        pages.close()
        again = reopen()
        assert list(again.pages()) == [(PAGE, len(ODD))]
        assert held(again, PAGE) == ODD

    def test_a_shared_store_shows_every_page_to_every_process(
        self, pages: PageStore, reopen: Callable[[], PageStore]
    ) -> None:
        if not pages.shared_between_processes:
            pytest.skip("the store says it is not shared between processes")
        writer = pages.writer(PAGE, None)
        writer.write(ODD)
        other = reopen()  # must not take the writer's page for a dead one's
        assert other.open(PAGE) is None
        writer.commit(sync=False)
        assert held(other, PAGE) == ODD
        assert other.delete(PAGE)
        assert pages.open(PAGE) is None

    def test_a_process_that_dies_leaves_whole_pages_only(
        self,
        pages: PageStore,
        reopen: Callable[[], PageStore],
        opening: Opening | None,
    ) -> None:
        if not (pages.durable or pages.shared_between_processes):
            pytest.skip("the store says it is neither durable nor shared between processes")
        if opening is None:
            pytest.skip("the test class does not say how another process opens the store")
        undone = PageId("undone", 1 << 20, 0)
        code = elsewhere.elsewhere(elsewhere.die_while_writing, opening, PAGE, undone, ODD)
        assert code == elsewhere.KILLED
        pages.close()
        again = reopen()
        assert list(again.pages()) == [(PAGE, len(ODD))]
        assert held(again, PAGE) == ODD
        assert again.open(undone) is None
        put(again, undone, ODD)
        assert held(again, undone) == ODD

    def test_it_behaves_like_a_dictionary(self, pages: PageStore) -> None:
        class Machine(PageStoreMachine):
            store = pages

        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=25,
                deadline=None,
                derandomize=True,
                database=None,
                report_multiple_bugs=False,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )


IDS = [PageId("m", 0), PageId("m", 1024, 0), PageId("m", 1024, 1), PageId("n", 1024, 0)]
_contents = st.binary(max_size=40)


class PageStoreMachine(RuleBasedStateMachine):
    """A page store and the dictionary it must be equal to, readers and writers under way too.

    A subclass gives `store`, which is emptied first.
    """

    store: PageStore

    def __init__(self) -> None:
        super().__init__()
        for page, _ in list(self.store.pages()):
            assert self.store.delete(page)
        self.model: dict[PageId, bytes] = {}
        self.writers: list[tuple[PageId, PageWriter, bytes]] = []
        self.readers: list[tuple[PageReader, bytes]] = []

    @initialize(page=st.sampled_from(IDS), contents=st.lists(_contents, max_size=3))
    def meet(self, page: PageId, contents: list[bytes]) -> None:
        """Begin some writers of one page: chance alone seldom makes two meet."""
        for content in contents:
            self.begin(page, content, known=True)

    @rule(page=st.sampled_from(IDS), content=_contents, known=st.booleans())
    def begin(self, page: PageId, content: bytes, known: bool) -> None:
        """Write a page, but do not commit it yet."""
        writer = self.store.writer(page, len(content) if known else None)
        writer.write(content)
        self.writers.append((page, writer, content))

    @precondition(lambda self: self.writers)
    @rule(first=st.booleans(), commits=st.booleans(), sync=st.booleans())
    def end(self, first: bool, commits: bool, sync: bool) -> None:
        """Commit or abort one of the pages under way."""
        page, writer, content = self.writers.pop(0 if first else -1)
        if commits:
            writer.commit(sync=sync)
            self.model[page] = content
        writer.abort()

    @rule(page=st.sampled_from(IDS))
    def delete(self, page: PageId) -> None:
        """Delete, there or not."""
        assert self.store.delete(page) == (self.model.pop(page, None) is not None)

    @rule(page=st.sampled_from(IDS))
    def open(self, page: PageId) -> None:
        """Open a page, and keep it open."""
        reader = self.store.open(page)
        assert (reader is None) == (page not in self.model)
        if reader is not None:
            self.readers.append((reader, self.model[page]))

    @precondition(lambda self: self.readers)
    @rule()
    def close(self) -> None:
        """Read and close the page that is open for longest."""
        reader, content = self.readers.pop(0)
        assert (reader.size, reader.pread(50, 0)) == (len(content), content)
        reader.close()

    @invariant()
    def everything_is_on_the_shelf(self) -> None:
        """Compare all pages, after every call."""
        found = list(self.store.pages())
        assert sorted(found, key=repr) == sorted(
            ((page, len(content)) for page, content in self.model.items()), key=repr
        )
        for page, content in self.model.items():
            assert held(self.store, page) == content

    def teardown(self) -> None:
        """Let go of what is under way."""
        for reader, _ in self.readers:
            reader.close()
        for _, writer, _ in self.writers:
            writer.abort()


def put(pages: PageStore, page: PageId, content: bytes) -> None:
    """Write a page."""
    writer = pages.writer(page, len(content))
    writer.write(content)
    writer.commit(sync=True)


def held(pages: PageStore, page: PageId) -> bytes | None:
    """Give the bytes of a page, or None where there is none."""
    reader = pages.open(page)
    if reader is None:
        return None
    try:
        content = reader.pread(reader.size + 1, 0)
        assert len(content) == reader.size
        return content
    finally:
        reader.close()
