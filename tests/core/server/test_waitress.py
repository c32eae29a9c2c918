"""What waitress must do for us, on the wire; and the attributes of it that our subclasses use."""

import http.client
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import Task as StockTask
from waitress.task import ThreadedTaskDispatcher

from forebay.errors import SourceChanged
from forebay.lanes import Lanes
from forebay.server import dispatcher
from forebay.server.listeners import bind
from forebay.server.waitress import (
    CLIENTS,
    LARGE,
    Channel,
    Server,
    View,
    connection_limit,
    make_server,
)

BLOCKS = [
    bytes([n]) * size for n, size in enumerate((10, LARGE, LARGE - 1, 5 * LARGE, 3, 9 * LARGE))
]


def changed():
    yield b"abc"
    raise SourceChanged("the object changed")


class Site:
    """A tiny application whose answers are chosen by the path, and what it has seen."""

    def __init__(self) -> None:
        self.environ: dict[str, object] = {}
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, environ, start_response):
        self.environ = environ
        path = environ["PATH_INFO"]
        if path in ("/204", "/304"):
            start_response({"/204": "204 No Content", "/304": "304 Not Modified"}[path], [])
            return []
        if path == "/nolength":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return iter([b"one", b"two"])
        if path == "/head":
            start_response("200 OK", [("ETag", '"x"'), ("x-amz-request-id", "7")])
            return []
        if path == "/headlength":
            start_response("200 OK", [("Content-Length", "123456")])
            return []
        if path == "/short":
            start_response("200 OK", [("Content-Length", "10")])
            return [b"abc"]
        if path.startswith("/changed"):
            framing = [("Content-Length", "10")] if path == "/changed" else []
            start_response("200 OK", framing)
            return changed()
        if path == "/wait":
            self.entered.set()
            assert self.go_on.wait(10)
        if path.startswith("/slow"):
            with Lanes.slow(path):
                assert self.go_on.wait(30)
        if path == "/blocks":
            start_response("200 OK", [("Content-Length", str(sum(map(len, BLOCKS))))])
            return iter(BLOCKS)
        if path == "/views":
            start_response("200 OK", [("Content-Length", str(sum(map(len, BLOCKS))))])
            return iter([*map(memoryview, BLOCKS), memoryview(b"more than was announced")])
        if path == "/viewsnolength":
            start_response("200 OK", [])
            return iter(map(memoryview, BLOCKS))
        if path == "/large":
            start_response("200 OK", [("Content-Length", str(32 << 20))])
            return (bytes(1 << 20) for _ in range(32))
        body = environ["wsgi.input"].read() or b"hello"
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


@contextmanager
def serving(site: Site, *, threads: int = 4, slow_threads: int = 8) -> Iterator[Server]:
    server = make_server(site, bind("127.0.0.1:0"), threads=threads, slow_threads=slow_threads)
    server.start()
    try:
        yield server
    finally:
        site.go_on.set()
        server.stop(2, linger=0)
        assert server.join(5), "the server ends"


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    with serving(site) as running:
        yield running


@contextmanager
def connected(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.effective_port, timeout=5)
    connection.connect()
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, **more):
    connection.request(method, path, **more)
    answer = connection.getresponse()
    return answer, answer.read()


