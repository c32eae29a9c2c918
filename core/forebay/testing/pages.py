"""Conformance kit for page stores: each test checks a sentence of the contract."""

# ruff: noqa: D102 - the name of a test is the sentence it checks

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from forebay.errors import StorageError
from forebay.stores.pages import PageStore
from forebay.types import PageId

PAGE = PageId("018f-A_b", 1 << 20, 3)
ODD = bytes(range(256)) * 9 + b"end"


class PageStoreTests:
    """Every page store passes these.

    A subclass gives the fixture `pages`: a new, empty store that it closes afterwards. One
    that is `durable` or `shared_between_processes` gives `reopen` too: a function that opens
    the same place once more, and closes what it opened afterwards.
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
