"""The directories of a disk tier: how they are laid out, made, named and swept.

``<path>/staging/`` holds pages that are being written, each locked by its writer;
``<path>/data/<00..ff>/<segment>.<page size>.<index>`` the pages, ``….crc`` the sums of large
ones; ``<path>/forebay-pages`` names the layout. All directories are made and synced once, so
that a commit has one directory to sync.
"""

from __future__ import annotations

import fcntl
import os
import re
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from forebay.errors import ConfigurationError, InvalidKey
from forebay.types import PageId

MARKER: Final = "forebay-pages"
FORMAT: Final = "1"
SHARDS: Final = tuple(f"{number:02x}" for number in range(256))
OWN: Final = frozenset(
    [MARKER, "staging", "data", "fills", "lost+found", "room", "room.users", "room.one"]
)
VOLATILE: Final = frozenset(["tmpfs", "ramfs"])
BESIDE: Final = ".crc"

_SEGMENT = re.compile(r"[0-9A-Za-z_-]{1,200}")
_NAME = re.compile(r"([0-9A-Za-z_-]+)\.([0-9]+)\.([0-9]+)")


def place(page: PageId) -> tuple[str, str]:
    """Give the shard and the file name of a page. Raises InvalidKey for what cannot be one."""
    segment, page_size, index = page
    shard = _shard(segment)
    if not shard or page_size < 0 or index < 0:
        raise InvalidKey(f"{page} cannot be kept: segments are 1 to 200 of 0-9 A-Z a-z _ -")
    return shard, f"{segment}.{page_size}.{index}"


@lru_cache(maxsize=1024)
def _shard(segment: str) -> str:
    """Give the shard of a segment; "" for what cannot be one."""
    if not _SEGMENT.fullmatch(segment):
        return ""
    return SHARDS[zlib.crc32(segment.encode()) & 0xFF]


def page_of(name: str) -> PageId | None:
    """Give the page that a file name stands for, or None."""
    match = _NAME.fullmatch(name)
    return match and PageId(match[1], int(match[2]), int(match[3]))


def prepare(root: Path) -> bool:
    """Make or look over the directories; tell whether they survive a power cut.

    Raises ConfigurationError for a directory that is in other use or of another format.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _format(root)
        devices = {(root / each).stat().st_dev for each in ("staging", "data")}
        kind = file_system(root)
    except OSError as error:
        raise ConfigurationError(f"cache.tiers: {error}") from error
    if len(devices) > 1:
        raise ConfigurationError(
            f"cache.tiers: {root}/staging and {root}/data must lie on one file system"
        )
    return kind not in VOLATILE


def _format(root: Path) -> None:
    marker = root / MARKER
    version = marker.read_text("utf-8", "replace").strip() if marker.exists() else ""
    if version == FORMAT:
        return
    if version:
        raise ConfigurationError(
            f"cache.tiers: {root} has format {version!r}, this Forebay knows {FORMAT!r};"
            " choose another path, or empty it once nothing in it is unpersisted"
        )
    if strangers := sorted(set(os.listdir(root)) - OWN):
        raise ConfigurationError(
            f"cache.tiers: {root} holds other files ({strangers[0]}); choose an empty directory"
        )
    for name in ("staging", "data", *(f"data/{shard}" for shard in SHARDS)):
        (root / name).mkdir(mode=0o700, exist_ok=True)
    sync_directory(root / "data")
    marker.write_text(FORMAT + "\n", "utf-8")
    for path in (marker, root, root.parent):
        sync_directory(path)


def sync_directory(path: str | Path) -> None:
    """Make what is in a directory, or a file, survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sweep(staging: Path) -> None:
    """Remove what dead writers left; a file that is locked has a living one."""
    for name in os.listdir(staging):
        with suppress(FileNotFoundError, BlockingIOError):
            fd = os.open(staging / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(staging / name)
            finally:
                os.close(fd)


def stage(staging: Path) -> tuple[int, str]:
    """Make a new staging file, locked until its descriptor is closed; give that and its path."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        path = f"{staging}/{os.getpid()}-{os.urandom(8).hex()}"
        fd = os.open(path, flags, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)  # somebody swept it between its making and its lock


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
