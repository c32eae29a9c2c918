"""Files of a web server, read only, by the session of fsspec's file system.

fsspec's own `info` takes every failure for "not found", and its ranged reads take whatever the
server gives; here each answer is looked at: its status, its range, its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlsplit

from forebay.errors import NotFound, NotSupported, PermissionDenied, SourceChanged, StorageError
from forebay_fsspec.connections import Connections, run
from forebay_fsspec.faults import Translated, kind_of_status
from forebay_fsspec.files import UNKNOWN, Entry, Sink, Source, moment

_PLAIN = {"Accept-Encoding": "identity"}  # or sizes and ranges are of something packed


def disconnect(fs: Any) -> None:
    """Close the session of a file system."""
    if fs._session is not None:
        run(fs, fs._session.close(), 10)


class HttpSource:
    """One file of a server; every answer must be of the version that was found first."""

    def __init__(self, files: HttpFiles, path: str, entry: Entry, etag: str | None) -> None:
        self.entry = entry
        self._files = files
        self._path = path
        self._etag = etag

    def read(self, start: int, stop: int, /) -> bytes:
        """Read the half-open range. Raises SourceChanged."""
        return self._files.fetch(self._path, self.entry, self._etag, start, stop)

    def close(self) -> None:
        """There is nothing to let go of."""


class HttpFiles:
    """What lies below one URL. Directories are pages of links, as servers make of directories."""

    def __init__(
        self, connections: Connections, base: str, *, timeout: float, immutable: bool = False
    ) -> None:
        self._connections = connections
        self._base = base
        self._timeout = timeout
        self._immutable = immutable

    def info(self, path: str, /) -> Entry:
        """Tell of a path. Raises NotFound."""
        return self._head(path)[0]

    def ls(self, path: str, /) -> list[Entry]:
        """Tell of the links of a directory's page; sizes have to be asked for. Raises NotFound."""
        url = self._url(path) + "/"
        with Translated(path), self._connections.use() as fs:
            links = run(fs, self._links(fs, url), self._timeout)
        found = {}
        for link in links:
            # Only what lies right below: not the parent, no other server, no way of sorting.
            rest = link.removeprefix(url)
            name = unquote(rest.rstrip("/"))
            if link == rest or "?" in rest or "#" in rest or "/" in name or name in ("", ".", ".."):
                continue
            is_directory = rest.endswith("/")
            size = 0 if is_directory else UNKNOWN
            found[name] = Entry(name, is_directory, size, moment(None), "directory")
        return list(found.values())

    def open(self, path: str, /) -> Source:
        """Open a file. Raises NotFound."""
        entry, etag = self._head(path)
        if entry.is_directory:
            raise NotFound(f"{path!r} is a directory")
        return HttpSource(self, path, entry, etag)

    def fetch(self, path: str, entry: Entry, etag: str | None, start: int, stop: int) -> bytes:
        """Read the half-open range of a version. Raises SourceChanged."""
        with Translated(path), self._connections.use() as fs:
            work = self._fetch(fs, path, entry, etag, start, stop)
            return run(fs, work, self._timeout)

    def create(self, path: str, /) -> Sink:
        """Raise PermissionDenied, as all that would write."""
        self._refuse(path)

    def newer(self, path: str, entry: Entry, than: Entry | None, /) -> Entry:
        """Raise PermissionDenied."""
        self._refuse(path)

    def move(self, source: str, target: str, /) -> None:
        """Raise PermissionDenied."""
        self._refuse(target)

    def remove(self, path: str, /) -> None:
        """Raise PermissionDenied."""
        self._refuse(path)

    def mkdir(self, path: str, /) -> None:
        """Raise PermissionDenied."""
        self._refuse(path)

    def rmdir(self, path: str, /) -> None:
        """Raise PermissionDenied."""
        self._refuse(path)

    def close(self) -> None:
        """Close the session."""
        self._connections.close()

    @staticmethod
    def _refuse(path: str) -> NoReturn:
        raise PermissionDenied(f"{path!r}: a web server is read only")

    def _url(self, path: str) -> str:
        return self._base + quote(path, safe="/~!$&'()*+,;=:@-._")

    async def _links(self, fs: Any, url: str) -> list[str]:
        links: list[str] = await fs._ls_real(url, detail=False)
        return links

    def _head(self, path: str) -> tuple[Entry, str | None]:
        with Translated(path), self._connections.use() as fs:
            return run(fs, self._asked(fs, path), self._timeout)

    async def _asked(self, fs: Any, path: str) -> tuple[Entry, str | None]:
        session = await fs.set_session()
        url = self._url(path)
        for method, extra in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
            request = session.request(
                method,
                fs.encode_url(url),
                allow_redirects=True,
                **_with_headers(fs.kwargs, {**_PLAIN, **extra}),
            )
            async with request as answer:
                if method == "HEAD" and answer.status in (405, 501):
                    continue
                if answer.status != 416:
                    _check(path, answer.status)
                if urlsplit(str(answer.url)).path.endswith("/") and not url.endswith("/"):
                    return _directory(path), None  # servers lead from x to x/
                size = _size(answer)
                if size is not None:
                    return self._entry(path, size, answer.headers)
        raise NotSupported(f"{path!r}: the server does not tell how long it is")

    def _entry(self, path: str, size: int, headers: Mapping[str, str]) -> tuple[Entry, str | None]:
        etag, changed = headers.get("ETag"), headers.get("Last-Modified")
        if etag is None and changed is None and not self._immutable:
            raise NotSupported(
                f"{path!r}: the server tells neither ETag nor Last-Modified, so no change could "
                "be noticed; set immutable = true if nothing ever changes"
            )
        when = moment(parsedate_to_datetime(changed)) if changed else moment(None)
        fingerprint = "|".join([etag or "", changed or "", f"{size:x}"])
        return Entry(path.rpartition("/")[2], False, size, when, fingerprint), etag

    async def _fetch(
        self, fs: Any, path: str, entry: Entry, etag: str | None, start: int, stop: int
    ) -> bytes:
        session = await fs.set_session()
        headers = {**_PLAIN, "Range": f"bytes={start}-{stop - 1}"}
        if etag is not None and not etag.startswith("W/"):
            headers["If-Match"] = etag
        url = fs.encode_url(self._url(path))
        async with session.get(url, **_with_headers(fs.kwargs, headers)) as answer:
            if answer.status in (404, 410, 412, 416):
                raise SourceChanged(f"{path!r} is another version now, or gone")
            _check(path, answer.status)
            size = _size(answer)
            whole = answer.status == 200 and start == 0 and stop == size
            if answer.status != 206 and not whole:
                raise NotSupported(f"{path!r}: the server does not give ranges")
            now, _ = self._entry(path, -1 if size is None else size, answer.headers)
            if now.fingerprint != entry.fingerprint:
                raise SourceChanged(f"{path!r} is another version now")
            content: bytes = await answer.read()
        if len(content) != stop - start:
            raise StorageError(f"{path!r}: the server gave another range than was asked for")
        return content


def _with_headers(kwargs: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    return {**kwargs, "headers": {**kwargs.get("headers", {}), **headers}}


def _check(path: str, status: int) -> None:
    if status >= 400:
        raise kind_of_status(status)(f"{path!r}: the server answered {status}")


def _size(answer: Any) -> int | None:
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if whole.isdigit():
        return int(whole)
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and answer.status == 200 else None


def _directory(path: str) -> Entry:
    return Entry(path.rpartition("/")[2], True, 0, moment(None), "directory")
