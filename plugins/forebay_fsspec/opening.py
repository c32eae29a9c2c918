"""From a URI and a mount's options to an under store: what is wrong is said before connecting."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec.registry import known_implementations

from forebay.errors import ConfigurationError
from forebay.stores.under import UnderStore
from forebay_fsspec import control, ftp, http, moves, protocols, sftp
from forebay_fsspec.archive import ArchiveFiles
from forebay_fsspec.connections import Connections
from forebay_fsspec.files import Files, FsspecFiles
from forebay_fsspec.memory import MemoryFiles
from forebay_fsspec.protocols import SKEW, Row
from forebay_fsspec.under import FsspecUnderStore

PREFIX: Final = "fsspec+"
_OURS: Final = ("durability", "timeout", "parallel_reads")


def _disconnect(fs: Any) -> None:
    if not fs.async_impl and hasattr(fs, "session"):  # of requests: WebHDFS
        fs.session.close()


_CLOSE: Mapping[str, Callable[[Any], object]] = {
    "sftp": sftp.disconnect,
    "ftp": control.Control.close,
    "http": http.disconnect,
    "files": _disconnect,
}


def answers(scheme: str) -> bool:
    """Tell whether a URI of `scheme` is for us: any of fsspec's, marked or named in the table."""
    if scheme.startswith(PREFIX):
        return True
    row = protocols.BY_NAME.get(scheme)
    if row is not None:
        return row.bare
    return scheme in known_implementations and scheme not in protocols.ELSEWHERE


def open_store(uri: str, options: Mapping[str, Any]) -> UnderStore:
    """Open the store of a URI; connections are made when first used. Raises ConfigurationError."""
    plan = _planned(uri, options)
    row, root, arguments, timeout = plan.row, plan.root, dict(plan.arguments), plan.timeout
    immutable = bool(arguments.pop("immutable", False))
    make: Callable[[], Any] = partial(_make, plan.cls, row, arguments, timeout)
    if row.via == "ftp":
        make = partial(control.connect, make, plan.longest)
        row = replace(row, path_max=plan.longest - ftp.AROUND)
    connections = Connections(
        make,
        close=_CLOSE.get(row.via, lambda fs: None),
        usable=control.Control.is_in_step if row.via == "ftp" else lambda fs: True,
        most=row.connections,
        timeout=timeout,
    )
    durable = options.get("durability", "disk") == "disk"
    files = _files(row, connections, root, arguments, timeout, durable, immutable)
    if row.place in ("url", "archive"):
        root = ""
    return FsspecUnderStore(files, root.rstrip("/"), row, parallel=plan.parallel, skew=plan.skew)


