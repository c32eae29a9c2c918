"""What happened, told to plugins through the hook `track_event` after the fact is committed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events; a new event never changes the hook."""


@dataclass(frozen=True, slots=True)
class ObjectWritten(Event):
    """An object became visible."""

    bucket: str
    key: str
    size: int
    etag: str
    write_type: str


@dataclass(frozen=True, slots=True)
class ObjectDeleted(Event):
    """An object is gone from the namespace."""

    bucket: str
    key: str
    delete_type: str


@dataclass(frozen=True, slots=True)
class ObjectPersisted(Event):
    """An ASYNC_THROUGH object reached its under store."""

    bucket: str
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class PersistFailed(Event):
    """One attempt to persist an object failed; `parked` says that only an operator can help."""

    bucket: str
    key: str
    attempts: int
    reason: str
    parked: bool


@dataclass(frozen=True, slots=True)
class SyncConflict(Event):
    """The object that an unpersisted one replaced was changed outside; the client's write won."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class BucketCreated(Event):
    """A bucket was created."""

    bucket: str
    owner: str | None


@dataclass(frozen=True, slots=True)
class BucketDeleted(Event):
    """A bucket was deleted."""

    bucket: str
    delete_type: str


@dataclass(frozen=True, slots=True)
class MountAdded(Event):
    """An under store was mounted at run time; `under` is its URI without a password."""

    path: str
    under: str


@dataclass(frozen=True, slots=True)
class MountRemoved(Event):
    """An under store was unmounted at run time; `forced` says that unpersisted data may be lost."""

    path: str
    forced: bool


@dataclass(frozen=True, slots=True)
class UploadExpired(Event):
    """An abandoned multipart upload was aborted."""

    bucket: str
    key: str
    upload_id: str


@dataclass(frozen=True, slots=True)
class PageCorrupt(Event):
    """A page did not hold the bytes that were put there."""

    tier: str
    segment: str
    unpersisted: bool


@dataclass(frozen=True, slots=True)
class LoadEnded(Event):
    """A load job has brought all it could."""

    load: int
    path: str
    objects: int
    failed: int


@dataclass(frozen=True, slots=True)
class TierFailed(Event):
    """The disk of a tier fails or is gone: reads go past it, nothing is written to it."""

    tier: str
    reason: str


@dataclass(frozen=True, slots=True)
class TierRecovered(Event):
    """A tier that had failed takes pages again."""

    tier: str


@dataclass(frozen=True, slots=True)
class BreakerOpened(Event):
    """An under store fails again and again: its `operations` are left alone for a while."""

    under: str
    operations: str
    reason: str


@dataclass(frozen=True, slots=True)
class BreakerClosed(Event):
    """An under store answers again."""

    under: str
    operations: str
