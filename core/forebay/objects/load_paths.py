"""What a load job is about: the objects below its path, or those of its list."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.catalog import keys
from forebay.catalog.records import Bucket, Load
from forebay.objects.buckets import Buckets
from forebay.objects.listing import ListedObject, Listings
from forebay.objects.scope import find_bucket, parse_scope, path_of
from forebay.objects.shared import Shared
from forebay.stores.metadata import Snapshot

LISTED = 1000
"""Keys that are listed at once."""


class LoadPaths:
    """Gives the paths of jobs in order, from wherever one goes on."""

    def __init__(self, shared: Shared, buckets: Buckets, listings: Listings) -> None:
        self._shared = shared
        self._buckets = buckets
        self._listings = listings

    def of(self, load: Load, after: str) -> Iterator[tuple[str, str]]:
        """Give cursor and path of everything that a job is about, behind the cursor `after`."""
        if not load.path:
            yield from self._list_of(load, int(after) + 1 if after else 0)
            return
        for one, bucket in self.objects(load, after):
            path = path_of(bucket, one.key)
            yield path, path

    def _list_of(self, load: Load, place: int) -> Iterator[tuple[str, str]]:
        while place < load.listed:
            start, stop = (keys.load_list_row(load.id, n) for n in (place, place + LISTED))

            def read(snapshot: Snapshot, start: bytes = start, stop: bytes = stop) -> list[str]:
                return [value.decode() for _, value in snapshot.scan(start, stop)]

            for path in self._shared.catalog.read(read):
                yield str(place), path
                place += 1

    def objects(self, load: Load, after: str) -> Iterator[tuple[ListedObject, str]]:
        """List the objects below the path of a job, behind the path `after`."""
        scope = parse_scope(load.path)
        last = parse_scope(after) if after else None
        for name in [scope.bucket] if scope.bucket else self._buckets.names():
            if last is not None and name < last.bucket:
                continue
            bucket = find_bucket(self._buckets, name)
            cursor = last.path if last is not None and name == last.bucket else ""
            if scope.path != scope.folder and cursor < scope.path:
                yield from ((one, name) for one in self._exactly(bucket, scope.path))
            while True:
                page = self._listings.objects(
                    bucket, prefix=scope.folder, after=cursor, limit=LISTED, certain=True
                )
                for one in page.entries:
                    if isinstance(one, ListedObject):
                        yield one, name
                if not page.truncated:
                    break
                cursor = page.next_after

    def _exactly(self, bucket: Bucket, key: str) -> list[ListedObject]:
        found = self._listings.objects(bucket, prefix=key, limit=1, certain=True).entries
        return [one for one in found if isinstance(one, ListedObject) and one.key == key]
