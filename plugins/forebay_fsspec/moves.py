"""How a protocol replaces a file in one step, removes it, or an empty directory, where fsspec errs.

fsspec's `mv` moves *into* a target that is a directory, copies, or does nothing when the target
is there; its `rmdir` may do nothing, or take everything below with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from forebay.errors import NotSupported


def _local(fs: Any, source: str, target: str) -> None:
    os.replace(source, target)
    directory = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _smb(fs: Any, source: str, target: str) -> None:
    unc = [f"\\\\{fs.host}" + path.replace("/", "\\") for path in (source, target)]
    import_module("smbclient").replace(*unc, port=fs._port)


def _webhdfs(fs: Any, source: str, target: str) -> None:
    fs._call("RENAME", method="put", path=source, destination=target, renameoptions="OVERWRITE")


def _remove_first(fs: Any, source: str, target: str) -> None:
    with suppress(FileNotFoundError):
        if fs.isfile(target):
            fs.rm_file(target)
    fs.mv(source, target)


def _remove_webhdfs(fs: Any, path: str) -> None:
    answer = fs._call("DELETE", method="delete", path=path, recursive="false")
    if not answer.json()["boolean"]:  # which fsspec does not look at
        raise FileNotFoundError(path)


def _rmdir_webhdfs(fs: Any, path: str) -> None:
    if fs.info(path)["type"] != "directory":
        raise NotADirectoryError(path)
    _remove_webhdfs(fs, path)  # refused by the server unless it is empty


def _rmdir_never(fs: Any, path: str) -> None:
    # pyarrow's takes everything below with it, and looking first would leave a gap.
    raise NotSupported(f"{path!r}: directories are left where they are")


REPLACE: dict[str, Callable[[Any, str, str], None]] = {
    "local": _local,
    "smb": _smb,
    "webhdfs": _webhdfs,
    "hdfs": _remove_first,
}
REMOVE: dict[str, Callable[[Any, str], None]] = {"webhdfs": _remove_webhdfs}
RMDIR: dict[str, Callable[[Any, str], None]] = {"webhdfs": _rmdir_webhdfs, "hdfs": _rmdir_never}
