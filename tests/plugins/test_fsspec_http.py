"""Web servers: each answer is looked at, whatever a server may do."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

import pytest

from forebay.errors import NotSupported, PermissionDenied, SourceChanged, StorageError, Unavailable
from forebay.testing.under_kit import exists, names, read
from forebay.types import ByteRange
from forebay_fsspec import reading
from forebay_fsspec.opening import open_store

CONTENT = bytes(range(256)) * 8


class Answering(BaseHTTPRequestHandler):
    """Answers by the class's own rules: a status, headers and the bytes to send."""

    protocol_version = "HTTP/1.1"
    heads = True
    ranges = True
    version = '"1"'
    changed = "Thu, 01 Jan 2026 00:00:00 GMT"
    content = CONTENT
    asked = None
    status = 200

    def __init__(self, *args, directory):
        super().__init__(*args)

    def log_message(self, *args):
        pass

    def answer(self, status, content, **headers):
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def told(self):
        return {"ETag": self.version, "Last_Modified": self.changed}

    def do_HEAD(self):
        if not self.heads:
            self.answer(405, b"")
        elif self.status != 200:
            self.answer(self.status, b"")
        else:
            self.answer(200, self.content, **self.told())

    def do_GET(self):
        asked = self.headers.get("Range")
        if not (self.ranges and asked):
            self.answer(200, self.content, **self.told())
            return
        start, _, last = asked.removeprefix("bytes=").partition("-")
        part = self.content[int(start) : int(last) + 1]
        whole = f"bytes {start}-{int(start) + len(part) - 1}/{len(self.content)}"
        self.answer(206, part, Content_Range=whole, **self.told())


@pytest.fixture
def opened(servers, tmp_path):
    """Give a function that opens a store over a server of a kind."""
    running, stores = [], []

    def open_over(kind, **options):
        running.append(servers.http_server(tmp_path, kind))
        url = running[-1].__enter__()
        stores.append(open_store(f"{url}/below", {"timeout": 10, **options}))
        return stores[-1]

    yield open_over
    for store in stores:
        store.close()
    for server in running:
        server.__exit__(None, None, None)


def test_the_whole_and_a_range(opened):
    store = opened(Answering)
    assert store.head("key").size == len(CONTENT)
    assert read(store, "key") == CONTENT
    assert read(store, "key", ByteRange(100, 200)) == CONTENT[100:200]


def test_a_server_without_head_is_asked_by_a_range(opened):
    class Kind(Answering):
        heads = False

    store = opened(Kind)
    assert store.head("key").size == len(CONTENT)
    assert read(store, "key") == CONTENT


def test_a_server_without_ranges_gives_the_whole_and_refuses_parts(opened):
    class Kind(Answering):
        ranges = False

    store = opened(Kind)
    assert read(store, "key") == CONTENT
    with pytest.raises(NotSupported, match="does not give ranges"):
        read(store, "key", ByteRange(100, 200))


def test_what_tells_no_version_is_refused_unless_the_operator_says_it_never_changes(opened):
    class Kind(Answering):
        version = None
        changed = None

    with pytest.raises(NotSupported, match="immutable = true"):
        opened(Kind).head("key")
    assert read(opened(Kind, immutable=True), "key") == CONTENT


@pytest.mark.parametrize("changes", ["version", "changed", "content"])
def test_a_change_between_ranges_is_noticed(opened, monkeypatch, changes):
    monkeypatch.setattr(reading, "FIRST", 100)
    monkeypatch.setattr(reading, "RANGE", 100)
    new = {"version": '"2"', "changed": "Thu, 01 Jan 2026 00:00:01 GMT", "content": CONTENT[1:]}

    class Kind(Answering):
        pass

    store = opened(Kind, parallel_reads=2)
    with store.open("key") as reader:
        reader.read(100)
        setattr(Kind, changes, new[changes])
        with pytest.raises(SourceChanged):
            list(iter(lambda: reader.read(100), b""))


def test_a_weak_etag_is_a_version_but_no_condition(opened):
    class Kind(Answering):
        version = 'W/"1"'

        def do_GET(self):
            assert "If-Match" not in self.headers  # which never holds for a weak one
            super().do_GET()

    assert read(opened(Kind), "key") == CONTENT


def test_too_few_bytes_are_refused(opened):
    class Kind(Answering):
        def do_GET(self):
            self.answer(206, CONTENT[:-9], Content_Range="bytes 0-2047/2048", **self.told())

    with pytest.raises(StorageError, match="another range"):
        read(opened(Kind), "key")


def test_an_answer_that_breaks_off_is_unavailable(opened):
    class Kind(Answering):
        def answer(self, status, content, **headers):
            if self.command == "GET":
                self.close_connection = True
                self.send_response(206)
                self.send_header("Content-Range", "bytes 0-2047/2048")
                self.send_header("Content-Length", "2048")
                self.send_header("ETag", self.version)
                self.send_header("Last-Modified", self.changed)
                self.end_headers()
                self.wfile.write(CONTENT[:1000])
            else:
                super().answer(status, content, **headers)

    with pytest.raises(Unavailable):
        read(opened(Kind), "key")


@pytest.mark.parametrize(
    ("status", "kind"), [(403, PermissionDenied), (500, Unavailable), (503, Unavailable)]
)
def test_a_failure_is_not_taken_for_absence(opened, status, kind):
    class Kind(Answering):
        pass

    Kind.status = status
    with pytest.raises(kind):
        opened(Kind).head("key")


def test_absence_is(opened):
    class Kind(Answering):
        status = 404

    assert not exists(opened(Kind), "key")


def test_only_links_to_what_lies_right_below_are_listed(opened):
    class Kind(Answering):
        def do_GET(self):
            if self.path == "/below/":
                links = [
                    "../",
                    "/",
                    "/below/a",
                    "b%20c",
                    "d/",
                    "e/f",
                    "?C=N",
                    "https://else/x",
                    "#",
                ]
                page = "".join(f'<a href="{link}">x</a>' for link in links).encode()
                self.answer(200, page, Content_Type="text/html")
            else:
                super().do_GET()

    assert names(opened(Kind).list(delimiter="/")) == ["a", "b c", "d/"]
