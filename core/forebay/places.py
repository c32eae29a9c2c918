"""Where things are: addresses, paths of mounts, URIs of directories, state, the default tier."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/]|$)")
_GIB = 1 << 30

PORT = 39999
"""Alluxio's port of the S3 endpoint."""


def split_address(listen: str) -> tuple[str, int]:
    """Split ``host:port``; an IPv6 host stands in brackets. Raises ValueError.

    >>> split_address("127.0.0.1:39999"), split_address("[::1]:0")
    (('127.0.0.1', 39999), ('::1', 0))
    """
    host, colon, port = listen.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{listen!r} is not an address; write host:port, like 127.0.0.1:{PORT}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{listen!r} is not an address; put the IPv6 host in brackets")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refused(given: str, path: str) -> str:
    """Give the reason why no mount can be at `path`, or nothing."""
    names = path.strip("/").split("/") if path != "/" else []
    if not given.startswith("/"):
        return "a mount's path begins with /"
    if any(name in ("", ".", "..") for name in names):
        return "a mount's path has no empty name, no . and no .."
    if names and names[0] == "-":
        return "/- is Forebay's own"
    if names and ":" in names[0]:
        return "no bucket's name has a colon"
    return ""


def mount_uri(given: str, folder: Path) -> str:
    """Give the URI of an under store; a path, or a relative ``file://``, begins at `folder`.

    Raises ValueError.
    """
    scheme = _SCHEME.match(given)
    if not given:
        raise ValueError("must name a directory or a URI")
    if scheme is None and (reason := _no_directory(given)):
        raise ValueError(reason)
    if scheme is None:
        return folder.joinpath(Path(given).expanduser()).resolve().as_uri()
    if scheme[1].lower() != "file":
        try:
            urlsplit(given)
        except ValueError as error:  # brackets that are no IPv6 address
            raise ValueError(f"{given!r} is no URI: {error}") from None
        return given
    rest = urlsplit(given)
    if rest.netloc not in ("", "localhost"):
        raise ValueError(f"{given!r} names the host {rest.netloc!r}; write file:///absolute/path")
    # `?` and `#` are ordinary characters in the path of a directory.
    return Path(
        os.path.abspath(unquote(given.split("://", 1)[1].removeprefix("localhost")))
    ).as_uri()


def _no_directory(given: str) -> str:
    """Give the reason why what begins with no ``scheme://`` is hardly meant as a directory.

    >>> _no_directory("s3:/lake"), _no_directory("./s3:/lake")
    ("'s3:/lake' has one slash; did you mean s3://lake? A directory is ./s3:/lake", '')
    """
    if found := _ONE_SLASH.match(given):
        rest = given[found.end() :]
        uri = f"{found[1]}://{'/' if found[1].lower() == 'file' else ''}{rest}"
        return f"{given!r} has one slash; did you mean {uri}? A directory is ./{given}"
    name = given.partition("://")[0]
    if "://" in given and "/" not in name:
        return f"{given!r} is no URI: {name!r} is no name of a scheme; a directory is ./{given}"
    return ""


def states() -> Path:
    """Give the directory in which namespaces have their state unless they say otherwise."""
    home = os.environ.get("XDG_STATE_HOME", "")
    # XDG: a relative path in the variable is to be ignored.
    base = Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state"
    return base / "forebay"


def default_state(root: str) -> str:
    """Give the directory that keeps the state of the namespace whose root is at URI `root`."""
    return str(states() / hashlib.sha256(root.encode()).hexdigest()[:16])


def default_tiers(state: str) -> list[dict[str, Any]]:
    """Give the one tier of a configuration that names none, as values of `TierConfig`.

    A `disk` tier of 10 GiB in `state`, never above half of the free space; without a state, a
    `memory` tier of 1 GiB.
    """
    if not state:
        return [{"name": "MEM", "kind": "memory", "capacity": _GIB}]
    capacity = max(1 << 20, min(10 * _GIB, _free(Path(state)) // 2))
    return [{"name": "SSD", "path": str(Path(state) / "pages"), "capacity": capacity}]


def _free(path: Path) -> int:
    """Give the free bytes of the file system on which `path` will be made."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
