"""The under store in the memory of one process: gone with it, and exact in all it claims."""

from __future__ import annotations

import difflib
import hashlib
import secrets
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from forebay.errors import (
    ConfigurationError,
    InvalidKey,
    NotFound,
    NotSupported,
    PreconditionFailed,
    StorageError,
)
from forebay.stores.listing import after_all, passed_over, rolled
from forebay.streams import BLOCK, Reader
from forebay.types import Attributes, ByteRange, Capabilities, CommonPrefix, ObjectInfo

_OPTIONS = ("durability",)  # every store is handed it; there is nothing to make durable here
_BATCH = 256


@dataclass(frozen=True, slots=True)
class _Object:
    info: ObjectInfo
    content: bytes


class MemoryReader:
    """Gives a range of the bytes of one version."""

    def __init__(self, info: ObjectInfo, content: bytes) -> None:
        self._rest = memoryview(content)
        self.info = info

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes."""
        block = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        return block

    def read_into(self, room: memoryview, /) -> int:
        """Do as `read`, into `room`."""
        count = min(len(room), len(self._rest))
        room[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def fileno(self) -> int:
        """Raise NotSupported: there is no file."""
        raise NotSupported("an object in memory has no file")


class MemoryUnderStore:
    """Objects in a dictionary beside a sorted list of its keys; every instance is its own."""

    capabilities = Capabilities(
        any_key=True,
        atomic_put=True,
        conditional_put=True,
        attributes=True,
        strong_etag=True,
        persistent=False,
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._keys: list[str] = []
        self._life = secrets.token_hex(4)  # versions of another life are not taken for ours
        self._versions = 0

    @classmethod
    def from_uri(cls, uri: str, options: Mapping[str, Any]) -> MemoryUnderStore:
        """Open an empty store for ``memory://``. Raises ConfigurationError."""
        cls.check(uri, options)
        return cls()

    @staticmethod
    def check(uri: str, options: Mapping[str, Any]) -> None:
        """Raise ConfigurationError with every fault."""
        faults = []
        if not uri.startswith("memory://"):
            faults.append(f"{uri!r}: write memory://")
        for name in options:
            if name not in _OPTIONS:
                near = difflib.get_close_matches(name, _OPTIONS, n=1, cutoff=0) or [""]
                faults.append(f"{name!r} is no option of a memory:// store; nearest: {near[0]!r}")
        if faults:
            raise ConfigurationError(*faults)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._objects.clear()
            self._keys.clear()

    def head(self, key: str, /) -> ObjectInfo:
        """Tell of one object. Raises NotFound."""
        return self._get(key).info

    @contextmanager
    def open(
        self, key: str, /, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> Iterator[MemoryReader]:
        """Open an object for reading. Raises NotFound, PreconditionFailed."""
        found = self._get(key)
        if if_match is not None and if_match != found.info.fingerprint:
            raise PreconditionFailed(f"{key!r} is not the version {if_match}")
        chosen = found.content
        if byte_range is not None:
            chosen = chosen[byte_range.start : byte_range.stop]
        yield MemoryReader(found.info, chosen)

    def put(
        self,
        key: str,
        /,
        body: Reader,
        *,
        size: int | None,
        attributes: Attributes,
        if_match: str | None = None,
        if_none_match: bool = False,
    ) -> ObjectInfo:
        """Store an object whole, or not at all. Raises PreconditionFailed."""
        _check(key)
        content = b"".join(iter(lambda: body.read(BLOCK), b""))
        if size is not None and len(content) != size:
            raise StorageError(f"{key!r}: the body is not of the {size} bytes announced")
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        kept = Attributes(
            dict(attributes.headers), dict(attributes.metadata), dict(attributes.tags)
        )
        with self._lock:
            found = self._objects.get(key)
            if if_none_match and found is not None:
                raise PreconditionFailed(f"{key!r} is there")
            if if_match is not None and (found is None or found.info.fingerprint != if_match):
                raise PreconditionFailed(f"{key!r} is not the version {if_match}")
            self._versions += 1
            version = f"{self._life}-{self._versions}"
            info = ObjectInfo(key, len(content), datetime.now(UTC), version, etag, kept)
            if found is None:
                insort(self._keys, key)
            self._objects[key] = _Object(info, content)
        return info

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success."""
        _check(key)
        with self._lock:
            if self._objects.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def list(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = ""
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List objects in order; holds the lock for a batch at a time only."""
        after, stop = start_after, after_all(prefix)
        at_least = prefix
        while True:
            with self._lock:
                at = max(bisect_right(self._keys, after), bisect_left(self._keys, at_least))
                batch = [self._objects[key].info for key in self._keys[at : at + _BATCH]]
            if not batch:
                return
            for info in batch:
                if stop is not None and info.key >= stop:
                    return
                common = rolled(info.key, prefix, delimiter)
                if common is None:
                    after = info.key
                    yield info
                    continue
                if not passed_over(common, start_after):
                    yield CommonPrefix(common)
                beyond = after_all(common)
                if beyond is None:
                    return
                at_least = beyond  # seek behind the whole of it
                break

    def _get(self, key: str) -> _Object:
        _check(key)
        with self._lock:
            found = self._objects.get(key)
        if found is None:
            raise NotFound(f"{key!r}: there is no such object")
        return found


def _check(key: str) -> None:
    try:
        valid = bool(key.encode()) and "\0" not in key
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise InvalidKey(f"{key!r} is no key: keys are 1 or more characters of UTF-8 without NUL")
