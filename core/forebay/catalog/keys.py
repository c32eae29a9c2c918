r"""How everything the catalog remembers is named and sorted in the metadata store.

One letter for the kind of row, then fixed-width numbers, then text. Numbers are big-endian so
that byte order is number order. Text is UTF-8, which has no byte 0xFF and, as no key may hold
it, no NUL: so ``prefix + b"\xff"`` ends every range, and NUL separates what follows a key.

>>> object_row(1, "a") < object_row(1, "a/b") < object_row(1, "b") < object_row(2, "a")
True
"""

from __future__ import annotations

from typing import NamedTuple

FORMAT = b"!format"
SEQ = b"!seq"
DIRTY = b"!dirty"
MOUNTS = b"!mounts"
RULES_CHANGED = b"!rules"
DROPPED = b"!dropped"

TRASH = b"t"
QUEUE = b"q"
INTENTS = b"i"
BUCKETS = b"b"
OBJECTS = b"o"
UPLOADS = b"u"
COMPLETED = b"c"
LEASES = b"e"
READS = b"r"
MOUNTED = b"M"
SEEN = b"a"
LOADS = b"J"
RULES = b"P"
BREAKERS = b"B"


class Location(NamedTuple):
    """Which object a row speaks of."""

    bucket_id: int
    key: str


def end(prefix: bytes) -> bytes:
    """Give the exclusive end of the rows that begin with `prefix`."""
    return prefix + b"\xff"


def number(value: int) -> bytes:
    """Give 8 bytes that sort as the number (0 to 2**63 - 1)."""
    return value.to_bytes(8, "big")


def _located(kind: bytes, bucket_id: int, key: str) -> bytes:
    return kind + number(bucket_id) + key.encode()


def location(row: bytes, skip: int = 1) -> Location:
    """Read bucket id and key back from a row whose first `skip` bytes are something else."""
    return Location(int.from_bytes(row[skip : skip + 8], "big"), row[skip + 8 :].decode())


def bucket_row(name: str) -> bytes:
    """Name the row of a bucket."""
    return BUCKETS + name.encode()


def hidden_bucket_row(name: str) -> bytes:
    """Name the whiteout of a bucket that was deleted with ALLUXIO_ONLY."""
    return b"W" + name.encode()


def object_row(bucket_id: int, key: str) -> bytes:
    """Name the record of the current object of a key."""
    return _located(OBJECTS, bucket_id, key)


def dirty_row(bucket_id: int, key: str) -> bytes:
    """Name the note that the object of a key is in no under store."""
    return _located(b"d", bucket_id, key)


def intent_row(bucket_id: int, key: str) -> bytes:
    """Name the intent that holds a key."""
    return _located(INTENTS, bucket_id, key)


def job_row(bucket_id: int, key: str) -> bytes:
    """Name the persist job of a key; there is one at most."""
    return _located(b"j", bucket_id, key)


def queue_row(due: int, bucket_id: int, key: str) -> bytes:
    """Name a job's place in the queue; `due` in ms since 1970."""
    return QUEUE + number(due) + number(bucket_id) + key.encode()


def lease_row(owner: int, bucket_id: int, key: str) -> bytes:
    """Name the note that a process works on the job of a key."""
    return LEASES + number(owner) + number(bucket_id) + key.encode()


def whiteout_row(bucket: str, key: str) -> bytes:
    """Name a whiteout; by bucket *name*, so that it outlives the bucket and its next namesake."""
    return b"w" + bucket.encode() + b"\x00" + key.encode()


def inline_row(object_id: str) -> bytes:
    """Name the row that holds the bytes of a small object."""
    return b"n" + object_id.encode()


def segments_row(object_id: str, offset: int) -> bytes:
    """Name a run of an object's segments, the first of which begins at byte `offset`."""
    return b"l" + object_id.encode() + b"\x00" + number(offset)


def use_row(segment: str, object_id: str) -> bytes:
    """Name the note that an object uses a segment; it holds the name of the object's row.

    It is empty for an upload, and stays so for what the upload becomes (see `place_row`).
    """
    return b"s" + segment.encode() + b"\x00" + object_id.encode()


def place_row(object_id: str) -> bytes:
    """Name the note of which key an object belongs to whose bytes may lie in the cache."""
    return b"y" + object_id.encode()


def trash_row(seq: int) -> bytes:
    """Name something retired by the transaction `seq`."""
    return TRASH + number(seq)


def read_row(owner: int, count: int) -> bytes:
    """Name a long read under way in a process."""
    return READS + number(owner) + number(count)


def upload_row(bucket_id: int, key: str, upload_id: str) -> bytes:
    """Name a multipart upload under way."""
    return _located(UPLOADS, bucket_id, key) + b"\x00" + upload_id.encode()


def part_row(upload_id: str, part: int) -> bytes:
    """Name an uploaded part."""
    return b"p" + upload_id.encode() + b"\x00" + part.to_bytes(2, "big")


def parts_prefix(upload_id: str) -> bytes:
    """Give what the rows of all parts of an upload begin with."""
    return b"p" + upload_id.encode() + b"\x00"


def completed_row(upload_id: str) -> bytes:
    """Name the memory of a finished upload."""
    return COMPLETED + upload_id.encode()


def mount_row(path: str) -> bytes:
    """Name the memory of a mount."""
    return b"m" + path.encode()


def mounted_row(path: str) -> bytes:
    """Name a mount that came at run time."""
    return MOUNTED + path.encode()


def unmounted_row(generation: int) -> bytes:
    """Name the note that a mount is gone for good, and with it what its records speak of."""
    return b"G" + number(generation)


def seen_row(owner: int) -> bytes:
    """Name the note of which version of the mount table a process works with."""
    return SEEN + number(owner)


def changed_row(bucket_id: int) -> bytes:
    """Name the note of the last change that a bucket's under stores may show."""
    return b"z" + number(bucket_id)


def deleted_row(bucket_id: int) -> bytes:
    """Name the note of the last delete in a bucket."""
    return b"x" + number(bucket_id)


def load_row(load_id: int) -> bytes:
    """Name a load job."""
    return LOADS + number(load_id)


def load_list_row(load_id: int, place: int) -> bytes:
    """Name path number `place` of a load job that goes by a list."""
    return b"K" + number(load_id) + number(place)


def load_failure_row(load_id: int, path: str) -> bytes:
    """Name the note of what a load job could not bring."""
    return b"F" + number(load_id) + path.encode()


def rule_row(bucket: str, path: str) -> bytes:
    """Name what an operator wants of a path; by bucket *name*, so that it outlives the bucket."""
    return RULES + bucket.encode() + b"\x00" + path.encode()


def breaker_row(owner: int, under: str, operations: str) -> bytes:
    """Name the note that a process leaves an under store alone."""
    return BREAKERS + number(owner) + f"{under}\0{operations}".encode()
