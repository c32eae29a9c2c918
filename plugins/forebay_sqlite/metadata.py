"""The metadata store in one SQLite file, shared by any number of processes of one machine.

One table, write-ahead log, own SQL. Reads run on a pool of connections, one snapshot each.
Writes of a process are joined into one commit by whichever thread comes first, and processes
take turns, because several SQLite writers that merely wait for each other starve.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from forebay.errors import ConfigurationError, NotSupported, StorageError
from forebay.stores.metadata import Snapshot, Transaction
from forebay_sqlite.database import (
    VOLATILE,
    code_of,
    open_lock,
    open_reader,
    open_writer,
    prepare_directory,
    told,
)
from forebay_sqlite.transactions import TableSnapshot, TableTransaction

T = TypeVar("T")

OPTIONS: Final = ("path", "busy_timeout")
WAL_LIMIT: Final = 64 << 20
"""Bytes of the log above which readers are made to let go of it, so that it starts anew."""
WAL_LOOK: Final = 64
"""Commits between two looks at the log's size."""


class _Call:
    """A function that waits for its commit, and its answer."""

    __slots__ = ("answer", "committed", "durable", "error", "fn", "leads", "woken")

    def __init__(self, fn: Callable[[Transaction], Any], durable: bool) -> None:
        self.fn = fn
        self.durable = durable
        self.answer: Any = None
        self.error: BaseException | None = None
        self.committed = False
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()


