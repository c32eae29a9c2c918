"""Which under stores are left alone just now, as all processes together know it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from forebay.catalog import catalog, keys
from forebay.catalog.records import BreakerRow, encode
from forebay.errors import StorageError
from forebay.events import BreakerClosed, BreakerOpened, Event
from forebay.objects.shared import Shared, log, now_ms
from forebay.stores.metadata import Snapshot, Transaction


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """An under store whose reads or writes fail at once in `processes` processes.

    `since` in ms since 1970 and `reason` are those of the first of them.
    """

    under: str
    operations: str
    reason: str
    since: int
    processes: int

    def guards(self, under: str) -> bool:
        """Tell whether it is a breaker of what a mount has under it."""
        return _place(self.under) == _place(under)


def note(shared: Shared, event: Event) -> None:
    """Write down that a breaker of this process opened or closed; never raises into a store."""
    if not isinstance(event, BreakerOpened | BreakerClosed):
        return
    row = keys.breaker_row(shared.owner.number, event.under, event.operations)
    now = now_ms()
    try:
        dead = {owner for owner, _ in shared.catalog.read(_rows) if not shared.owner.alive(owner)}

        def write(tx: Transaction) -> None:
            for owner in dead:
                prefix = keys.BREAKERS + keys.number(owner)
                for left, _ in list(tx.scan(prefix, keys.end(prefix))):
                    tx.delete(left)
            if isinstance(event, BreakerOpened):
                reason = event.reason[:500]
                tx.put(row, encode(BreakerRow(event.under, event.operations, reason, now)))
            else:
                tx.delete(row)

        shared.catalog.write(write, durable=False)
    except StorageError as failure:
        log.warning("a breaker is not noted: %s", failure)


def open_breakers(shared: Shared) -> list[OpenBreaker]:
    """Give every breaker that is open in a living process, of what is mounted now."""
    mounted = {_place(mount.config.under) for mount in shared.mounts}
    found: dict[tuple[str, str], list[BreakerRow]] = {}
    for owner, row in shared.catalog.read(_rows):
        if _place(row.under) in mounted and shared.owner.alive(owner):
            found.setdefault((row.under, row.operations), []).append(row)
    return [_told(rows) for _, rows in sorted(found.items())]


def _told(rows: Collection[BreakerRow]) -> OpenBreaker:
    first = min(rows, key=lambda row: row.since)
    return OpenBreaker(first.under, first.operations, first.reason, first.since, len(rows))


def _rows(snapshot: Snapshot) -> list[tuple[int, BreakerRow]]:
    return [
        (int.from_bytes(row[1:9], "big"), breaker)
        for row, breaker in catalog.rows(snapshot, keys.BREAKERS, BreakerRow)
    ]


def _place(uri: str) -> str:
    """Give a URI without what only opening it needs: user, password, query."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
