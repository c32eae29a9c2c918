"""Files over FTP, by the connections of fsspec's file system, each used by one thread at a time.

fsspec's own reads take every error for "not found", and its `info` lists the whole directory;
so commands are given directly. Of each, only the codes that RFC 959 and 3659 name are its answer.
"""

from __future__ import annotations

import ftplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from forebay.errors import NotFound, StorageError, Unavailable
from forebay_fsspec.clock import time_for
from forebay_fsspec.connections import Connections
from forebay_fsspec.control import Control
from forebay_fsspec.faults import Translated
from forebay_fsspec.files import UNKNOWN, Checked, Entry, Sink, Source, moment

_BLOCK = 1 << 18
AROUND = len("MLST \r\n")
"""Bytes of a command around the path of an object: all of them have four letters at most."""


class FtpSink:
    """One new file; has its connection to itself until it is done."""

    def __init__(self, connections: Connections, path: str) -> None:
        self._path = path
        self._use = connections.use()
        with Translated(path):
            self._control: Control = self._use.__enter__()
            try:
                self._control.ask("TYPE I", "200")
                self._socket: socket.socket | None = self._control.transfer(f"STOR {path}")
            except Exception as error:
                self._leave(error)
                raise

    def write(self, block: bytes, /) -> None:
        """Append bytes."""
        assert self._socket is not None
        with Translated(self._path):
            self._socket.sendall(block)

    def finish(self) -> None:
        """End the transfer and wait for the server to say that it has everything."""
        assert self._socket is not None
        with Translated(self._path):
            try:
                self._socket.close()
                self._socket = None
                self._control.end()
            except Exception as error:
                self._leave(error)
                raise
        self._leave(None)

    def abort(self) -> None:
        """Break the transfer off, and the connection with it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._leave(Unavailable("broken off"))

    def _leave(self, error: Exception | None) -> None:
        if error is None:
            self._use.__exit__(None, None, None)
            return
        with suppress(type(error)):
            self._use.__exit__(type(error), error, error.__traceback__)


class FtpFiles:
    """Files and directories of one server."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @contextmanager
    def _control(self, path: str) -> Iterator[Control]:
        with Translated(path), self._connections.use() as control:
            yield control

    def info(self, path: str, /) -> Entry:
        """Tell of a path. Raises NotFound."""
        with self._control(path) as control:
            return _info(control, path or "/")

    def ls(self, path: str, /) -> list[Entry]:
        """Tell of all names in a directory. Raises NotFound."""
        path = path or "/"
        with self._control(path) as control:
            if "MLST" in control.features:  # which stands for MLSD, too
                try:
                    told = map(_of_facts, control.lines(f"MLSD {path}"))
                except ftplib.error_perm as error:
                    if not str(error).startswith("501") or _is_directory(control, path):
                        raise
                    raise NotFound(f"{path!r} is no directory") from error
            elif _is_directory(control, path):
                told = map(_of_list, control.lines(f"LIST {path}"))
            else:
                raise NotFound(f"{path!r} is no directory")
        return [entry for entry in told if entry is not None]

    def open(self, path: str, /) -> Source:
        """Open a file. Raises NotFound."""
        entry = self.info(path)
        if entry.is_directory:
            raise NotFound(f"{path!r} is a directory")
        return Checked(path, entry, lambda a, b: self._fetch(path, a, b), lambda: self.info(path))

    def create(self, path: str, /) -> Sink:
        """Begin a new file. Raises NotFound when its directory is missing."""
        return FtpSink(self._connections, path)

    def newer(self, path: str, entry: Entry, than: Entry | None, /) -> Entry:
        """Give the file a time of its own: servers tell whole seconds only.

        Raises Unavailable where the server does not let us and it would be that of `than`.
        """
        if than is None and entry.modified == moment(None):
            return entry  # of a server that tells no times at all
        when = f"{moment(time_for(entry, than)):%Y%m%d%H%M%S}"
        with self._control(path) as control, suppress(ftplib.error_perm):
            if "MFMT" in control.features:
                control.ask(f"MFMT {when} {path}", "213")
            else:
                control.ask(f"MDTM {when} {path}", "213", "250", "253", optional=True)
        entry = self.info(path)
        # The fact `unique` may be an inode of before.
        if than is not None and entry.modified == than.modified:
            raise Unavailable(f"{path!r}: the server's clock has whole seconds; try again in one")
        return entry

    def move(self, source: str, target: str, /) -> None:
        """Move a file onto another."""
        begin, end = f"RNFR {source}", f"RNTO {target}"
        with self._control(target) as control:
            control.fit(begin, end)
            control.ask(begin, "350")
            control.ask(end, "250")

    def remove(self, path: str, /) -> None:
        """Remove a file. Raises NotFound."""
        with self._control(path) as control:
            control.ask(f"DELE {path}", "250")

    def mkdir(self, path: str, /) -> None:
        """Make one directory."""
        with self._control(path) as control:
            control.ask(f"MKD {path}", "257", "250")  # the second is IIS's

    def rmdir(self, path: str, /) -> None:
        """Remove an empty directory."""
        with self._control(path) as control:
            control.ask(f"RMD {path}", "250")

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _fetch(self, path: str, start: int, stop: int) -> bytes:
        with self._control(path) as control:
            control.ask("TYPE I", "200")
            content = bytearray()
            with control.transfer(f"RETR {path}", start) as data:
                while len(content) < stop - start:
                    block = data.recv(min(_BLOCK, stop - start - len(content)))
                    if not block:
                        break
                    content += block
            # 226 when the file ended here, else 426 or 451: we closed before its end.
            control.end(broken_off=True)
        return bytes(content)