def raw(server: Server, request: bytes) -> bytes:
    """Send bytes, and read until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.effective_port), timeout=5) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("HEAD", "/head", 200),
        ("HEAD", "/headlength", 200),
        ("HEAD", "/nolength", 200),
        ("GET", "/nolength", 200),
        ("DELETE", "/204", 204),
    ],
)
def test_an_answer_keeps_the_connection(server, method, path, status):
    with connected(server) as connection:
        for _ in range(3):
            mine = connection.sock.getsockname()
            answer, body = ask(connection, method, path)
            assert answer.status == status
            assert answer.headers["Connection"] is None
            assert body == (b"onetwo" if method == "GET" and path == "/nolength" else b"")
            assert connection.sock is not None, "the connection is still there"
            assert connection.sock.getsockname() == mine


def test_nothing_follows_the_header_of_a_head(server):
    answer = raw(server, b"HEAD /head HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in answer
    assert b"Content-Length" not in answer


def test_a_head_says_the_length_it_was_told(server):
    answer = raw(server, b"HEAD /headlength HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 123456\r\n" in answer


def test_a_204_has_no_framing_at_all(server):
    answer = raw(server, b"GET /204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in answer
    assert b"Content-Length" not in answer


def test_names_of_header_fields_stay_as_the_application_wrote_them(server):
    answer = raw(server, b"HEAD /head HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b'\r\nETag: "x"\r\n' in answer
    assert b"\r\nx-amz-request-id: 7\r\n" in answer
    assert b"\r\nServer: Forebay\r\n" in answer
    assert answer.count(b"\r\nDate: ") == 1
    assert answer.count(b"\r\nConnection: close\r\n") == 1


@pytest.mark.parametrize(
    ("fields", "kept"),
    [(b"", False), (b"Connection: close\r\n", False), (b"Connection: Keep-Alive\r\n", True)],
)
def test_http_1_0_is_answered_as_it_asks(server, fields, kept):
    with socket.create_connection(("127.0.0.1", server.effective_port), timeout=5) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n" + fields + b"\r\n")
        answer = b""
        while not answer.endswith(b"hello"):
            answer += sock.recv(65536)
        assert (b"\r\nConnection: Keep-Alive\r\n" in answer) == kept
        if kept:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert (sock.recv(65536) != b"") == kept


def test_a_body_without_length_ends_with_the_connection_in_http_1_0(server):
    answer = raw(server, b"GET /nolength HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nonetwo")
    assert b"\r\nConnection: close\r\n" in answer


def test_a_body_shorter_than_announced_cuts_the_connection(server, caplog):
    with connected(server) as connection:
        connection.request("GET", "/short")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()
    assert "too few bytes" in caplog.text


@pytest.mark.parametrize("path", ["/changed", "/changed/chunked"])
def test_an_object_that_changes_under_its_answer_cuts_the_connection(server, caplog, path):
    with connected(server) as connection:
        connection.request("GET", path)
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()
    assert [r.levelname for r in caplog.records if "the object changed" in r.message] == ["WARNING"]
    assert "Traceback" not in caplog.text


def test_the_application_sees_the_raw_request_target(server, site):
    with connected(server) as connection:
        ask(connection, "GET", "//bucket//a%2Fb%20c+d?x=%26&y")
    assert site.environ["REQUEST_URI"] == "//bucket//a%2Fb%20c+d?x=%26&y"
    assert site.environ["QUERY_STRING"] == "x=%26&y"
    assert site.environ["wsgi.url_scheme"] == "http"


def test_what_a_proxy_might_claim_is_not_believed(server, site):
    claims = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https"}
    with connected(server) as connection:
        ask(connection, "GET", "/", headers=claims)
    assert site.environ["REMOTE_ADDR"] == "127.0.0.1"
    assert site.environ["wsgi.url_scheme"] == "http"
    assert not [name for name in site.environ if name.startswith("HTTP_X_FORWARDED")]


def test_connections_have_no_delay(server):
    with connected(server) as connection:
        ask(connection, "GET", "/")
        (channel,) = server.active_channels.values()
        assert channel.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("size", [1, 300_000, 3 << 20])
def test_a_request_body_arrives_whole(server, size):
    body = bytes(range(256)) * (size // 256 + 1)
    with connected(server) as connection:
        for chunked in (False, True):
            _, echo = ask(
                connection,
                "PUT",
                "/",
                body=iter([body]) if chunked else body,
                encode_chunked=chunked,
                headers={"Transfer-Encoding": "chunked"} if chunked else {},
            )
            assert echo == body


def test_a_large_answer_arrives_whole_and_without_a_file(server, monkeypatch):
    def no_file(*args, **kwargs):
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr("tempfile.TemporaryFile", no_file)
    with connected(server) as connection:
        answer, body = ask(connection, "GET", "/large")
        assert (answer.status, len(body)) == (200, 32 << 20)


def test_a_fault_of_the_framing_is_a_400(server):
    answer = raw(server, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_fault_of_the_application_shows_no_traceback(caplog):
    def broken(environ, start_response):
        raise ValueError("a secret")

    with serving(broken_site := Site()) as server:
        server.application = broken
        answer = raw(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert broken_site.environ == {}
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert "a secret" in caplog.text


def test_300_connections_are_kept_and_served(server):
    sockets = [
        socket.create_connection(("127.0.0.1", server.effective_port), timeout=5)
        for _ in range(300)
    ]
    try:
        for _ in range(2):
            for sock in sockets:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for sock in sockets:
                answer = sock.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                assert answer.endswith(b"\r\n\r\nhello")
    finally:
        for sock in sockets:
            sock.close()


def test_64_clients_at_once_all_get_their_own_answer(server):
    wrong: list[object] = []

    def client(number: int) -> None:
        try:
            with connected(server) as connection:
                for turn in range(5):
                    body = b"%d/%d" % (number, turn) * 100
                    answer, echo = ask(connection, "PUT", "/", body=body)
                    if (answer.status, echo) != (200, body):
                        wrong.append((number, turn, answer.status))
        except Exception as error:
            wrong.append(error)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(64)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(10)
    assert wrong == []


def test_blocks_of_any_size_leave_in_order(server):
    with connected(server) as connection:
        for _ in range(3):
            assert ask(connection, "GET", "/blocks")[1] == b"".join(BLOCKS)


@pytest.mark.parametrize("path", ["/views", "/viewsnolength"])
def test_views_of_memory_leave_as_bytes_do(server, site, path):
    with connected(server) as connection:
        for _ in range(3):
            assert ask(connection, "GET", path)[1] == b"".join(BLOCKS)
            assert ask(connection, "HEAD", path)[1] == b""
    assert site.environ["forebay.views"] is True


def test_a_thread_that_answers_waits_for_a_fast_client_and_for_no_slow_one(site):
    flushes = []

    class Watched(Channel):
        def _flush_some(self, do_close=True):
            flushes.append((threading.current_thread().name, time.monotonic()))
            return super()._flush_some(do_close)

    with serving(site) as server, connected(server) as connection:
        server.channel_class = Watched
        with connected(server) as slow:
            slow.request("GET", "/large")
            time.sleep(0.3)
            answering = [at for name, at in flushes if name.startswith("forebay-request")]
            assert answering[-1] - answering[0] < 0.3, "it waits in the loop, not in the thread"
            assert ask(connection, "GET", "/")[1] == b"hello"
            assert slow.getresponse().read() == bytes(32 << 20)


def test_a_view_gives_its_block_piece_by_piece():
    view = View(b"0123456789")
    assert (len(view), bytes(view.get(4)), bool(view)) == (10, b"0123", True)
    view.skip(3, True)
    assert (len(view), bytes(view.get(2, skip=True)), bytes(view.get())) == (7, b"34", b"56789")
    view.close()
    assert (len(view), bool(view)) == (0, False)


# --- lanes


@contextmanager
def waiting_for(server: Server, path: str, count: int) -> Iterator[None]:
    """Have `count` requests wait for `path`."""
    sockets = []
    try:
        for number in range(count):
            sockets.append(socket.create_connection(("127.0.0.1", server.effective_port)))
            sockets[-1].sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            until(lambda n=number: server.task_dispatcher.lanes.waiting().get(path) == n + 1)
        yield
    finally:
        for sock in sockets:
            sock.close()


def until(true) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_requests_that_wait_take_nothing_from_the_others(site):
    with serving(site, threads=2) as server, waiting_for(server, "/slow", 6):
        began = time.monotonic()
        with connected(server) as connection:
            for _ in range(20):
                assert ask(connection, "GET", "/")[1] == b"hello"
        assert time.monotonic() - began < 5
        assert len(server.task_dispatcher.threads) >= 8
        site.go_on.set()


@pytest.mark.parametrize("clients", [6, 30])
def test_clients_that_read_slowly_take_no_thread_from_the_others(site, clients):
    """Up to three quarters of the slow threads: 24 of 32 here."""
    with serving(site, threads=2, slow_threads=32) as server:
        lanes, slow = server.task_dispatcher.lanes, []
        try:
            for number in range(clients):
                slow.append(socket.create_connection(("127.0.0.1", server.effective_port)))
                slow[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
                slow[-1].sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
                if number < 24:
                    until(lambda n=number: lanes.waiting().get(CLIENTS) == n + 1)
            assert lanes.waiting() == {CLIENTS: min(24, clients)}, "mounts have the rest"
            if clients < 24:
                with connected(server) as connection:
                    for _ in range(20):
                        assert ask(connection, "GET", "/")[1] == b"hello"
        finally:
            for sock in slow:
                sock.close()
        until(lambda: not lanes.waiting())
        with connected(server) as connection:
            assert ask(connection, "GET", "/")[1] == b"hello"


def test_who_would_wait_where_too_many_do_is_told_at_once(site):
    with serving(site, threads=1) as server, waiting_for(server, "/slow", 6):
        with connected(server) as connection:
            connection.request("GET", "/slow")
            assert connection.getresponse().status == 500, "the site does not translate it"
        with waiting_for(server, "/slow-too", 2), connected(server) as connection:
            assert ask(connection, "GET", "/")[1] == b"hello"
        site.go_on.set()


def test_no_more_begin_at_once_than_there_are_threads():
    running, most, lock = 0, 0, threading.Lock()

    class Work(Site):
        def __call__(self, environ, start_response):
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.002)
            with lock:
                running -= 1
            if environ["PATH_INFO"] == "/slow":
                with Lanes.slow("/slow"):
                    time.sleep(0.002)
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]

    with serving(Work(), threads=3, slow_threads=16) as server:

        def client(path):
            with connected(server) as connection:
                for _ in range(20):
                    assert ask(connection, "GET", path)[1] == b"ok"

        clients = [threading.Thread(target=client, args=(p,)) for p in ["/slow", "/"] * 8]
        for one in clients:
            one.start()
        for one in clients:
            one.join(30)
        dispatcher = server.task_dispatcher
        until(lambda: dispatcher._busy == 0)
        assert dispatcher._slow == 0
    assert most == 3


def test_threads_that_are_not_needed_any_more_end(site, monkeypatch):
    monkeypatch.setattr(dispatcher, "SPARE", 0.01)
    with serving(site, threads=2) as server:
        with waiting_for(server, "/slow", 6):
            assert len(server.task_dispatcher.threads) >= 7
            site.go_on.set()
            until(lambda: len(server.task_dispatcher.threads) == 2)
        with connected(server) as connection:
            assert ask(connection, "GET", "/")[1] == b"hello"
    assert not server.task_dispatcher.threads


# --- the stop


def test_a_stop_finishes_the_request_in_flight(site):
    with serving(site) as server, connected(server) as connection:
        connection.request("GET", "/wait")
        assert site.entered.wait(5)
        server.stop(5)
        assert not server.join(0.3), "it waits for the request"
        site.go_on.set()
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"hello")
        assert answer.headers["Connection"] == "close"
        assert server.join(2)


def test_a_stop_lets_a_body_finish_arriving(site):
    with (
        serving(site) as server,
        socket.create_connection(("127.0.0.1", server.effective_port), timeout=5) as sock,
    ):
        sock.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf")
        while not server.active_channels or not all(
            channel.busy for channel in list(server.active_channels.values())
        ):
            time.sleep(0.01)
        server.stop(5, linger=0)
        assert not server.join(0.2), "it waits for the body"
        sock.sendall(b"full")
        assert b"".join(iter(lambda: sock.recv(65536), b"")).endswith(b"\r\n\r\nhalffull")
        assert server.join(2)


def test_a_stop_waits_for_a_client_that_reads_slowly(site):
    with serving(site) as server, connected(server) as connection:
        connection.request("GET", "/large")
        answer = connection.getresponse()
        server.stop(5, linger=0)
        assert not server.join(0.2), "the answer is not sent yet"
        assert len(answer.read()) == 32 << 20
        assert server.join(2)


def test_a_stop_serves_the_connections_the_kernel_has_queued(site):
    listener = bind("127.0.0.1:0")
    waiting = [
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5)
        for _ in range(20)
    ]
    for sock in waiting:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    server = make_server(site, listener, threads=2)
    server.stop(5, linger=0)
    server.start()
    try:
        for sock in waiting:
            answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        for sock in waiting:
            sock.close()
    assert server.join(2)


def test_idle_connections_do_not_delay_a_stop_but_may_bring_one_request_more(server):
    with connected(server) as idle, connected(server) as late:
        for connection in (idle, late):
            ask(connection, "GET", "/")
        began = time.monotonic()
        server.stop(30, linger=1)
        answer, _ = ask(late, "GET", "/")
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert server.join(20)
        assert time.monotonic() - began < 10
        assert idle.sock.recv(1) == b""


def test_a_stop_cuts_what_does_not_end_in_time(site, caplog):
    with serving(site) as server, connected(server) as connection:
        connection.request("GET", "/wait")
        assert site.entered.wait(5)
        began = time.monotonic()
        server.stop(0.1)
        assert server.join(20)
        assert time.monotonic() - began < 8, "the request takes ten seconds"
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()
    assert "1 requests in flight were cut off" in caplog.text


def test_nothing_is_left_after_a_stop(site):
    before = set(threading.enumerate())
    with serving(site) as server, connected(server) as connection:
        ask(connection, "GET", "/")
        assert len(set(threading.enumerate()) - before) == 5, "the loop and four for requests"
        server.stop(1, linger=0)
        assert server.join(2)
        assert not server.running
        assert set(threading.enumerate()) == before
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.effective_port), timeout=1)
        server.stop(1)  # again: nothing happens


def test_a_busy_queue_is_not_worth_a_line_a_request(site, caplog):
    with caplog.at_level(logging.WARNING), serving(site, threads=1) as server:
        sockets = [socket.create_connection(("127.0.0.1", server.effective_port)) for _ in range(5)]
        for sock in sockets:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for sock in sockets:
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            sock.close()
    assert caplog.text == ""


def test_the_connection_limit_leaves_descriptors_for_bodies(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert connection_limit() == 512
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100_000, 100_000))
    assert connection_limit() == 4000


# --- what the subclasses lean on


def test_the_settings_are_the_measured_ones(server):
    adj = server.adj
    assert adj.asyncore_use_poll is True
    assert adj.recv_bytes == 256 << 10
    assert adj.connection_limit >= 32
    assert adj.max_request_body_size > 5 << 30
    assert adj.outbuf_overflow > adj.outbuf_high_watermark
    assert (adj.channel_timeout, adj.expose_tracebacks) == (120, False)


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (
            StockTask,
            "build_response_header set_close_on_finish has_body write close_on_finish wrote_header"
            " content_length content_bytes_written chunked_response complete status start_time",
        ),
        (
            HTTPChannel,
            "task_class request total_outbufs_len close_when_flushed will_close handle_close"
            " write_soon",
        ),
        (HTTPRequestParser, "close version"),
        (
            TcpWSGIServer,
            "channel_class accepting handle_accept pull_trigger run accept_connections",
        ),
        (
            ThreadedTaskDispatcher,
            "start_new_thread set_thread_count shutdown queue_logger handler_thread",
        ),
        (Adjustments, "backlog asyncore_loop_timeout socket_options sockets"),
    ],
)
def test_waitress_still_has_what_the_subclasses_use(owner, names):
    assert [name for name in names.split() if not hasattr(owner, name)] == []


def test_a_server_still_has_what_the_subclass_uses(server):
    with connected(server) as connection:
        ask(connection, "GET", "/")
        (channel,) = server.active_channels.values()
        assert isinstance(channel.requests, list)
        assert channel.server is server
        assert channel.adj is server.adj
        assert server.trigger.pull_trigger
        assert server._map[server.socket.fileno()] is server
