"""The file under the metadata store: where it may lie, how it is opened, what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from forebay.errors import (
    CatalogTooNew,
    ConfigurationError,
    Corrupt,
    NoSpace,
    StorageError,
    Unavailable,
)

NETWORKED: Final = frozenset(
    ["9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"]
    + [f"fuse.{each}" for each in ("ceph-fuse", "gcsfuse", "glusterfs", "juicefs", "rclone")]
    + [f"fuse.{each}" for each in ("s3fs", "sshfs")]
)
"""File systems on which SQLite's shared memory or locks do not hold between machines."""
VOLATILE: Final = frozenset(["tmpfs", "ramfs"])
APPLICATION: Final = 0x46424159
FORMAT: Final = 1
WRITER: Final = (
    "PRAGMA page_size = 4096",
    "PRAGMA wal_autocheckpoint = 4096",  # 16 MiB of log, then it is copied into the file
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -8192",
    "PRAGMA secure_delete = 0",
)

SAYINGS: Final[Mapping[int, tuple[type[StorageError], str]]] = {
    sqlite3.SQLITE_BUSY: (
        Unavailable,
        "another program holds the catalog's lock; close it (a `sqlite3` shell, a backup)",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        StorageError,
        "the catalog cannot be opened; check that its directory exists and may be written",
    ),
    sqlite3.SQLITE_CORRUPT: (
        Corrupt,
        "the catalog is damaged; stop, keep a copy, and restore it or build a new one",
    ),
    sqlite3.SQLITE_FULL: (NoSpace, "the disk that holds the catalog is full"),
    sqlite3.SQLITE_IOERR: (
        StorageError,
        "the disk that holds the catalog failed; look at the kernel's log before going on",
    ),
    sqlite3.SQLITE_NOTADB: (Corrupt, "the file is not an SQLite database"),
    sqlite3.SQLITE_READONLY: (
        StorageError,
        "the catalog is read-only; check the permissions and how its file system is mounted",
    ),
}
"""What each primary result code of SQLite means to an operator."""


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Name the type of the file system that holds `path`; "" where the system does not tell."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with suppress(FileNotFoundError):
        for line in mounts.read_text("utf-8", "surrogateescape").splitlines():
            mount, _, kind = line.partition(" - ")
            if mount.split(" ")[2] == wanted:
                return kind.split(" ")[0]
    return ""


def prepare_directory(directory: Path) -> str:
    """Make the catalog's directory, and name the type of the file system it is on.

    Raises ConfigurationError where it cannot be made or lies on a network file system.
    """
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for each in missing:
            sync_directory(each.parent)
        kind = file_system(directory)
    except OSError as error:
        raise ConfigurationError(f"metadata: {error}") from error
    if kind in NETWORKED:
        raise ConfigurationError(
            f"metadata: {directory} is on a network file system ({kind}), where SQLite loses"
            " data; choose a path on a local disk"
        )
    return kind


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def code_of(error: sqlite3.Error) -> int:
    """Give the primary result code; 0 for an error of the Python module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def told(error: sqlite3.Error, path: Path) -> StorageError:
    """Put an error of SQLite into Forebay's words, the original as its cause."""
    kind, saying = SAYINGS.get(code_of(error), (StorageError, "the catalog refused"))
    said = kind(f"{path}: {saying} ({error})")
    said.__cause__ = error
    return said


def open_lock(path: Path) -> int:
    """Open the file that processes lock to take turns; returns its descriptor."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise ConfigurationError(f"metadata: {error}") from error


def open_reader(path: Path, timeout: float) -> sqlite3.Cursor:
    """Open an existing catalog for reading; `timeout` in seconds."""
    try:
        connection = _connect(path, timeout, "rw")
        connection.execute("PRAGMA query_only = 1").close()
    except sqlite3.Error as error:
        raise told(error, path) from error
    return connection.cursor()


def open_writer(path: Path, timeout: float) -> sqlite3.Cursor:
    """Open a catalog for writing, and make it where there is none; `timeout` in seconds.

    The caller holds the turn. Raises ConfigurationError, CatalogTooNew, Corrupt.
    """
    try:
        connection = _connect(path, timeout, "rwc")
        try:
            cursor = connection.cursor()
            for pragma in WRITER:
                cursor.execute(pragma).fetchall()
            _format(cursor, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise told(error, path) from error
    return cursor


def _connect(path: Path, timeout: float, mode: str) -> sqlite3.Connection:
    # No mmap: a read error would be a SIGBUS, and it saves 1.5 us a get at best.
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def _format(cursor: sqlite3.Cursor, path: Path) -> None:
    (application,) = cursor.execute("PRAGMA application_id").fetchone()
    (version,) = cursor.execute("PRAGMA user_version").fetchone()
    (tables,) = cursor.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == APPLICATION and version > FORMAT:
        raise CatalogTooNew(
            f"{path}: written in format {version}, this Forebay knows {FORMAT}; upgrade it"
        )
    if application != APPLICATION and (application or version or tables):
        raise ConfigurationError(
            f"metadata: {path} is another program's database; choose another path"
        )
    (mode,) = cursor.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ConfigurationError(
            f"metadata: SQLite cannot keep a write-ahead log beside {path}; choose a local disk"
        )
    if not application:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("CREATE TABLE kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID")
        cursor.execute(f"PRAGMA application_id = {APPLICATION}")
        cursor.execute(f"PRAGMA user_version = {FORMAT}")
        cursor.execute("COMMIT")
        sync_directory(path.parent)