def check(uri: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError with what keeps the store from being opened; makes no connection."""
    plan = _planned(uri, options)
    if plan.row.via == "archive":
        parent, _, inner = _place_of_archive(plan.arguments)
        check(parent, inner)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a URI and its options come to, before anything is made of it."""

    row: Row
    cls: type
    root: str
    arguments: Mapping[str, Any]
    timeout: float
    parallel: int
    skew: float
    longest: int


def _planned(uri: str, options: Mapping[str, Any]) -> _Plan:
    protocol, found, rest = uri.removeprefix(PREFIX).partition("://")
    if not found:
        raise ConfigurationError(f"{uri!r}: write fsspec+protocol://…")
    settings = dict(options)
    if protocol == "dir":  # fsspec's directory of another file system: its row, below a path
        protocol = settings.pop("target_protocol", "file")
        settings = {**settings.pop("target_options", {}), **settings}
    row = protocols.BY_NAME.get(protocol, protocols.UNKNOWN)
    faults, timeout, parallel, skew = _ours(settings, row)
    longest = _longest_command(settings, faults) if row.via == "ftp" else control.LONGEST
    try:
        cls = _class_of(protocol, row)
    except ConfigurationError as missing:
        raise ConfigurationError(*missing.faults, *faults) from missing
    place, root = _place(row, cls, protocol, rest, faults)
    allowed = _allowed(cls, row)
    for name in settings:
        if allowed is not None and name not in allowed:
            near = difflib.get_close_matches(name, sorted(allowed), n=1, cutoff=0) or [""]
            faults.append(f"{name!r} is no option of {protocol}://; nearest: {near[0]!r}")
    if faults:
        raise ConfigurationError(*faults)
    if settings.get("known_hosts") is False:
        settings["known_hosts"] = None  # asyncssh's word for: trust any host
    arguments = {**row.defaults, **place, **settings}
    return _Plan(row, cls, root, arguments, timeout, parallel, skew, longest)


def _files(
    row: Row,
    connections: Connections,
    root: str,
    arguments: Mapping[str, Any],
    timeout: float,
    durable: bool,
    immutable: bool,
) -> Files:
    if row.via == "sftp":
        return sftp.SftpFiles(connections, timeout=timeout)
    if row.via == "ftp":
        return ftp.FtpFiles(connections)
    if row.via == "http":
        base = root.rstrip("/")
        return http.HttpFiles(connections, base, timeout=timeout, immutable=immutable)
    if row.via == "memory":
        return MemoryFiles(connections, timeout=timeout)
    if row.via == "archive":
        store, name = _store_of_archive(arguments)
        return ArchiveFiles(connections, store, name, timeout=timeout)
    return FsspecFiles(
        connections,
        timeout=timeout,
        replace=moves.REPLACE.get(row.moves),
        remove=moves.REMOVE.get(row.moves),
        rmdir=moves.RMDIR.get(row.moves),
        durable=durable and row.moves == "local",
    )


def _class_of(protocol: str, row: Row) -> type:
    mend = f"pip install '{row.install}'" if row.install else ""
    missing = [name for name in row.modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"{protocol}:// needs {', '.join(missing)}: {mend}")
    if protocol not in known_implementations and protocol not in protocols.BY_NAME:
        try:
            found: type = fsspec.get_filesystem_class(protocol)
        except ValueError as error:
            near = difflib.get_close_matches(protocol, known_implementations, n=1) or [""]
            reason = f"fsspec knows no protocol {protocol!r}"
            nearest = f"; nearest: {near[0]!r}" if near[0] else ""
            raise ConfigurationError(reason + nearest) from error
        return found
    try:
        if row.cls:
            module, _, name = row.cls.rpartition(".")
            return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
        return fsspec.get_filesystem_class(protocol)  # type: ignore[no-any-return]
    except ImportError as error:  # fsspec's own words name the package
        reason = ": ".join(filter(None, (str(error), mend)))
        raise ConfigurationError(f"{protocol}:// cannot be used: {reason}") from error


def _ours(settings: dict[str, Any], row: Row) -> tuple[list[str], float, int, float]:
    """Take our own options out of a mount's; tell what is wrong with them."""
    faults = []
    durability = settings.pop("durability", "disk")
    if durability not in ("disk", "process"):
        faults.append(f"durability = {durability!r}: must be disk or process")
    timeout = settings.pop("timeout", 60.0)
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or timeout <= 0:
        faults.append(f"timeout = {timeout!r}: must be a number of seconds above 0")
        timeout = 60.0
    parallel = settings.pop("parallel_reads", row.parallel)
    if not isinstance(parallel, int) or isinstance(parallel, bool) or not 1 <= parallel <= 64:
        faults.append(f"parallel_reads = {parallel!r}: must be a whole number from 1 to 64")
        parallel = row.parallel
    if row.parallel == 1:
        parallel = 1
    skew = settings.pop("clock_skew", SKEW) if row.tick else SKEW
    if not isinstance(skew, int | float) or isinstance(skew, bool) or skew < 0:
        faults.append(f"clock_skew = {skew!r}: must be a number of seconds, 0 or more")
        skew = SKEW
    return faults, float(timeout), parallel, float(skew)


def _longest_command(settings: dict[str, Any], faults: list[str]) -> int:
    longest = settings.pop("longest_command", control.LONGEST)
    if not isinstance(longest, int) or isinstance(longest, bool) or not 256 <= longest <= 65536:
        faults.append(f"longest_command = {longest!r}: must be a whole number from 256 to 65536")
        return control.LONGEST
    return longest


def _place(
    row: Row, cls: Any, protocol: str, rest: str, faults: list[str]
) -> tuple[dict[str, Any], str]:
    """Give what a URI says to the file system, and the path that the store begins at."""
    uri = f"{protocol}://{rest}"
    if row.place == "url":
        if not urlsplit(uri).netloc:
            faults.append(f"{uri!r} names no host")
        return {}, uri
    if row.place == "path":
        path = unquote(rest)
        if protocol in ("file", "local") and not path.startswith("/"):
            faults.append(f"{uri!r}: write an absolute path")
        return {}, "/" + path.strip("/") if path.strip("/") else ""
    if row.place == "archive":
        return {"fo": rest if "://" in rest else unquote(rest)}, ""
    if row.place == "bucket":
        bucket, _, prefix = rest.partition("/")
        if not bucket:
            faults.append(f"{uri!r} names no bucket")
        prefix = prefix.strip("/")
        return {}, f"{bucket}/{prefix}/" if prefix else f"{bucket}/"
    if row.place == "own":
        return dict(cls._get_kwargs_from_urls(uri)), str(cls._strip_protocol(uri))
    return _host(row, uri, faults)


def _host(row: Row, uri: str, faults: list[str]) -> tuple[dict[str, Any], str]:
    parts = urlsplit(uri)
    given: dict[str, Any] = {"host": parts.hostname}
    try:
        given["port"] = parts.port
    except ValueError as error:
        faults.append(f"{uri!r}: {error}")
    user = "user" if "hdfs" in row.names or "webhdfs" in row.names else "username"
    for name, value in ((user, parts.username), ("password", parts.password)):
        given[name] = None if value is None else unquote(value)
    if not parts.hostname and "hdfs" not in row.names:
        faults.append(f"{uri!r} names no host")
    path = unquote(uri.partition("://")[2].partition("/")[2])
    named = {name: value for name, value in given.items() if value is not None}
    return named, "/" + path.strip("/") if path.strip("/") else ""


def _allowed(cls: Any, row: Row) -> frozenset[str] | None:
    if "*" in row.options:
        return None
    named = [
        one.name
        for one in inspect.signature(cls.__init__).parameters.values()
        if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL) and one.name != "self"
    ]
    ours = [*_OURS, *["clock_skew"] * bool(row.tick), *["longest_command"] * (row.via == "ftp")]
    return frozenset([*named, *row.options, *ours])


