"""The mount table: which under store holds a key, and under which name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from forebay.config import MountConfig
from forebay.errors import AccessDenied
from forebay.stores.under import UnderStore


@dataclass(frozen=True, slots=True)
class Mount:
    """An under store at a place of the namespace.

    `bucket` is None for the root mount, whose top-level prefixes are buckets; otherwise the
    mount covers the keys of `bucket` that begin with `prefix` ("" or ending with ``/``).
    `generation` changes when the path is pointed elsewhere: records of another one are void.
    """

    config: MountConfig
    store: UnderStore
    generation: int
    bucket: str | None
    prefix: str

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


def split_path(path: str) -> tuple[str | None, str]:
    """Give bucket and key prefix of a mount path.

    >>> split_path("/"), split_path("/raw"), split_path("/raw/old/archive")
    ((None, ''), ('raw', ''), ('raw', 'old/archive/'))
    """
    bucket, _, rest = path.strip("/").partition("/")
    return bucket or None, f"{rest}/" if rest else ""


class Mounts:
    """All mounts by path; the longest prefix wins."""

    def __init__(self, mounts: Mapping[str, Mount]) -> None:
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

    def of_bucket(self, bucket: str) -> list[Mount]:
        """Give every mount that holds keys of a bucket, the outermost first."""
        inner = self._by_bucket.get(bucket, [])[::-1]
        return inner if inner and not inner[0].prefix else [self._root, *inner]

    def buckets(self) -> list[str]:
        """Give the buckets that mount points make, sorted."""
        return sorted(self._by_bucket)
