"""The properties of Alluxio's S3 endpoint, under Alluxio's own names and in Alluxio's spelling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import msgspec

from forebay.settings import BAD, Key, Reading, describe, key, keys_of, meta_of, nearest
from forebay.types import DeleteType, WriteType
from forebay.units import parse_size, parse_time

PREFIX = "alluxio.proxy.s3."


def _time(given: object) -> float:
    """Read a time; a bare number means milliseconds, as everywhere in Alluxio."""
    return parse_time(given, bare="ms")


def _flag(given: object) -> object:
    words = {"true": True, "false": False}
    return words.get(given.strip().lower(), given) if isinstance(given, str) else given


def _count(given: object) -> object:
    return int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else given


def _word(given: object) -> object:
    return given.strip().upper() if isinstance(given, str) else given


def _property(
    name: str,
    text: str,
    parse: Callable[[Any], object],
    *,
    kind: str = "",
    default: str = "",
    ge: int | None = None,
) -> msgspec.Meta:
    declared = key(text, parse=parse, kind=kind, default=default, ge=ge)
    extra = {**(declared.extra or {}), "name": PREFIX + name}
    return msgspec.Meta(description=text, extra=extra, ge=ge)


class Properties(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What Alluxio's page lets an operator set; times in seconds, sizes in bytes."""

    writetype: Annotated[
        WriteType,
        _property("writetype", "Write type of mounts that name none.", _word),
    ] = WriteType.CACHE_THROUGH
    deletetype: Annotated[
        DeleteType,
        _property("deletetype", "Delete type of mounts that name none.", _word),
    ] = DeleteType.ALLUXIO_AND_UFS
    header_metadata_max_size: Annotated[
        int,
        _property(
            "header.metadata.max.size",
            "Largest sum of the names and values of `x-amz-meta-*`; 0 lifts the limit.",
            parse_size,
            kind="size",
            default="2KB",
        ),
    ] = 2048
    multipart_upload_timeout: Annotated[
        float,
        _property(
            "multipart.upload.timeout",
            "Age at which an abandoned multipart upload is aborted (Alluxio: 10min).",
            _time,
            kind="time",
            default="7day",
        ),
    ] = 7 * 86400.0
    complete_keepalive_interval: Annotated[
        float,
        _property(
            "complete.multipart.upload.keepalive.time.interval",
            "How often white space keeps the connection of a slow completion alive.",
            _time,
            kind="time",
            default="30sec",
        ),
    ] = 30.0
    complete_pool_size: Annotated[
        int,
        _property(
            "complete.multipart.upload.pool.size",
            "Slow completions under way at once.",
            _count,
            ge=1,
        ),
    ] = 20
    multipart_temporary_dir_suffix: Annotated[
        str,
        _property(
            "multipart.temporary.dir.suffix",
            "Accepted for Alluxio's sake; parts never lie in the namespace here.",
            str,
            kind="text",
        ),
    ] = "_s3_multipart_tmp"
    cleaner_pool_size: Annotated[
        int,
        _property(
            "multipart.upload.cleaner.pool.size", "Threads that abort old uploads.", _count, ge=1
        ),
    ] = 1
    cleaner_retry_count: Annotated[
        int,
        _property(
            "multipart.upload.cleaner.retry.count", "Attempts after a failed abort.", _count, ge=0
        ),
    ] = 3
    cleaner_retry_delay: Annotated[
        float,
        _property(
            "multipart.upload.cleaner.retry.delay",
            "Pause between two attempts to abort an old upload.",
            _time,
            kind="time",
            default="10sec",
        ),
    ] = 10.0
    tagging_restrictions: Annotated[
        bool,
        _property(
            "tagging.restrictions.enabled", "Whether S3's limits on tags are enforced.", _flag
        ),
    ] = True
    bucket_naming_restrictions: Annotated[
        bool,
        _property(
            "bucket.naming.restrictions.enabled",
            "Whether new buckets must have names that S3 allows (Alluxio: false).",
            _flag,
        ),
    ] = True


NAMES: Mapping[str, str] = {
    meta.extra["name"]: field
    for field, hint in keys_of(Properties).items()
    if (meta := meta_of(hint)[1]) is not None and meta.extra is not None
}
"""Fields of `Properties` by full property name."""


def read_properties(
    reading: Reading, table: object, overrides: Mapping[str, str], where: str = "properties"
) -> Properties:
    """Read the table ``[properties]``, then `overrides` (``--property``) on top of it."""
    if not isinstance(table, dict):
        reading.fault(where, "must be a table")
        table = {}
    hints = keys_of(Properties)
    values: dict[str, Any] = {}
    for place, given in ((where, dict(_flat(table))), ("--property", overrides)):
        for name, raw in given.items():
            if name not in NAMES:
                reading.fault(
                    f"{place}.{name}", f"unknown property{nearest(name, NAMES, cutoff=0)}"
                )
            elif (got := reading.value(hints[NAMES[name]], raw, f"{place}.{name}")) is not BAD:
                values[NAMES[name]] = got
    return Properties(**values)


def property_keys() -> Iterator[Key]:
    """Give a row of documentation for each property."""
    for row, name in zip(describe(Properties), NAMES, strict=True):
        yield Key(name, row.kind, row.default, row.text)


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Join the nested tables that TOML makes of dotted keys without quotes."""
    for name, value in table.items():
        if isinstance(value, dict) and not value.keys() & {"env", "file"}:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
