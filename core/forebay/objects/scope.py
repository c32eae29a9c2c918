"""What an operator names by a path: an object and everything below it.

One rule for every command: ``s3://bucket/a/b`` (or ``/bucket/a/b``) is the object ``a/b`` and
all objects whose keys begin with ``a/b/``; ``s3://bucket`` is the whole bucket, ``/`` everything.
A path is never a bare prefix: ``a/b`` does not reach ``a/bc``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket
from forebay.errors import InvalidArgument, NoSuchBucket
from forebay.objects.buckets import Buckets
from forebay.objects.shared import check_key
from forebay.settings import nearest
from forebay.stores.metadata import Snapshot


@dataclass(frozen=True, slots=True)
class Scope:
    """`bucket` "" is every bucket; `path` "" the whole bucket, else a key and what is below it."""

    bucket: str
    path: str = ""

    def __str__(self) -> str:
        return path_of(self.bucket, self.path) if self.bucket else "/"

    @property
    def folder(self) -> str:
        """What the keys below the path begin with."""
        return f"{self.path}/" if self.path and not self.path.endswith("/") else self.path

    def covers(self, bucket: str, key: str) -> bool:
        """Tell whether a key is meant.

        >>> parse_scope("s3://b/a").covers("b", "a/x"), parse_scope("/b/a").covers("b", "ab")
        (True, False)
        """
        if self.bucket in ("", bucket):
            return key == self.path or key.startswith(self.folder)
        return False


def parse_scope(path: str) -> Scope:
    """Read ``s3://bucket/key`` or ``/bucket/key``. Raises InvalidArgument, KeyTooLongError.

    >>> parse_scope("s3://raw/2024"), parse_scope("/")
    (Scope(bucket='raw', path='2024'), Scope(bucket='', path=''))
    """
    rest = path.removeprefix("s3://") if path.startswith("s3://") else path.removeprefix("/")
    if rest == path or "\0" in path:
        hint = f"; did you mean s3://{path}?" if path and "\0" not in path else ""
        raise InvalidArgument(
            f"{path!r} is no path: write s3://bucket/key or /bucket/key{hint}", ArgumentName="path"
        )
    bucket, _, key = rest.partition("/")
    if key and not bucket:
        raise InvalidArgument(f"{path!r} names no bucket", ArgumentName="path")
    check_key(key)
    return Scope(bucket, key)


def parse_object(path: str) -> tuple[str, str]:
    """Read the path of one object; give bucket and key. Raises as `parse_scope`."""
    scope = parse_scope(path)
    if not scope.path:
        raise InvalidArgument(f"{path!r} names no object: write s3://bucket/key")
    return scope.bucket, scope.path


def path_of(bucket: str, key: str) -> str:
    """Give the path of a key as people read it."""
    return f"s3://{bucket}/{key}" if key else f"s3://{bucket}"


def named(snapshot: Snapshot, scope: Scope) -> list[Bucket]:
    """Give the buckets of a scope that the catalog knows, by name."""
    if scope.bucket:
        found = catalog.get_bucket(snapshot, scope.bucket)
        return [found] if found is not None else []
    return [bucket for _, bucket in catalog.rows(snapshot, keys.BUCKETS, Bucket)]


def find_bucket(buckets: Buckets, name: str) -> Bucket:
    """Give a bucket. Raises NoSuchBucket with the nearest name that there is."""
    try:
        return buckets.get(name)
    except NoSuchBucket as missing:
        known = buckets.names()
        raise NoSuchBucket(
            f"there is no bucket {name}{nearest(name, known)}", BucketName=name
        ) from missing


def check_scope(buckets: Buckets, scope: Scope) -> None:
    """Raise NoSuchBucket unless the bucket of a scope is there."""
    if scope.bucket:
        find_bucket(buckets, scope.bucket)


Row = Callable[[int, str], bytes]
"""Names the row of one kind of a key, as `forebay.catalog.keys.object_row` does."""


def walk(
    snapshot: Snapshot, scope: Scope, row: Row, after: str = ""
) -> Iterator[tuple[Bucket, str, bytes]]:
    """Give bucket, key and value of every row of a kind in a scope, behind the path `after`.

    In the order of bucket names and keys; the path of the last one given is where to go on.
    """
    last = parse_scope(after) if after else None
    for bucket in named(snapshot, scope):
        if last is not None and bucket.name < last.bucket:
            continue
        cursor = last.path if last is not None and bucket.name == last.bucket else ""
        for key, value in _below(snapshot, bucket, scope, row, cursor):
            yield bucket, key, value


def _below(
    snapshot: Snapshot, bucket: Bucket, scope: Scope, row: Row, cursor: str
) -> Iterator[tuple[str, bytes]]:
    single = scope.path if scope.path != scope.folder and scope.path > cursor else ""
    if single:
        value = snapshot.get(row(bucket.id, single))
        if value is not None:
            yield single, value
    prefix = row(bucket.id, scope.folder)
    start = max(prefix, row(bucket.id, cursor) + b"\0") if cursor else prefix
    for name, value in snapshot.scan(start, keys.end(prefix)):
        yield keys.location(name).key, value
