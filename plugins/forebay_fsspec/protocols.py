"""Every protocol with what it can do, and how it is reached: one table.

`server` says what this project's tests run the conformance kit against; the rows without it
are written by the protocol's own documents and not tested here.
A protocol that fsspec knows and this table does not is mounted read only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from forebay.types import Capabilities

SKEW: Final = 5.0
"""Seconds by which the clocks of a server and of this machine may differ, unless told."""
CONTROLS: Final = r"[\x00-\x1f\x7f]"
_FTP: Final = r"[\x00-\x1f\x7f]|^\s|\s$"
_WINDOWS: Final = r'[\x00-\x1f\x7f<>:"|?*\\]|[. ]$|^(?i:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)'
_HDFS: Final = r"[\x00-\x1f\x7f:]"

_TREE = Capabilities(atomic_put=True, shared_between_processes=True)
_READ = Capabilities(shared_between_processes=True)
_BLOBS = Capabilities(atomic_put=True, shared_between_processes=True)

Place = Literal["host", "url", "bucket", "path", "archive", "own"]
"""What stands behind ``proto://``: a host and a path, a URL as it is, a bucket and a prefix,
a path, the URI of an archive, or what only the file system itself can read."""

Via = Literal["files", "sftp", "ftp", "http", "memory", "archive"]
"""By which module the protocol is spoken to; `files` is fsspec's public interface."""


@dataclass(frozen=True, slots=True)
class Row:
    """One protocol, or several that are the same."""

    names: tuple[str, ...]
    capabilities: Capabilities
    place: Place
    via: Via = "files"
    cls: str = ""
    """Class of the file system, where fsspec's registry could give another."""
    modules: tuple[str, ...] = ()
    """What must be importable beside fsspec."""
    install: str = ""
    """What to hand to pip for it."""
    timeout_option: str = ""
    """The class's own option that bounds its waiting, in seconds."""
    read_only: bool = False
    flat: bool = False
    """Keys without directories: nothing to make, to prune or to move."""
    bare: bool = True
    """Whether ``proto://`` without ``fsspec+`` is ours: no other plugin of Forebay's makes it."""
    options: tuple[str, ...] = ()
    """Options beyond those that the class names; ``*`` where it takes any."""
    defaults: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    parallel: int = 8
    connections: int | None = None
    """Connections of one thread each; None where threads share one."""
    forbidden: str = CONTROLS
    path_max: int | None = 4000
    tick: float = 0.0
    """Seconds in whose steps the server tells times; 0 where two versions never share one."""
    moves: str = ""
    """The protocol's own ways in `moves`, where fsspec's do not do."""
    server: str = ""
    """What the conformance kit runs against in this project's tests; none where it does not."""
    note: str = ""


_SSH = (
    *("username", "password", "port", "client_keys", "passphrase", "known_hosts", "config"),
    *("connect_timeout", "login_timeout", "keepalive_interval", "max_sessions", "agent_path"),
    *("client_host_keys", "compression_algs", "encryption_algs", "kex_algs", "mac_algs"),
    *("server_host_key_algs", "tunnel", "proxy_command"),
)

