"""What every object operation works with."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from forebay.cache.cache import Cache
from forebay.cache.fetch import Fetches
from forebay.catalog.catalog import Catalog
from forebay.catalog.records import Bucket, Intent
from forebay.config import Config
from forebay.errors import KeyTooLongError, ServiceUnavailable, StorageError
from forebay.events import Event
from forebay.objects.absences import Absences
from forebay.objects.mounts import Mounts
from forebay.objects.owners import Owner
from forebay.plugins import Hooks
from forebay.types import ObjectInfo

log = logging.getLogger("forebay.objects")

KEY_LIMIT = 1024
MD5_OF_NOTHING = hashlib.md5(b"", usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Shared:
    """Configuration, catalog, cache, mounts and hooks of one open Forebay.

    `mounts` is replaced whole at run time: an operation takes it once.
    """

    config: Config
    catalog: Catalog
    cache: Cache
    fetches: Fetches
    mounts: Mounts
    hooks: Hooks
    owner: Owner
    trash_waits: threading.Event = field(default_factory=threading.Event)
    jobs_wait: threading.Event = field(default_factory=threading.Event)
    loads_wait: threading.Event = field(default_factory=threading.Event)
    void_waits: threading.Event = field(default_factory=threading.Event)
    """Set when mounts have changed: records of what is not mounted any more may be swept."""
    absences: Absences = field(default_factory=Absences)
    pinned: Callable[[str], bool] = lambda segment: False
    """Tells whether an operator wants a segment to stay in the cache."""
    unsettled: list[tuple[Bucket, str, Intent]] = field(default_factory=list)
    """Intents of this process whose store did not answer; housekeeping asks again."""

    def track(self, event: Event) -> None:
        """Tell plugins what is committed; their faults are logged and go no further."""
        try:
            self.hooks.track_event(event=event)
        except Exception:
            log.exception("a plugin failed on %s", type(event).__name__)

    @property
    def sync_writes(self) -> bool:
        """Whether an acknowledged write has to survive a power cut."""
        return self.config.durability == "disk"


def now_ms() -> int:
    """Give the wall clock in ms since 1970; only ever for people to read and for time-outs."""
    return time.time_ns() // 1_000_000


def derived_etag(fingerprint: str) -> str:
    """Make an ETag for an object whose MD5 is unknown; the dash keeps it from looking like one."""
    return hashlib.md5(fingerprint.encode(), usedforsecurity=False).hexdigest() + "-1"


def check_stored(info: ObjectInfo, size: int) -> None:
    """Raise StorageError when an under store says that it holds something else than it was given.

    Of its ETag only that of nothing counts: where a store encrypts with keys of its own
    (SSE-KMS), the others are no MD5s and look like them.
    """
    if info.size != size or (size and info.etag == MD5_OF_NOTHING):
        raise StorageError(
            f"the under store says that it holds {info.size if info.size != size else 0} bytes"
            f" of {info.key!r} and was given {size}"
        )


def store_is_down(where: str, failure: Exception) -> ServiceUnavailable:
    """Make what a client is told of a store that is down; the log is told why."""
    log.warning("the under store of %s is down: %s", where, failure)
    return ServiceUnavailable(f"the under store of {where} is down")


def check_key(key: str) -> None:
    """Raise KeyTooLongError for a key over 1,024 bytes."""
    if len(key) > KEY_LIMIT // 4 and len(key.encode()) > KEY_LIMIT:
        raise KeyTooLongError(Size=str(len(key.encode())), MaxSizeAllowed=str(KEY_LIMIT))
