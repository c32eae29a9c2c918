"""What coarse times prove: where a clock shows seconds, two versions within one look the same.

A file whose time is that of this very second may be written over within it and keep size and
time; git calls such a file racily clean. Such a look is taken again when the second is over.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from forebay.errors import SourceChanged
from forebay_fsspec.files import Entry, Source

_SLACK: Final = 0.1
"""Seconds between the time that a file shows and the end of the write that it is of."""
_ATTEMPTS: Final = 6
_REMEMBERED: Final = 10_000
"""Paths of which is known how they were last seen."""


@dataclass(frozen=True, slots=True)
class _Seen:
    entry: Entry
    due: float
    """From when on (monotonic) a look that still shows this entry proves which version it is."""


class Clock:
    """The clock of one server, which tells times in steps of `tick` seconds; 0: fine enough.

    `skew` is by how many seconds at most it is taken to differ from ours. Of a file that may
    have been changed a moment ago only one thing is believed: that a look a tick later, by our
    own steady clock, shows another time if it was written to in between.
    """

    def __init__(
        self,
        tick: float,
        skew: float,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tick = tick
        self.skew = skew
        self._steady = steady
        self._wall = wall
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def look_at_rest(self, path: str, look: Callable[[str], Entry | None]) -> Entry | None:
        """Give what `look` shows at a path, a second time when the first proves nothing yet.

        What was written to in between gets a fingerprint that no other look will give.
        """
        asked = self._steady()
        entry = look(path)
        pause = 0.0 if entry is None else self.wait(path, entry, asked)
        if not pause:
            return entry
        time.sleep(pause)
        asked = self._steady()
        entry = look(path)
        if entry is not None and self.wait(path, entry, asked):
            return replace(entry, fingerprint=f"{entry.fingerprint}~{secrets.token_hex(8)}")
        return entry

    def open_at_rest(self, path: str, open_file: Callable[[str], Source]) -> Source:
        """Give the open file at a path when its time proves which version it is.

        Raises SourceChanged when that does not come about, and what `open_file` raises.
        """
        for _ in range(_ATTEMPTS):
            asked = self._steady()
            source = open_file(path)
            pause = self.wait(path, source.entry, asked)
            if not pause:
                return source
            source.close()
            time.sleep(pause)
        raise SourceChanged(f"{path!r} is written to all the time")

    def wait(self, path: str, entry: Entry, asked: float) -> float:
        """Give the seconds after which to look again, because `entry` proves nothing yet.

        It is what a look showed that began at `asked` on the steady clock. 0: whatever is
        written to the file from now on gives it another time.
        """
        if not self.tick or entry.is_directory:
            return 0.0
        age = self._wall() - entry.modified.timestamp()
        # A time of the future is none that a write would give the file now.
        if not -self.skew <= age < self.tick + self.skew + _SLACK:
            return 0.0
        now = self._steady()
        with self._lock:
            seen = self._seen.get(path)
            if seen is None or seen.entry.fingerprint != entry.fingerprint:
                seen = _Seen(entry, now + self.tick + _SLACK)
                self._remember(path, seen)
        return 0.0 if asked >= seen.due else max(seen.due - now, 0.001)

    def compare(self, written: Entry) -> None:
        """Learn from a file that the server has just written how far its clock is from ours."""
        if self.tick:
            apart = abs(self._wall() - written.modified.timestamp())
            self.skew = max(self.skew, apart + self.tick if apart > self.tick else 0.0)

    def own(self, path: str, entry: Entry) -> None:
        """Note what we have put, under a time that no other write can give the file."""
        if self.tick:
            with self._lock:
                self._remember(path, _Seen(entry, self._steady()))

    def latest(self, path: str, there: Entry | None) -> Entry | None:
        """Give what has the newest time of what is at a path, and of what was seen there."""
        with self._lock:
            seen = self._seen.get(path)
        if seen is None or (there is not None and there.modified >= seen.entry.modified):
            return there
        return seen.entry

    def _remember(self, path: str, seen: _Seen) -> None:
        self._seen[path] = seen
        self._seen.move_to_end(path)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)


def time_for(written: Entry, than: Entry | None) -> int:
    """Give the time (s since 1970) for a file of ours that the server has just `written`.

    A second before: whoever writes over it from now on gives it a later one. A second behind
    what it replaces, if that is later: two versions never have one time.
    """
    over = int(written.modified.timestamp()) - 1
    return over if than is None else max(over, int(than.modified.timestamp()) + 1)