def _make(cls: Any, row: Row, arguments: Mapping[str, Any], timeout: float) -> Any:
    """Make a file system of its own: neither found in fsspec's cache nor kept in it."""
    given = dict(arguments)
    if row.timeout_option:
        given.setdefault(row.timeout_option, timeout)
    if row.via != "sftp":  # which hands everything it does not know to the connection
        given["use_listings_cache"] = False
    fs = cls(skip_instance_cache=True, **given)
    if not fs.async_impl and hasattr(fs, "session"):
        fs.session.request = partial(fs.session.request, timeout=timeout)
    return fs


def _store_of_archive(arguments: Mapping[str, Any]) -> tuple[UnderStore, str]:
    """Open the store that an archive itself lies in; give it with the archive's key."""
    parent, name, options = _place_of_archive(arguments)
    return open_store(parent, options), name


def _place_of_archive(arguments: Mapping[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
    """Give the URI of what an archive lies in, its key there, and the options of that store."""
    target, options = arguments["fo"], arguments.get("target_options") or {}
    protocol = arguments.get("target_protocol") or "file"
    parent, _, name = (target if "://" in target else f"{protocol}://{target}").rpartition("/")
    if parent.startswith(("http://", "https://")):
        name = unquote(name)
    return f"{PREFIX}{parent}/", name, options
