"""Recovery: settle what dead processes left in flight, in time proportional to that.

Runs whenever a process opens the catalog, at start and when a worker is replaced. It may itself
be killed at any line: what it did not come to is found again at the next start.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from forebay.catalog import catalog, keys
from forebay.catalog.records import Bucket, Intent, MountRow, encode
from forebay.errors import ForebayError
from forebay.objects import intents
from forebay.objects.persist import requeue
from forebay.objects.shared import Shared, log
from forebay.stores.metadata import Snapshot, Transaction

PATIENCE = 5.0
"""Seconds that one start spends on intents whose under store does not answer."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery found: dead processes, writes in flight of theirs, and those still open."""

    owners: int = 0
    intents: int = 0
    unsettled: int = 0


def recover(shared: Shared) -> Recovered:
    """Settle the affairs of every dead owner; what its store cannot answer now stays held."""
    owners = settled = unsettled = 0
    end = time.monotonic() + PATIENCE
    for owner in shared.owner.dead():
        owners += 1
        requeue(shared, owner)
        shared.catalog.write(partial(_end_notes, owner), durable=False)
    # Those of owners that ended in good order while a store was silent are among them.
    for bucket, key, intent in shared.catalog.read(partial(_left, shared)):
        settled += 1
        try:
            if time.monotonic() > end:
                unsettled += 1
                continue
            intents.settle(shared, bucket, key, intent)
        except ForebayError as failure:
            # The intent stays; the next writer or reader of the key settles it.
            unsettled += 1
            log.warning("%s/%r stays held until its store answers: %s", bucket.name, key, failure)
    return Recovered(owners, settled, unsettled)


def _left(shared: Shared, snapshot: Snapshot) -> list[tuple[Bucket, str, Intent]]:
    found = []
    for row, intent in catalog.rows(snapshot, keys.INTENTS, Intent):
        if not shared.owner.alive(intent.owner):
            bucket_id, key = keys.location(row)
            bucket = catalog.get_bucket(snapshot, intent.bucket)
            if bucket is None or bucket.id != bucket_id:
                bucket = Bucket(bucket_id, intent.bucket, 0)
            found.append((bucket, key, intent))
    return found


def _end_notes(owner: int, tx: Transaction) -> None:
    tx.delete(keys.seen_row(owner))
    prefix = keys.READS + keys.number(owner)
    for row, _ in list(tx.scan(prefix, keys.end(prefix))):
        tx.delete(row)


def mount_generation(path: str, uri: str, persistent: bool, tx: Transaction) -> int:
    """Give the generation of a mount: a new one when the path points elsewhere than before.

    A store that forgets gets a new one at every opening: its objects are gone, and so are the
    records of them.
    """
    known = catalog.get(tx, keys.mount_row(path), MountRow)
    if known is not None and known.uri == uri and persistent:
        return known.generation
    row = MountRow(uri, catalog.next_seq(tx))
    tx.put(keys.mount_row(path), encode(row))
    return row.generation
