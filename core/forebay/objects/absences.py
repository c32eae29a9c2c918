"""What under stores did not have a moment ago, so that they are not asked for it again at once."""

from __future__ import annotations

import threading
import time

from forebay.objects.mounts import Mount

LIMIT = 16384


class Absences:
    """The keys that one process asked for in vain, for the mount's `negative_sync`; bounded.

    Believed only when the catalog knows nothing of a key, so what any process writes is seen
    at once. Under ``metadata_sync = "always"`` nothing is remembered.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._asked: dict[tuple[int, int, str], float] = {}
        self._lock = threading.Lock()

    def believed(self, mount: Mount, bucket_id: int, key: str) -> bool:
        """Tell whether the store said not long ago that it has no such key."""
        asked = self._asked.get((mount.generation, bucket_id, key))
        return asked is not None and time.monotonic() - asked < _age(mount)

    def note(self, mount: Mount, bucket_id: int, key: str, asked: float) -> None:
        """Remember that the store was asked in vain, at `asked` on the monotonic clock."""
        if not _age(mount):
            return
        with self._lock:
            # Taken out first, so that the oldest answer is always the first of the dictionary.
            self._asked.pop((mount.generation, bucket_id, key), None)
            self._asked[mount.generation, bucket_id, key] = asked
            while len(self._asked) > self._limit:
                del self._asked[next(iter(self._asked))]


def _age(mount: Mount) -> float:
    return 0.0 if mount.config.metadata_sync == 0.0 else mount.config.negative_sync
