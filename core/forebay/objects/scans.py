"""What under stores listed lately, so that they are not asked for it again at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass

from forebay.objects.mounts import Mount
from forebay.stores.listing import name_of
from forebay.types import CommonPrefix, ObjectInfo

LIMIT = 50_000
"""Entries that one process remembers."""

_Key = tuple[int, str, str, str]


@dataclass(frozen=True, slots=True)
class _Scan:
    """A run of a listing: whether it reached the end, and how long it may be believed."""

    entries: list[ObjectInfo | CommonPrefix]
    whole: bool
    began: int
    at: float


class Scans:
    """The listings that one process had from under stores, for the mount's `metadata_sync`.

    A scan is believed only while nothing was written or deleted through any process since it
    began: the catalog counts that by bucket. So what comes through us shows at once, and what
    comes from outside within the age. Under ``metadata_sync = "always"`` nothing is remembered.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._scans: dict[_Key, _Scan] = {}
        self._count = 0
        self._lock = threading.Lock()

    def find(
        self, mount: Mount, prefix: str, delimiter: str, start_after: str, changed: int
    ) -> _Scan | None:
        """Give the scan to believe; `changed` is the seq of the bucket's last change."""
        scan = self._scans.get((mount.generation, prefix, delimiter, start_after))
        if scan is None or scan.began < changed:
            return None
        age = mount.config.metadata_sync
        return scan if age is None or time.monotonic() - scan.at < age else None

    def listed(
        self,
        mount: Mount,
        prefix: str,
        delimiter: str,
        start_after: str,
        *,
        began: int,
        scan: _Scan | None,
    ) -> Generator[ObjectInfo | CommonPrefix, None, None]:
        """Give what `UnderStore.list` gives: what `scan` has, then what the store says now.

        `began` is the seq before the store is asked. What was given is remembered when the
        caller closes the iterator.
        """
        if mount.config.metadata_sync == 0.0:
            yield from mount.store.list(prefix, delimiter=delimiter, start_after=start_after)
            return
        entries: list[ObjectInfo | CommonPrefix] = []
        at, whole = time.monotonic(), False
        if scan is not None:
            began, at = scan.began, scan.at
            for entry in scan.entries:
                entries.append(entry)
                yield entry
            if scan.whole:
                return
        after = name_of(entries[-1]) if entries else start_after
        try:
            for entry in mount.store.list(prefix, delimiter=delimiter, start_after=after):
                entries.append(entry)
                yield entry
            whole = True
        finally:
            key = (mount.generation, prefix, delimiter, start_after)
            self._remember(key, _Scan(entries, whole, began, at))

    def _remember(self, key: _Key, scan: _Scan) -> None:
        with self._lock:
            # Taken out first, so that the oldest scan is always the first of the dictionary.
            for old in (key, *self._scans):
                if old == key or self._count + len(scan.entries) + 1 > self._limit:
                    gone = self._scans.pop(old, None)
                    self._count -= len(gone.entries) + 1 if gone else 0
            if len(scan.entries) < self._limit:
                self._scans[key] = scan
                self._count += len(scan.entries) + 1
