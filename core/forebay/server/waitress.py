"""waitress as Forebay uses it: measured settings, connections that are kept, a stop that waits.

Everything here is a subclass of waitress's own class; the tests pin the attributes it leans on.
The loop runs in a thread of its own, so the thread that started it stays free for signals.
"""

import logging
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, get_header_lines
from waitress.server import TcpWSGIServer
from waitress.task import WSGITask
from waitress.utilities import build_http_date

from forebay.errors import StorageError
from forebay.lanes import Lanes
from forebay.server.dispatcher import Dispatcher
from forebay.streams import Chunk, own

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MIB = 1 << 20
CONNECTIONS = 4000
LINGER = 0.25
SLOW_THREADS = 128
PATIENCE = 0.005  # seconds in which a fast client may take what it did not take at once
CLIENTS = "slow clients"  # the lane of threads whose client does not take what they have
AT_ONCE = MIB  # bytes of a file that are read and sent at a time
LARGE = 64 << 10  # bytes of a block that is sent without being copied

SETTINGS: dict[str, Any] = {
    "asyncore_use_poll": True,  # select() dies at 1,024 descriptors
    "recv_bytes": 256 << 10,  # 1.8-3 times faster than the default of 8 KiB
    "inbuf_overflow": MIB,  # a larger request body waits in a temporary file
    "outbuf_high_watermark": 4 * MIB,  # a generated body pauses when its client is this far behind
    "outbuf_overflow": 8 * MIB,  # above the watermark: an answer never goes through a file
    "max_request_body_size": 6 << 30,  # 5 GiB and the framing of signed chunks
    "channel_timeout": 120,
    "cleanup_interval": 30,
    "ident": "Forebay",
    "expose_tracebacks": False,
    "clear_untrusted_proxy_headers": True,
    "url_scheme": "http",
}

log = logging.getLogger("forebay.server")