class SqliteMetadataStore:
    """Keeps keys and values in the file `path`; open it after the fork, in each process.

    `busy_timeout` is how many seconds to wait for a program that is not Forebay. Raises
    ConfigurationError for a file system or file that cannot be used, CatalogTooNew.
    """

    shared_between_processes = True

    def __init__(self, path: Path, *, busy_timeout: float = 30.0) -> None:
        self._path = path.resolve()
        self._timeout = busy_timeout
        self._owner = os.getpid()
        self._mutex = threading.Lock()
        self._changed = threading.Condition(self._mutex)
        self._closed = False
        self._idle: list[sqlite3.Cursor] = []
        self._readers = 0
        self._queue: list[_Call] = []
        self._led = False
        self._running: int | None = None
        self._commits = 0
        self._durably: bool | None = None
        self._unsynced: sqlite3.Error | None = None
        self.durable = prepare_directory(self._path.parent) not in VOLATILE
        with ExitStack() as opened:
            self._gate = open_lock(Path(f"{self._path}-gate"))
            opened.callback(os.close, self._gate)
            self._turn = open_lock(Path(f"{self._path}-turn"))
            opened.callback(os.close, self._turn)
            fcntl.flock(self._turn, fcntl.LOCK_EX)
            self._writer = open_writer(self._path, busy_timeout)
            fcntl.flock(self._turn, fcntl.LOCK_UN)
            self._opened = opened.pop_all()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> SqliteMetadataStore:
        """Open the store that ``[metadata]`` describes: `path`, `busy_timeout` in seconds."""
        cls.check(options)
        return cls(Path(options["path"]), busy_timeout=options.get("busy_timeout", 30.0))

    @staticmethod
    def check(options: Mapping[str, Any]) -> None:
        """Raise ConfigurationError with every fault; makes no file."""
        faults = []
        for name in options:
            if name not in OPTIONS:
                near = difflib.get_close_matches(name, OPTIONS, 1, 0)[0]
                faults.append(f"metadata: unknown option {name!r}; the nearest is {near!r}")
        path, timeout = options.get("path", ""), options.get("busy_timeout", 30.0)
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            faults.append("metadata: `path` must name the file of the catalog")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout < 0:
            faults.append("metadata: `busy_timeout` must be a number of seconds, 0 or more")
        if faults:
            raise ConfigurationError(*faults)

    def close(self) -> None:
        """Wait for running calls and let go; the last process to do so empties the log."""
        self._check()
        with self._mutex:
            self._closed = True
            while self._led:
                self._changed.wait()
            while self._readers:
                while self._idle:
                    self._idle.pop().connection.close()
                    self._readers -= 1
                if self._readers:
                    self._changed.wait()
        with self._opened:
            self._writer.connection.close()

    # --- reading ------------------------------------------------------------------------

    def read(self, fn: Callable[[Snapshot], T], /) -> T:
        """Run `fn` on one snapshot and return its answer; never waits for a writer."""
        self._check()
        try:
            cursor = self._idle.pop()
        except IndexError:
            cursor = self._open_reader()
        snapshot = TableSnapshot(cursor)
        sound = False
        try:
            cursor.execute("BEGIN")
            try:
                return fn(snapshot)
            finally:
                snapshot.end()
                cursor.execute("COMMIT")
                sound = True
        except sqlite3.Error as error:
            raise told(error, self._path) from error
        finally:
            self._give_back(cursor, sound)

    def _open_reader(self) -> sqlite3.Cursor:
        with self._mutex:
            self._check()
            self._readers += 1
        try:
            return open_reader(self._path, self._timeout)
        except BaseException:
            self._drop_reader()
            raise

    def _give_back(self, cursor: sqlite3.Cursor, sound: bool) -> None:
        if not sound:
            cursor.connection.close()
            self._drop_reader()
            return
        self._idle.append(cursor)
        if self._closed:  # looked at after the append, as close() drains after setting it
            with self._mutex:
                self._changed.notify_all()

    def _drop_reader(self) -> None:
        with self._mutex:
            self._readers -= 1
            self._changed.notify_all()

    # --- writing: the queue ---------------------------------------------------------------

    def write(self, fn: Callable[[Transaction], T], /, *, durable: bool = True) -> T:
        """Run `fn` in one transaction, commit it, alone or with others, and return its answer.

        Raises NotSupported when called by a function that `write` is running.
        """
        if self._running == threading.get_ident():
            raise NotSupported("a function that runs in `write` must not call `write`")
        call = _Call(fn, durable)
        with self._mutex:
            self._check()
            self._queue.append(call)
            call.leads = not self._led
            self._led = True
        if not call.leads:
            self._wait(call)
        if call.leads:
            self._lead()
        if call.error is not None:
            raise call.error
        answer: T = call.answer
        return answer

    def _wait(self, call: _Call) -> None:
        try:
            call.woken.acquire()
        except BaseException:
            # Interrupted: nobody may ever wait for a leader who has left.
            with self._mutex:
                if call in self._queue:
                    self._queue.remove(call)
                if call.leads:
                    self._pass_lead()
            raise

    def _pass_lead(self) -> None:
        if self._queue:
            self._queue[0].leads = True
            self._queue[0].woken.release()
        else:
            self._led = False
            self._changed.notify_all()

    def _lead(self) -> None:
        """Commit everything that waits, answer it, and hand the lead to whoever came meanwhile."""
        with self._mutex:
            batch, self._queue = self._queue, []
        try:
            self._commit_in_turn(batch)
        finally:
            with self._mutex:
                self._pass_lead()
            for call in batch:
                if not call.committed and call.error is None:
                    call.error = StorageError(f"{self._path}: the commit was interrupted")
                if not call.leads:
                    call.woken.release()

    def _commit_in_turn(self, batch: list[_Call]) -> None:
        # Who has written must pass the gate again, where the next process stands already: so
        # nobody overtakes, which one kernel lock alone does not promise.
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._running = threading.get_ident()
        try:
            self._commit(batch)
        finally:
            self._running = None
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    # --- writing: the commit --------------------------------------------------------------

    def _commit(self, batch: list[_Call]) -> None:
        committing = False
        try:
            self._renew_log()
            self._synchronize(any(call.durable for call in batch))
            self._writer.execute("BEGIN IMMEDIATE")
            for call in batch:
                self._run(call)
            committing = True
            self._writer.execute("COMMIT")
            for call in batch:
                call.committed = True
        except sqlite3.Error as error:
            for call in batch:
                call.error = call.error or told(error, self._path)
            if committing and code_of(error) == sqlite3.SQLITE_IOERR:
                self._unsynced = error
        finally:
            self._writer.connection.rollback()
        with suppress(sqlite3.Error):  # the commit stands; the next one will meet the fault
            self._renew_log()
            self._bound_log()

    def _run(self, call: _Call) -> None:
        """Run one function; its own exception undoes and concerns only itself."""
        self._writer.execute("SAVEPOINT own")
        transaction = TableTransaction(self._writer)
        try:
            call.answer = call.fn(transaction)
        except Exception as error:
            call.error = told(error, self._path) if isinstance(error, sqlite3.Error) else error
            # Fails where SQLite gave up everybody's transaction: then nobody is committed.
            self._writer.execute("ROLLBACK TO own")
        finally:
            transaction.end()
        self._writer.execute("RELEASE own")

    def _synchronize(self, durably: bool) -> None:
        """Choose how the next commit syncs, which SQLite cannot change inside a transaction."""
        if self._durably is not durably:
            self._durably = None
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durably else 'NORMAL'}")
            self._durably = durably

    def _renew_log(self) -> None:
        """Begin a new log after a failed sync, or raise that failure again.

        The kernel marks pages clean that it failed to write, so a later sync of this log may
        succeed and prove nothing; what the log holds is copied into the file and synced there.
        """
        if self._unsynced is not None:
            if self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise self._unsynced
            self._unsynced = None

    def _bound_log(self) -> None:
        """Make readers let go of a log that grew because there was always one reading it."""
        self._commits += 1
        if self._commits % WAL_LOOK == 0 and os.stat(f"{self._path}-wal").st_size > WAL_LIMIT:
            self._writer.execute("PRAGMA busy_timeout = 500")
            try:
                self._writer.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {round(self._timeout * 1000)}")

    # --- opening --------------------------------------------------------------------------

    def _check(self) -> None:
        if os.getpid() != self._owner:
            raise StorageError(
                f"{self._path}: the catalog was opened before a fork; open it in each process"
            )
        if self._closed:
            raise StorageError(f"{self._path}: the catalog is closed")
