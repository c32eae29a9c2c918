"""A bucket by the library: native code, for every key that it takes unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import obstore

from forebay.errors import InvalidKey, NotFound, NotSupported, PreconditionFailed, StorageError
from forebay.stores.listing import after_all, passed_over, rolled
from forebay.types import Attributes, CommonPrefix, ObjectInfo
from forebay_obstore import attributes as native
from forebay_obstore import keys
from forebay_obstore import library_faults as faults
from forebay_obstore.carrier import (
    PARTS_IN_FLIGHT,
    Condition,
    Stream,
    bare,
    part_size,
    quoted,
    told,
)
from forebay_obstore.uri import GCS

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore

_PAGE = 1000
_CHUNK = 128 << 10
"""Bytes that come together: each piece costs a change of threads, and TLS gives 16 KiB."""


class Library:
    """Carries requests to `store`, a store of `provider`; `pool` looks at several keys at once."""

    def __init__(
        self, provider: str, store: GCSStore | AzureStore, pool: ThreadPoolExecutor
    ) -> None:
        self._provider = provider
        self._store = store
        self._pool = pool

    def takes(self, key: str) -> bool:
        """Tell whether `key` arrives at the store as it is."""
        return keys.is_plain(key, self._provider)

    def _path(self, key: str) -> str:
        """Give the name that the store is told. Raises InvalidKey."""
        if key.endswith("/"):
            path = f"{key}{keys.MARK}"
        else:
            path = key
            if key.endswith(f"/{keys.MARK}"):
                raise InvalidKey(f"{key!r} is the name of a folder's marker")
        if not self.takes(path):
            raise InvalidKey(f"{key!r}: the library changes names like that")
        return path

    # --- looking ---------------------------------------------------------------------

    def head(self, key: str, /, *, tags: bool = True) -> ObjectInfo:
        """Tell of one object. Raises NotFound."""
        try:
            path = self._path(key)
        except InvalidKey as error:
            raise NotFound(str(error)) from error
        try:
            with faults.Translated(key):
                found = obstore.get(self._store, path, options={"head": True})
                return self._told(found.meta, key, found.attributes)
        except NotFound:
            if not key.endswith("/"):
                raise
            return self._foreign_marker(key)

    def stream(self, key: str, start: int, stop: int, etag: str, /) -> Stream:
        """Get bytes of the version with `etag`, in one request."""
        with faults.Translated(key):
            found = obstore.get(
                self._store,
                self._path(key),
                options={"range": (start, stop), "if_match": quoted(etag)},
            )
        if bare(found.meta["e_tag"]) != etag:
            raise PreconditionFailed(f"{key!r} is another version")
        # It ends when nobody holds it any more.
        blocks = iter(found.stream(min_chunk_size=_CHUNK))
        return Stream(self._told(found.meta, key, None), _translated(key, blocks), lambda: None)

    def _told(self, meta: Any, key: str, found: Any) -> ObjectInfo:
        kept = None if found is None else native.from_library(self._provider, found)
        etag = bare(meta["e_tag"])
        return told(key, meta["size"], meta["last_modified"], etag, strong=False, attributes=kept)

    # --- listing ---------------------------------------------------------------------

    def listing(
        self, prefix: str, delimiter: str, start_after: str, /
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        """List in order, a page at a time; what a common prefix covers is seeked past."""
        stop = after_all(prefix)
        after = max(start_after, _just_before(prefix))
        while True:
            past = None
            for page in self._pages(prefix, after):
                covered = None
                for info in page:
                    if not info.key.startswith(prefix):
                        if stop is not None and info.key >= stop:
                            return
                        continue
                    covered = rolled(info.key, prefix, delimiter)
                    if covered is None:
                        yield info
                    elif covered != past:
                        past = covered
                        if not passed_over(covered, start_after):
                            yield CommonPrefix(covered)
                if covered is not None and len(page) == _PAGE:
                    break  # more of the same is likely to follow
            else:
                return
            assert past is not None
            beyond = past + "\U0010ffff"
            if beyond <= after or not self.takes(beyond):
                raise NotSupported(f"the library cannot go on behind {past!r}")
            after = beyond

    def _pages(self, prefix: str, after: str) -> Iterator[list[ObjectInfo]]:
        directory = prefix.rpartition("/")[0]
        if directory and not self.takes(directory):
            return  # no key that the library can carry
        offset = after if after and self.takes(after) else None
        try:
            with faults.Translated(prefix):
                found = obstore.list(
                    self._store, directory or None, offset=offset, chunk_size=_PAGE
                )
                ahead: set[str] = set()
                for page in found:
                    yield list(self._in_order(self._named(page), after, ahead))
        except InvalidKey as error:
            raise StorageError(
                f"an object here has a name the library cannot read: {error}"
            ) from error

    def _named(self, page: Sequence[Any]) -> list[ObjectInfo]:
        """Give the entries of a page, markers with the slash that the library took off them."""
        empty = [meta["path"] for meta in page if not meta["size"]]
        markers = {
            path
            for path, is_one in zip(empty, self._pool.map(self._has_marker, empty), strict=True)
            if is_one
        }
        named: list[ObjectInfo] = []
        for meta in page:
            path = meta["path"]
            if path.endswith(f"/{keys.MARK}"):
                path = path.removesuffix(keys.MARK)
            # Where both are there the marker is the later one.
            elif path in markers and (
                (named and named[-1].key >= path) or not self._is_object(path)
            ):
                path = f"{path}/"
            named.append(self._told(meta, path, None))
        return named

    def _in_order(
        self, page: Iterable[ObjectInfo], after: str, ahead: set[str]
    ) -> Iterator[ObjectInfo]:
        """Give the markers that the store has behind other names of their folders before those."""
        for info in page:
            cut = info.key.find("/")
            while cut >= 0:
                folder = info.key[: cut + 1]
                if folder == info.key:
                    if folder not in ahead:
                        yield info
                    ahead.discard(folder)
                elif info.key[cut + 1 :] < keys.MARK and folder not in ahead:
                    ahead.add(folder)
                    if folder > after and (marker := self._marker(folder)) is not None:
                        yield marker
                cut = info.key.find("/", cut + 1)
            if not info.key.endswith("/"):
                yield info

    def _marker(self, folder: str) -> ObjectInfo | None:
        try:
            with faults.Translated(folder):
                meta = obstore.head(self._store, self._path(folder))
        except NotFound:
            return None
        return self._told(meta, folder, None)

    def _is_object(self, path: str) -> bool:
        try:
            with faults.Translated(path):
                obstore.head(self._store, path)
        except NotFound:
            return False
        return True

    def _has_marker(self, path: str) -> bool:
        with faults.Translated(path):
            page = next(iter(obstore.list(self._store, path, chunk_size=1)), ())
        return any(meta["path"] == path for meta in page)

    def _foreign_marker(self, key: str) -> ObjectInfo:
        path = key.removesuffix("/")
        if self.takes(path):
            with faults.Translated(key):
                for page in obstore.list(self._store, path, chunk_size=1):
                    for meta in page:
                        if meta["path"] == path and not meta["size"]:
                            return self._told(meta, key, None)
                    break
        raise NotFound(f"{key!r}: there is no object of that key that the library can find")

    # --- changing --------------------------------------------------------------------

    def put(self, key: str, content: bytes, attributes: Attributes, condition: Condition, /) -> str:
        """Put an object in one request; give its ETag."""
        path = self._path(key)
        with faults.Translated(key):
            try:
                done = obstore.put(
                    self._store,
                    path,
                    content,
                    use_multipart=False,
                    mode=self._mode(path, condition),
                    attributes=native.to_library(self._provider, attributes),
                )
            except FileNotFoundError as error:
                if condition.etag is None or faults.of_library(error) is not NotFound:
                    raise
                raise PreconditionFailed(f"{key!r}: there is nothing to match") from error
        return bare(done["e_tag"])

    def _mode(self, key: str, condition: Condition) -> Any:
        if condition.absent:
            return "create"
        if condition.etag is None:
            return "overwrite"
        expected = {"e_tag": quoted(condition.etag)}
        if self._provider == GCS:
            # It compares generations; ours is the one that has the ETag now.
            meta = obstore.head(self._store, key)
            if bare(meta["e_tag"]) != condition.etag:
                raise PreconditionFailed(f"{key!r} is another version")
            expected["version"] = meta["version"] or ""
        return expected

    def upload(
        self,
        key: str,
        blocks: Iterator[bytes],
        size: int | None,
        attributes: Attributes,
        condition: Condition,
        /,
    ) -> str:
        """Put an object in parts; give its ETag. Raises NotSupported for a condition."""
        if condition:
            raise NotSupported(f"{key!r}: the library has no conditional upload in parts")
        path = self._path(key)
        watched = _Watched(blocks)
        try:
            with faults.Translated(key):
                done = obstore.put(
                    self._store,
                    path,
                    watched,
                    use_multipart=True,
                    chunk_size=part_size(size),
                    max_concurrency=PARTS_IN_FLIGHT,
                    attributes=native.to_library(self._provider, attributes),
                )
        except BaseException:
            if watched.failure is not None:
                raise watched.failure  # noqa: B904 - the body's own, whatever was made of it
            raise
        return bare(done["e_tag"])

    def delete(self, key: str, /) -> None:
        """Remove an object; a missing one is success. Raises InvalidKey for others' markers."""
        try:
            path = self._path(key)
        except InvalidKey:
            return  # there can be none
        with suppress(NotFound), faults.Translated(key):
            obstore.delete(self._store, path)
        if key.endswith("/"):
            with suppress(NotFound):
                self._foreign_marker(key)
                raise InvalidKey(f"{key!r}: the library cannot remove an object of that name")


def _just_before(prefix: str) -> str:
    """Give a bound before all keys with `prefix`, close to them; nothing where it is too odd."""
    last = ord(prefix[-1]) - 1 if prefix else 0
    if not last >= 0x20 or 0xD800 <= last <= 0xDFFF:
        return ""
    return f"{prefix[:-1]}{chr(last)}\U0010ffff"


def _translated(key: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    with faults.Translated(key):
        yield from blocks


class _Watched:
    """Blocks on their way to the library; remembers what they raised."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._blocks)
        except StopIteration:
            raise
        except BaseException as failure:
            self.failure = failure
            raise
