"""Read-ahead: what a client that reads an object range after range will ask for next."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from forebay.cache.fetch import Fetches, Source
from forebay.cache.fill import RUN
from forebay.types import ByteRange

_STREAMS = 4096
"""Most streams that are remembered."""
_LIFE = 30.0
"""Seconds after which a stream that does not go on is over."""
_RUNS = 8
"""Most runs that are fetched ahead of one stream."""


@dataclass(slots=True)
class _Stream:
    """Ranges of one object, each beginning where another ended."""

    pages: int
    ahead: int
    seen: float


class ReadAhead:
    """Finds out who reads on, and has that fetched while nobody waits for anything else.

    The first range of an object fetches nothing ahead, so random access costs nothing. Each
    range that begins where an earlier one ended doubles what is fetched behind it, from one
    page up to 8 runs. A stream that ends with pages fetched in vain halves the most for all.
    """

    def __init__(self, fetches: Fetches) -> None:
        self._fetches = fetches
        self._page = fetches.cache.page_size
        self._limit = max(1, _RUNS * RUN // self._page)
        self._in_run = max(1, RUN // self._page)
        self._lock = threading.Lock()
        self._most = self._limit
        # By segment and the byte that they go on with, the longest silent first.
        self._streams: OrderedDict[tuple[str, int], _Stream] = OrderedDict()

    @property
    def most(self) -> int:
        """Most pages that are fetched ahead of a stream now."""
        return self._most

    def note(self, source: Source, byte_range: ByteRange) -> None:
        """Take note that a range was asked for, and fetch ahead of it where it is one of many."""
        behind = -(-byte_range.stop // self._page)
        with self._lock:
            now = time.monotonic()
            self._forget_old(now)
            stream = self._streams.pop((source.segment, byte_range.start), None)
            if stream is None:
                stream = _Stream(0, 0, now)
            else:
                if stream.pages >= self._most:
                    self._most = min(2 * self._most, self._limit)
                stream.pages = min(max(1, 2 * stream.pages), self._most)
            if byte_range.stop >= source.size:
                return
            stream.seen = now
            first = max(behind, stream.ahead)
            stop = min(behind + stream.pages, -(-source.size // self._page))
            stream.ahead = max(stream.ahead, stop)
            self._streams[source.segment, byte_range.stop] = stream
        self._fetch(source, first, stop)

    def _fetch(self, source: Source, index: int, stop: int) -> None:
        while index < stop:
            if self._fetches.cache.holds_page(source.segment, index):
                index += 1
                continue
            end = min(stop, (index // self._in_run + 1) * self._in_run)
            fetch = self._fetches.try_join(source, index, end, attach=False)
            if fetch is None:
                return
            index = fetch.stop

    def _forget_old(self, now: float) -> None:
        """Forget the streams that are over, and learn from what they left unread."""
        while self._streams:
            (_, stop), stream = next(iter(self._streams.items()))
            if len(self._streams) < _STREAMS and now - stream.seen <= _LIFE:
                return
            self._streams.popitem(last=False)
            if stream.ahead * self._page > stop:
                self._most = max(1, self._most // 2)