ROWS: Final = (
    Row(
        ("s3", "s3a"),
        _BLOBS,
        "bucket",
        modules=("s3fs",),
        install="s3fs",
        bare=False,
        flat=True,
        path_max=1000,
        options=("*",),
        server="moto, where s3fs is installed",
        note="s3:// without fsspec+ does more: conditional writes, attributes, any key",
    ),
    Row(
        ("gs", "gcs"),
        _BLOBS,
        "bucket",
        bare=False,
        modules=("gcsfs",),
        install="gcsfs",
        flat=True,
        path_max=1000,
        options=("*",),
    ),
    Row(
        ("az", "abfs"),
        _BLOBS,
        "own",
        bare=False,
        modules=("adlfs",),
        install="adlfs",
        flat=True,
        path_max=1000,
        options=("*",),
    ),
    Row(
        ("sftp", "ssh"),
        _TREE,
        "host",
        via="sftp",
        cls="sshfs.SSHFileSystem",
        install="forebay[sftp]",
        modules=("sshfs",),
        options=_SSH,
        timeout_option="connect_timeout",
        defaults=MappingProxyType(
            {
                "known_hosts": (),  # asyncssh's word for the user's own file
                # Or one name that is not UTF-8 would fail its whole directory.
                "sftp_client_kwargs": {"path_errors": "surrogateescape"},
            }
        ),
        tick=1.0,
        server="asyncssh; OpenSSH's sftp-server where it is installed",
        note="times are of [whole seconds](#whole-seconds); host keys are checked (known_hosts)",
    ),
    Row(
        ("ftp",),
        _TREE,
        "host",
        via="ftp",
        timeout_option="timeout",
        connections=4,
        parallel=2,
        forbidden=_FTP,
        tick=1.0,
        server="pyftpdlib, also without MLST and MLSD",
        note="times are of [whole seconds](#whole-seconds); "
        "atomic where the server's rename replaces",
    ),
    Row(
        ("smb",),
        Capabilities(shared_between_processes=True),
        "host",
        install="forebay[smb]",
        modules=("smbprotocol",),
        timeout_option="timeout",
        forbidden=_WINDOWS,
        moves="smb",
        note="names that differ by case only are one object",
    ),
    Row(
        ("webhdfs", "webHDFS"),
        _TREE,
        "host",
        install="forebay[hdfs]",
        modules=("requests",),
        forbidden=_HDFS,
        moves="webhdfs",
        connections=8,
        server="a stub of the protocol, not a Hadoop",
    ),
    Row(
        ("hdfs",),
        Capabilities(shared_between_processes=True),
        "host",
        install="pyarrow",
        modules=("pyarrow",),
        forbidden=_HDFS,
        moves="hdfs",
        note="needs libhdfs and a JVM; webhdfs:// replaces in one step, this one cannot",
    ),
    Row(
        ("http", "https"),
        _READ,
        "url",
        via="http",
        install="forebay[http]",
        modules=("aiohttp",),
        read_only=True,
        options=("headers", "auth", "ssl", "proxy", "immutable"),
        defaults=MappingProxyType({"simple_links": False}),
        server="a web server of ours",
    ),
    Row(
        ("github",),
        _READ,
        "own",
        install="forebay[http]",
        modules=("requests",),
        read_only=True,
        connections=4,
        parallel=1,
    ),
    Row(
        ("zip",),
        _READ,
        "archive",
        via="archive",
        read_only=True,
        connections=16,
        parallel=1,
        server="files",
    ),
    Row(
        ("tar",),
        _READ,
        "archive",
        via="archive",
        read_only=True,
        connections=16,
        parallel=1,
        server="files",
    ),
    Row(
        ("memory",),
        Capabilities(any_key=True, atomic_put=True, persistent=False),
        "path",
        via="memory",
        bare=False,
        parallel=1,
        path_max=None,
        defaults=MappingProxyType({"global_store": False}),
        server="itself",
        note="every mount has a memory of its own, unless global_store = true",
    ),
    Row(
        ("file", "local"),
        _TREE,
        "path",
        bare=False,
        moves="local",
        server="files",
        note="file:// without fsspec+ does more: no copy in the cache, attributes, any key",
    ),
)

BY_NAME: Final[Mapping[str, Row]] = MappingProxyType(
    {name: row for row in ROWS for name in row.names}
)

ELSEWHERE: Final = frozenset({"adl"})
"""Schemes that fsspec knows and another plugin of Forebay's answers for by another meaning."""

UNKNOWN: Final = Row((), _READ, "own", read_only=True, options=("*",), parallel=1, connections=4)
"""The row of a protocol that is in fsspec's registry only."""


def documented() -> str:
    """Give the table of `docs/under-stores.md`."""
    lines = ["| Protocol | Needs | Writes | Tested | |", "|---|---|---|---|---|"]
    for row in ROWS:
        names = ", ".join(f"`{name if row.bare else 'fsspec+' + name}://`" for name in row.names)
        needs = f"`pip install '{row.install}'`" if row.install else "nothing"
        writes = "read only" if row.read_only else "yes"
        if row.capabilities.atomic_put:
            writes = "atomic"
        cells = (names, needs, writes, row.server or "not here", row.note)
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(lines)
