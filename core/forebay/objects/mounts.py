"""The mount table: which under store holds a key, and under which name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from forebay.catalog import catalog, keys
from forebay.catalog.records import Record
from forebay.config import MountConfig
from forebay.errors import AccessDenied, ServiceUnavailable
from forebay.stores.metadata import Snapshot
from forebay.stores.under import UnderStore


@dataclass(frozen=True, slots=True)
class Mount:
    """An under store at a place of the namespace.

    `bucket` is None for the root mount, whose top-level prefixes are buckets; otherwise the
    mount covers the keys of `bucket` that begin with `prefix` ("" or ending with ``/``).
    `generation` changes when the path is pointed elsewhere: records of another one are void.
    `version` is that of the mount table this was taken from. While anybody has `hold`, the
    store is open.
    """

    config: MountConfig
    store: UnderStore
    generation: int
    bucket: str | None
    prefix: str
    version: int = 0
    hold: object = None

    @property
    def local_files(self) -> bool:
        """Whether objects are files of this machine, served from where they are."""
        return self.store.capabilities.local_files

    def under_key(self, bucket: str, key: str) -> str:
        """Give the name that a key of the namespace has in the under store."""
        return f"{bucket}/{key}" if self.bucket is None else key[len(self.prefix) :]

    def key(self, bucket: str, under_key: str) -> str:
        """Give the key of the namespace that an object of the under store has in `bucket`."""
        if self.bucket is None:
            return under_key[len(bucket) + 1 :]
        return self.prefix + under_key

    def check_writable(self) -> None:
        """Raise AccessDenied on a read-only mount."""
        if self.config.read_only:
            raise AccessDenied(f"the mount {self.config.path} is read-only")

    def check_mounted(
        self, snapshot: Snapshot, bucket: str, key: str, record: Record | None = None
    ) -> None:
        """Raise ServiceUnavailable unless this mount still holds a key, and made `record`.

        Called inside the transaction that writes what was found out or done through a mount
        taken earlier: mounts come and go meanwhile, in other processes too.
        """
        ours = record is None or record.generation == self.generation
        if not ours or not self.holds(snapshot, bucket, key):
            raise ServiceUnavailable("what is mounted here changed just now")

    def holds(self, snapshot: Snapshot, bucket: str, key: str) -> bool:
        """Tell whether this mount still holds a key, which it did when it was taken."""
        if catalog.get_number(snapshot, keys.MOUNTS) == self.version:
            return True
        if snapshot.get(keys.unmounted_row(self.generation)) is not None:
            return False
        own = len(self.config.path) if self.bucket is not None else 0
        points = (path for path in mount_points(bucket, key) if len(path) > own)
        return all(snapshot.get(keys.mounted_row(path)) is None for path in points)


def split_path(path: str) -> tuple[str | None, str]:
    """Give bucket and key prefix of a mount path.

    >>> split_path("/"), split_path("/raw"), split_path("/raw/old/archive")
    ((None, ''), ('raw', ''), ('raw', 'old/archive/'))
    """
    bucket, _, rest = path.strip("/").partition("/")
    return bucket or None, f"{rest}/" if rest else ""


def mount_points(bucket: str, key: str) -> Iterator[str]:
    """Give every path at which a mount would hold a key, ``/`` left out, the shortest first.

    >>> list(mount_points("raw", "old/archive/k")), list(mount_points("raw", "old/"))
    (['/raw', '/raw/old', '/raw/old/archive'], ['/raw'])
    """
    yield f"/{bucket}"
    at = key.find("/")
    while 0 <= at < len(key) - 1:
        yield f"/{bucket}/{key[:at]}"
        at = key.find("/", at + 1)


class Mounts:
    """All mounts by path, never changed; the longest prefix wins.

    An operation takes the table once. `version` is the catalog's count of changes.
    """

    def __init__(self, mounts: Mapping[str, Mount], version: int = 0) -> None:
        self.version = version
        self._root = mounts["/"]
        self._by_bucket: dict[str, list[Mount]] = {}
        for mount in mounts.values():
            if mount.bucket is not None:
                self._by_bucket.setdefault(mount.bucket, []).append(mount)
        for several in self._by_bucket.values():
            several.sort(key=lambda mount: len(mount.prefix), reverse=True)

    def __iter__(self) -> Iterator[Mount]:
        yield self._root
        for several in self._by_bucket.values():
            yield from several

    @property
    def root(self) -> Mount:
        """The mount at ``/``."""
        return self._root

    def find(self, bucket: str, key: str) -> Mount:
        """Give the mount that holds a key.

        The key that names a mount point itself (``archive/``) belongs to the mount around it.
        """
        for mount in self._by_bucket.get(bucket, ()):
            if key.startswith(mount.prefix) and (key != mount.prefix or not mount.prefix):
                return mount
        return self._root

    def inside(self, mount: Mount, bucket: str) -> list[str]:
        """Give the prefixes of the keys of `bucket` that mounts inside `mount` hold, sorted."""
        return sorted(
            other.prefix
            for other in self._by_bucket.get(bucket, ())
            if other is not mount and other.prefix.startswith(mount.prefix)
        )

    def of_bucket(self, bucket: str) -> list[Mount]:
        """Give every mount that holds keys of a bucket, the outermost first."""
        inner = self._by_bucket.get(bucket, [])[::-1]
        return inner if inner and not inner[0].prefix else [self._root, *inner]

    def buckets(self) -> list[str]:
        """Give the buckets that mount points make, sorted."""
        return sorted(self._by_bucket)
