"""The control connection of FTP, kept in step: each reply belongs to the command before it.

FTP does not number its replies. One too many would be taken for the answer to the next command,
and so on for good: deletes would be acknowledged that never happened. So a connection on which
anything came that does not fit is closed, and no command is sent that a server might cut in two.
"""

from __future__ import annotations

import ftplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from forebay.errors import InvalidKey, KeyTooLong, Unavailable
from forebay_fsspec.faults import kind_of

LONGEST: Final = 2048
"""Bytes of the longest command, its end of line included: what pyftpdlib takes, the least of
the servers in use (vsftpd 4,096, ProFTPD 4,103); RFC 959 promises nothing."""

_SYNTAX: Final = ("500", "501", "502", "503", "504")
_REFUSED: Final = ("550", "551", "552", "553")
"""What a server says of a path; any other 5xx says that it and we do not understand each other."""
_SHORT: Final = 512  # bytes of a command that the oldest servers take
_SHOWN: Final = 80


def connect(make: Callable[[], Any], longest: int) -> Control:
    """Make a file system of fsspec's and take over its control connection."""
    fs = make()
    try:
        return Control(fs, longest)
    except BaseException:
        fs.ftp.close()
        raise


class Control:
    """One control connection, used by one thread at a time; closed by itself when out of step."""

    def __init__(self, fs: Any, longest: int = LONGEST) -> None:
        self._fs = fs  # which would close the connection if it were forgotten
        self._ftp = fs.ftp
        self._longest = longest
        self._replies = _Replies(self._ftp)
        self._ftp.file.close()
        self._ftp.file = self._replies
        self._send = self._ftp.putline
        self._ftp.putline = self._put  # so that what ftplib sends by itself is looked at, too
        self.features = self._features()

    def is_in_step(self) -> bool:
        """Tell whether the connection is open, and nothing waits on it that nobody asked for."""
        return self._ftp.sock is not None and not self._replies.any_waiting()

    def fit(self, *commands: str) -> None:
        """Raise InvalidKey if one of the commands must not be sent."""
        for command in commands:
            try:
                length = len(f"{command}\r\n".encode(self._ftp.encoding))
            except UnicodeEncodeError as error:
                raise InvalidKey(f"{_shown(command)}: {error}") from error
            if length > self._longest:
                raise KeyTooLong(
                    f"this key would take a command of {length} bytes; the longest_command of its "
                    f"mount is {self._longest}"
                )

    def ask(self, command: str, *fits: str, optional: bool = False) -> str:
        """Send a command and give its reply, whose code is one of `fits`.

        Raises error_perm when the server refuses what is asked; also, with `optional`, when it
        does not know the command. Raises StorageError for any other reply.
        """
        with self._in_step(command, also=_SYNTAX if optional else ()):
            return _fitting(command, self._ftp.sendcmd(command), fits)

    def transfer(self, command: str, start: int | None = None) -> Any:
        """Begin a transfer at byte `start`; give the socket of its data. Raises as `ask`."""
        self.fit(command)
        with self._in_step(command):
            return self._ftp.transfercmd(command, start)

    def end(self, *, broken_off: bool = False) -> None:
        """Take the reply to the end of a transfer, be it a complaint if we broke it off."""
        with self._in_step("the transfer"):
            try:
                _fitting("the transfer", self._ftp.getresp(), ("226", "250"))
            except ftplib.error_temp:
                if not broken_off:
                    raise
            except ftplib.error_perm as error:
                if not (broken_off and str(error).startswith(_REFUSED)):
                    raise

    def lines(self, command: str) -> list[str]:
        """Give the lines of a listing; bytes that are no characters come as surrogates.

        Raises error_perm with 501, too: RFC 3659 has it for MLSD of what is no directory.
        """
        self.fit(command)
        self.ask("TYPE A", "200")
        with self._in_step(command, also=() if len(command.encode()) > _SHORT else ("501",)):
            with self._ftp.transfercmd(command) as data:
                with data.makefile("rb") as file:
                    content = file.read()
                if isinstance(data, ssl.SSLSocket):
                    data.unwrap()
            self.end()
        lines = content.split(b"\n")
        encoding = self._ftp.encoding
        return [line.rstrip(b"\r").decode(encoding, "surrogateescape") for line in lines if line]

    def close(self) -> None:
        """Close the connection for good."""
        self._ftp.close()

    def _features(self) -> frozenset[str]:
        """Ask what the server can do beyond RFC 959; one that cannot tell can nothing."""
        try:
            reply = self.ask("FEAT", "211", optional=True)
        except ftplib.error_perm:
            return frozenset()
        return frozenset(
            line.split()[0].upper() for line in reply.split("\n")[1:-1] if line.split()
        )

    def _put(self, line: str) -> None:
        self.fit(line)
        if not self.is_in_step():
            self.close()
            raise Unavailable("the server hung up, or sent a reply that nobody had asked for")
        self._send(line)

    @contextmanager
    def _in_step(self, command: str, *, also: tuple[str, ...] = ()) -> Iterator[None]:
        """Close the connection at anything but an answer to what was asked.

        Raises error_perm for a code that is such an answer: of a path, or one of `also`.
        """
        try:
            yield
        except InvalidKey:
            raise  # of `fit`: nothing was sent
        except ftplib.error_perm as error:
            code = str(error)[:3]
            if code in _REFUSED or code in also:
                raise
            self.close()
            if code in ("500", "501") and len(command.encode()) > _SHORT:
                raise KeyTooLong(
                    f"{_shown(command)}: {error}; if the server takes shorter commands only, "
                    "set longest_command"
                ) from error
            raise kind_of(error)(f"{_shown(command)}: {error}") from error
        except ftplib.Error as error:
            self.close()
            raise Unavailable(f"{_shown(command)}: {error}") from error
        except BaseException:
            self.close()
            raise


class _Replies:
    """The lines of a control connection; a buffered file would not tell whether any is left."""

    def __init__(self, ftp: Any) -> None:
        self._socket = ftp.sock
        self._encoding = ftp.encoding
        self._unread = b""

    def readline(self, limit: int) -> str:
        """Give the next line, or as much of it as `limit` bytes; nothing at the end."""
        while b"\n" not in self._unread and len(self._unread) < limit:
            block = self._socket.recv(1 << 13)
            if not block:
                break
            self._unread += block
        stop = min(self._unread.find(b"\n") + 1 or len(self._unread), limit)
        line, self._unread = self._unread[:stop], self._unread[stop:]
        return line.decode(self._encoding, "replace")

    def any_waiting(self) -> bool:
        """Tell whether there is something to read: a line, the end or an error."""
        if self._unread:
            return True
        timeout = self._socket.gettimeout()
        try:
            self._socket.settimeout(0)
            # Not a poll: below TLS there may be records that are no reply.
            self._unread = self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            with suppress(OSError):
                self._socket.settimeout(timeout)
        return True

    def close(self) -> None:
        """There is nothing to let go of."""


def _fitting(command: str, reply: str, fits: tuple[str, ...]) -> str:
    if not reply.startswith(fits):
        raise Unavailable(f"{_shown(command)}: {reply!r} is no answer to it")
    return reply


def _shown(command: str) -> str:
    return repr(command if len(command) <= _SHOWN else f"{command[:_SHOWN]}…")
