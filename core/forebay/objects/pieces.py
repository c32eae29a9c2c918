"""The pieces of one object: where each lies, how it was used, and what those cost that do not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from forebay.cache.cache import Cache
from forebay.cache.fill import RUN, fetch_stop
from forebay.catalog.records import SegmentRef
from forebay.types import PageId

Found = Sequence[tuple[str, int]]
"""The tiers that a page lies on, the fastest first, and its size there."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One page of an object, or one of the segments it was written in: bytes `start` to `stop`.

    `tiers` hold it, the fastest first; `hits` on all of them. Of a piece that is nowhere,
    `evicted` says why it went last (``room``, ``quota``, ``corrupt``), from `evicted_from` at
    `evicted_at` (s since 1970), as far as that is remembered.
    """

    kind: str
    index: int
    start: int
    stop: int
    tiers: list[str]
    hits: int = 0
    evicted: str = ""
    evicted_from: str = ""
    evicted_at: float = 0.0


class Shelves:
    """What lies on the shelves, for as long as one question is answered.

    They are asked for each page of an object, or listed once where less lies on them: of an
    object larger than all tiers few pages can be there.
    """

    def __init__(self, cache: Cache, segments: Collection[str]) -> None:
        """Look at nothing yet; `segments` are those that will be asked for."""
        self._cache = cache
        self._segments = segments
        self._left: int | None = None
        self._listed: dict[str, dict[int, list[tuple[str, int]]]] | None = None

    def pages(self, segment: str, first: int, stop: int) -> Mapping[int, Found]:
        """Give the pages of a segment that are there, of those from `first` to `stop`."""
        if self._left is None:
            self._left = sum(tier.pages for tier in self._cache.room())
        page_size, find = self._cache.page_size, self._cache.find
        if self._listed is None:
            self._left -= stop - first
            if self._left >= 0:
                found = ((i, find(PageId(segment, page_size, i))) for i in range(first, stop))
                return {index: on for index, on in found if on}
            self._listed = {}
            for tier, page, size in self._cache.segments():
                if page.page_size == page_size and page.segment in self._segments:
                    of_segment = self._listed.setdefault(page.segment, {})
                    of_segment.setdefault(page.index, []).append((tier, size))
        there = self._listed.get(segment, {})
        return {index: there[index] for index in sorted(there) if first <= index < stop}


def segment_pieces(cache: Cache, refs: Sequence[SegmentRef], first: int = 0) -> Iterator[Piece]:
    """Give the segments that an object was written in, from number `first`."""
    start = 0
    for index, ref in enumerate(refs):
        if ref.segment and ref.length and index >= first:
            page = PageId(ref.segment)
            hits = cache.hits(ref.segment, 0, 0, 1).get(0, 0)
            tiers = [tier for tier, _ in cache.find(page)]
            gone = None if tiers else cache.evictions(ref.segment).get(page)
            why = (gone.why, gone.tier, gone.at) if gone else ()
            yield Piece("segment", index, start, start + ref.length, tiers, hits, *why)
        start += ref.length


def page_pieces(
    cache: Cache, segment: str, size: int, there: Mapping[int, Found], first: int, stop: int
) -> Iterator[Piece]:
    """Give pages `first` to `stop` of a segment of `size` bytes, of which `there` are near."""
    page_size = cache.page_size
    hits = cache.hits(segment, page_size, first, stop)
    evictions = cache.evictions(segment) if first < stop else {}
    for index in range(first, stop):
        tiers = [tier for tier, _ in there.get(index, ())]
        gone = None if tiers else evictions.get(PageId(segment, page_size, index))
        why = (gone.why, gone.tier, gone.at) if gone else ()
        start = index * page_size
        end = min(start + page_size, size)
        yield Piece("page", index, start, end, tiers, hits.get(index, 0), *why)


def fetches(there: Collection[int], page: int, size: int) -> tuple[int, int]:
    """Count the requests, and the bytes, that bring what is not `there` of `size` bytes.

    Takes time in proportion to the runs of which a page is there.
    """
    pages, in_run = -(-size // page), max(1, RUN // page)
    runs = {index // in_run for index in there}
    requests, asked = -(-pages // in_run) - len(runs), size
    for run in runs:
        at, stop = run * in_run, min(pages, (run + 1) * in_run)
        asked -= min(stop * page, size) - at * page
        while at < stop:
            if at in there:
                at += 1
                continue
            end = fetch_stop(at, pages, page, lambda other: other in there)
            requests += 1
            asked += min(end * page, size) - at * page
            at = end
    return requests, asked