http_date = lru_cache(maxsize=4)(build_http_date)


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Reads one request; keeps what waitress drops and refuses what it lets through."""

    underscored: dict[str, str]
    """Header fields with an underscore in their name, in lower case (``x-amz-meta-my_key``)."""

    def parse_header(self, header_plus: bytes) -> None:
        """Read the header. Raises ParsingError, which ends the connection with a 400."""
        super().parse_header(header_plus)
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Content-Length and Transfer-Encoding exclude each other")
        self.underscored = {}
        if b"_" not in header_plus:
            return
        for line in get_header_lines(header_plus[header_plus.index(b"\r\n") + 2 :]):
            name, _, value = line.partition(b":")
            if b"_" in name:
                kept, given = name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")
                before = self.underscored.get(kept)
                self.underscored[kept] = given if before is None else f"{before}, {given}"


class Task(WSGITask):  # type: ignore[misc]
    """One request, answered without closing the connection unless the framing demands it."""

    wrote_header = False

    @property
    def has_body(self) -> bool:
        """Tell whether the answer may carry a body."""
        return self.request.command != "HEAD" and not self._bodiless

    @property
    def _bodiless(self) -> bool:
        return self.status[:1] == "1" or self.status[:3] in ("204", "304")

    def service(self) -> None:
        """Answer; an object that fails under an answer which has begun cuts the connection."""
        try:
            super().service()
        except StorageError as error:
            if not self.wrote_header:
                raise
            log.warning("%r was cut off: %s", self.request.path, error)
            self.close_on_finish = True

    def get_environment(self) -> dict[str, Any]:
        """Give the WSGI environment, and in it the header fields that WSGI has no name for."""
        environ: dict[str, Any] = super().get_environment()
        if self.request.underscored:
            environ["forebay.underscored"] = self.request.underscored
        environ["forebay.views"] = True  # `write` takes memoryviews, too
        return environ

    def set_close_on_finish(self) -> None:
        """Close the connection after this answer; the header says so if it is not sent yet."""
        self.close_on_finish = True

    def build_response_header(self) -> bytes:
        """Give the status line and the header fields, names as the application wrote them."""
        lines = [f"HTTP/{self.version} {self.status}"]
        named = set()
        for name, value in self.response_headers:
            lower = name.lower()
            if lower == "content-length" and self._bodiless:
                continue
            if lower == "content-type" and not value:
                continue
            named.add(lower)
            lines.append(f"{name}: {value}")
        if self.has_body and "content-length" not in named:
            if self.content_length is not None:
                lines.append(f"Content-Length: {self.content_length}")
            elif self.version == "1.1":
                lines.append("Transfer-Encoding: chunked")
                self.chunked_response = True
            else:
                self.close_on_finish = True
        wanted = self.request.headers.get("CONNECTION", "").lower()
        if (
            self.channel.server.draining
            or "close" in wanted
            or (self.version == "1.0" and "keep-alive" not in wanted)
        ):
            self.close_on_finish = True
        if self.close_on_finish:
            lines.append("Connection: close")
        elif self.version == "1.0":
            lines.append("Connection: Keep-Alive")
        if "server" not in named:
            lines.append(f"Server: {self.channel.adj.ident}")
        if "date" not in named:
            lines.append(f"Date: {http_date(int(self.start_time))}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def write(self, data: Chunk) -> None:
        """Send `data`; a small body that is whole goes out in one piece with its header."""
        length = self.content_length
        if (
            not self.wrote_header
            and self.complete
            and self.has_body
            and 0 < len(data) <= LARGE
            and length == len(data)
        ):
            header = self.build_response_header()
            self.wrote_header = True
            self.content_bytes_written = len(data)
            self.channel.write_soon(header + data)
        elif isinstance(data, bytes) or length is None or not self.has_body:
            super().write(own(data))
        else:
            # waitress would compare what is to be sent with what was given, byte by byte.
            if not self.wrote_header:
                super().write(b"")
            part = data[: length - self.content_bytes_written]
            self.content_bytes_written += len(part)
            self.channel.write_soon(part)


class View(ReadOnlyFileBasedBuffer):  # type: ignore[misc]
    """A large block on its way out, as it is: waitress would copy it twice or more."""

    def __init__(self, block: Chunk) -> None:
        self._rest = memoryview(block)

    def __len__(self) -> int:
        return len(self._rest)

    def __bool__(self) -> bool:
        return bool(self._rest)

    def get(self, numbytes: int = -1, skip: bool = False) -> memoryview:
        """Give the next bytes; with `skip` they are passed over."""
        block = self._rest if numbytes < 0 else self._rest[:numbytes]
        if skip:
            self.skip(len(block))
        return block

    def skip(self, numbytes: int, allow_prune: bool = False) -> None:
        """Pass over bytes that were sent."""
        self._rest = self._rest[numbytes:]

    def close(self) -> None:
        """Let go of the block."""
        self._rest = memoryview(b"")


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    task_class = Task
    parser_class = Parser
    sendbuf_len: int

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        # The kernel's buffer is of 4 MiB, and what is read ahead of it leaves the near caches.
        self.sendbuf_len = min(self.sendbuf_len, AT_ONCE)

    @property
    def busy(self) -> bool:
        """Tell whether a request is arriving, being answered, or its answer still being sent."""
        return bool(
            self.requests
            or self.request is not None
            or self.total_outbufs_len
            or self.close_when_flushed
            or self.will_close
        )

    def send_continue(self) -> None:
        """Answer 100 Continue; a request whose body is empty, or here already, is complete."""
        completed = self.request.completed
        super().send_continue()
        self.request.completed = completed

    def write_soon(self, data: Any) -> int:
        """Send `data`, or have it sent; waits while the client is too far behind."""
        if isinstance(data, bytes | memoryview):
            data = View(data) if len(data) >= LARGE else own(data)
        sent: int = super().write_soon(data)
        return sent

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send what can be sent; a thread that answers waits a little for a client that is fast.

        To have the loop's thread do it takes longer, and it hands the rest over all the same.
        """
        sent: bool = super()._flush_some(do_close)
        if not do_close and sent and self.total_outbufs_len:  # called by the thread that answers
            room = select.poll()
            room.register(self.socket, select.POLLOUT)
            until = time.monotonic() + PATIENCE
            while self.total_outbufs_len and (left := until - time.monotonic()) > 0:
                if not room.poll(left * 1000) or not super()._flush_some(do_close):
                    break
        return sent

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Wait for a client that is far behind; another thread answers meanwhile."""
        if self.total_outbufs_len > self.adj.outbuf_high_watermark:
            with Lanes.aside(CLIENTS):
                super()._flush_outbufs_below_high_watermark()

    def handle_close(self) -> None:
        """Close the connection, and the temporary file of a body that will not arrive."""
        if self.request is not None:
            self.request.close()
        super().handle_close()


class Server(TcpWSGIServer):  # type: ignore[misc]
    """A listening socket, its connections and their threads, from `start` to a drained `stop`."""

    channel_class = Channel
    draining = False

    def __init__(
        self, app: "WSGIApplication", sock: socket.socket, *, threads: int, slow_threads: int
    ) -> None:
        """Take over the listening `sock` and start the request threads; accept nothing yet."""
        adj = Adjustments(
            sockets=[sock], threads=threads, connection_limit=connection_limit(), **SETTINGS
        )
        super().__init__(
            app,
            {},
            _sock=sock,
            dispatcher=Dispatcher(threads, slow_threads),
            adj=adj,
            sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
            bind_socket=False,
        )
        self._deadline = self._linger_until = 0.0
        self._loop: threading.Thread | None = None
        self._pulling = threading.Lock()
        self._ended = False

    def start(self, on_end: Callable[[], None] = lambda: None) -> None:
        """Serve in a thread of its own; `on_end` is called there when serving is over."""

        def loop() -> None:
            try:
                self.run()
            finally:
                on_end()

        self._loop = threading.Thread(target=loop, name="forebay-http", daemon=True)
        self._loop.start()

    def stop(self, timeout: float, *, linger: float = LINGER) -> None:
        """Begin to drain and return at once; `join` waits for the end.

        Connections the kernel has queued are accepted, then the listener is closed. Requests in
        flight are finished, their answers saying ``Connection: close``, for `timeout` seconds
        at most. Idle connections may bring one more request for `linger` seconds.
        """
        now = time.monotonic()
        self._deadline, self._linger_until = now + timeout, now + min(linger, timeout)
        self.draining = True
        self.pull_trigger()

    def pull_trigger(self) -> None:
        """Wake the loop; nothing once it has ended, when the descriptor may be another's."""
        with self._pulling:
            if not self._ended:
                super().pull_trigger()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, `timeout` seconds at most; tell whether it is over."""
        if self._loop is not None:
            self._loop.join(timeout)
        return self._ended

    @property
    def running(self) -> bool:
        """Tell whether the loop serves or drains."""
        return self._loop is not None and not self._ended

    def run(self) -> None:
        """Serve until `stop`, drain, close everything."""
        try:
            while not (self.draining and self._drained()):
                wasyncore.loop(
                    timeout=0.05 if self.draining else self.adj.asyncore_loop_timeout,
                    use_poll=self.adj.asyncore_use_poll,
                    map=self._map,
                    count=1,
                )
        except Exception:
            log.exception("the connection loop failed")
        finally:
            self._end()

    def _drained(self) -> bool:
        """Do one step of the drain, in the loop's thread; tell whether nothing is left."""
        if self.accepting:
            self._stop_accepting()
        now = time.monotonic()
        if now >= self._deadline:
            return True
        if now >= self._linger_until:
            for channel in _quiet(ch for ch in self.active_channels.values() if not ch.busy):
                channel.handle_close()
        return not self.active_channels

    def _stop_accepting(self) -> None:
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        for _ in range(self.adj.backlog):
            if not waiting.poll(0):
                break
            self.handle_accept()
        wasyncore.dispatcher.close(self)

    def _end(self) -> None:
        if self.accepting:
            wasyncore.dispatcher.close(self)
        left = list(self.active_channels.values())
        if cut := sum(channel.busy for channel in left):
            log.warning("%d requests in flight were cut off", cut)
        for channel in left:
            channel.handle_close()
        if still := self.task_dispatcher.finish(timeout=1.0):
            log.warning("%d request threads did not end", still)
        with self._pulling:
            self._ended = True
            self.trigger.close()


def make_server(
    app: "WSGIApplication", sock: socket.socket, *, threads: int, slow_threads: int = SLOW_THREADS
) -> Server:
    """Give a server of `app` on the listening `sock`, which it takes over and closes at its end."""
    return Server(app, sock, threads=threads, slow_threads=slow_threads)


def connection_limit() -> int:
    """Give the number of connections to allow: each may need a descriptor for its body, too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(32, min(CONNECTIONS, soft // 2))


def _quiet(channels: Iterable[Channel]) -> list[Channel]:
    """Give those of the idle `channels` in whose sockets no byte is waiting."""
    by_descriptor = {channel.socket.fileno(): channel for channel in list(channels)}
    waiting = select.poll()
    for descriptor in by_descriptor:
        waiting.register(descriptor, select.POLLIN)
    loud = {descriptor for descriptor, _ in waiting.poll(0)}
    return [channel for fd, channel in by_descriptor.items() if fd not in loud]
