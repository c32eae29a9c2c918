"""Which process owns what is in flight, and whether it still lives.

Every process that opens a shared catalog takes a number that is never used again and holds a
lock on a file of that name until it dies; so a dead owner is one whose lock can be had. With a
catalog of its own a process needs no file: nobody else can ask.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from forebay.catalog import catalog
from forebay.catalog.catalog import Catalog


class Owner:
    """This process among those that share the catalog; makes ids that are never reused."""

    def __init__(self, store: Catalog, state: str) -> None:
        self.number = store.write(catalog.next_seq)
        self._count = itertools.count(1)
        self._salt = secrets.token_hex(8)
        self._directory = Path(state, "owners") if store.shared_between_processes else None
        self._file: int | None = None
        if self._directory:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._file = self._claim(self._directory)

    def _claim(self, directory: Path) -> int:
        # Locked before it has its name, so that nobody sees it unlocked and takes it for dead.
        draft = directory / f".{self.number}.{secrets.token_hex(4)}"
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        draft.rename(directory / str(self.number))
        return fd

    def new_id(self) -> str:
        """Make an id for an object, segment or upload; its first 8 digits name this process."""
        return f"{self.number:08x}{next(self._count):08x}{self._salt}"

    def alive(self, number: int) -> bool:
        """Tell whether the owner of that number may still act."""
        if number == self.number:
            return True
        if self._directory is None:
            return False
        try:
            fd = os.open(self._directory / str(number), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def dead(self) -> Iterator[int]:
        """Give each dead owner while holding its lock, and forget it when the caller goes on.

        An owner whose affairs the caller could not settle is met again next time: break out
        of the loop, or raise, to keep it.
        """
        if self._directory is None:
            return
        for path in sorted(self._directory.iterdir()):
            if not path.name.isdigit() or int(path.name) == self.number:
                if path.name.startswith("."):
                    self._sweep_draft(path)
                continue
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield int(path.name)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                continue
            finally:
                os.close(fd)

    @staticmethod
    def _sweep_draft(path: Path) -> None:
        with contextlib.suppress(OSError), path.open("rb") as draft:
            fcntl.flock(draft, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A draft that can be locked and is older than any claim takes: its maker died.
            if os.fstat(draft.fileno()).st_mtime < path.parent.stat().st_mtime - 60:
                path.unlink()

    def close(self) -> None:
        """Declare this owner dead; what it left behind is anybody's."""
        if self._file is not None:
            if self._directory:
                (self._directory / str(self.number)).unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


def owner_of(identifier: str) -> int:
    """Give the number of the owner that made an id."""
    return int(identifier[:8], 16)