def _info(control: Control, path: str) -> Entry:
    if "MLST" not in control.features:
        return _info_by_parts(control, path)
    reply = control.ask(f"MLST {path}", "250")
    for line in reply.split("\n")[1:]:
        entry = _of_facts(line.lstrip(" "), path.rpartition("/")[2])
        if entry is not None:
            return entry
    control.close()
    raise StorageError(f"{path!r}: the server's answer to MLST is none: {reply!r}")


def _info_by_parts(control: Control, path: str) -> Entry:
    name = path.rpartition("/")[2]
    control.ask("TYPE I", "200")  # or SIZE counts characters
    try:
        size = int(control.ask(f"SIZE {path}", "213").split()[-1])
    except ftplib.error_perm:
        if not _is_directory(control, path):
            raise
        return Entry(name, True, 0, moment(None), "directory")
    when = control.ask(f"MDTM {path}", "213").split()[-1]
    return Entry(name, False, size, _moment(when), f"{size:x}-{when}")


def _is_directory(control: Control, path: str) -> bool:
    try:
        control.ask(f"CWD {path}", "250")
    except ftplib.error_perm:
        return False
    control.ask("CWD /", "250")
    return True


def _of_facts(line: str, name: str | None = None) -> Entry | None:
    """Read a line of MLSD or MLST (RFC 3659): facts, a space, the name.

    >>> _of_facts("type=file;size=3;modify=20260102030405; a b").name
    'a b'
    """
    told, _, last = line.partition(" ")
    facts = {}
    for fact in told.rstrip(";").split(";"):
        kind, _, value = fact.partition("=")
        facts[kind.lower()] = value
    kind = facts.get("type", "").lower()
    if kind not in ("file", "dir") and not (kind and name is not None):
        return None  # cdir, pdir, and what is neither file nor directory
    size, when = int(facts.get("size", 0)), facts.get("modify", "")
    is_directory = kind.endswith("dir")
    versions = [facts[one] for one in ("unique",) if one in facts and not is_directory]
    fingerprint = "-".join([*versions, f"{0 if is_directory else size:x}", when])
    return Entry(name or last, is_directory, size, _moment(when), fingerprint)


def _of_list(line: str) -> Entry | None:
    """Read a line of LIST in the form of ``ls -l``; sizes and times are asked for later."""
    parts = line.split(maxsplit=8)
    if len(parts) < 9 or parts[8] in (".", "..") or line[0] not in "-d":
        return None
    return Entry(parts[8], line[0] == "d", UNKNOWN, moment(None), "")


def _moment(when: str) -> datetime:
    if not when:
        return moment(None)
    return datetime.strptime(when[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
