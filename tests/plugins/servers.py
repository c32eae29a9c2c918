"""Real servers on this machine, as context managers that give their URL: started and stopped here.

Each serves a directory, but for S3. A test module makes fixtures of those it needs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import urllib.parse
import warnings
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def sftp_server(root, *, sftp_factory=None, program=None, port=0):
    """SFTP by asyncssh, or by OpenSSH's own `program` for whole paths of this machine.

    Any user may log in with the password ``secret``.
    """
    import asyncssh

    connections = []

    class Anyone(asyncssh.SSHServer):
        def connection_made(self, connection):
            connections.append(connection)

        def begin_auth(self, username):
            return True

        def password_auth_supported(self):
            return True

        def validate_password(self, username, password):
            return password == "secret"

        def session_requested(self):
            return Subsystem(run, None, 3, False) if program else False

    class Subsystem(asyncssh.SSHServerProcess):
        """Hands the subsystem to a program, where asyncssh would take it itself."""

        def subsystem_requested(self, subsystem):
            return subsystem == "sftp"

        def session_started(self):
            ends = [asyncssh.SSHReader(self, self._chan)]
            ends += [asyncssh.SSHWriter(self, self._chan, kind) for kind in (None, 1)]
            self._conn.create_task(self._session_factory(*ends))

    class Below(sftp_factory or asyncssh.SFTPServer):
        def __init__(self, channel):
            super().__init__(channel, chroot=str(root).encode())

    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sftp-server")
    thread.start()
    key = asyncssh.generate_private_key("ssh-ed25519")
    servers = []

    async def pump(reader, writer):
        with suppress(OSError, asyncssh.Error):
            while block := await reader.read(1 << 16):
                writer.write(block)
                await writer.drain()
        writer.close()

    async def run(channel):
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        child = await asyncio.create_subprocess_exec(program, **pipes)
        try:
            await asyncio.gather(
                pump(channel.stdin, child.stdin), pump(child.stdout, channel.stdout)
            )
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()

    async def start():
        server = await asyncssh.listen(
            "127.0.0.1",
            port,
            server_host_keys=[key],
            server_factory=Anyone,
            sftp_factory=None if program else Below,
            encoding=None,
        )
        servers.append(server)
        return server.get_port()

    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield f"sftp://tester:secret@127.0.0.1:{port}", key
    finally:

        async def stop():
            for server in servers:
                server.close()
                await server.wait_closed()
            for connection in connections:
                connection.abort()
            await asyncio.sleep(0.05)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0.05)

        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def delayed(url, seconds):
    """Put `seconds` on the way to and from a server: a proxy; gives the URL that leads over it."""
    parts = urllib.parse.urlsplit(url)
    loop = asyncio.new_event_loop()
    tasks, writers = set(), []

    async def pump(reader, writer):
        with suppress(OSError):
            while block := await reader.read(1 << 16):
                loop.call_later(seconds, writer.write, block)
        loop.call_later(seconds, writer.close)

    async def both(reader, writer):
        far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port)
        writers.extend((writer, far_writer))
        for one in (pump(reader, far_writer), pump(far_reader, writer)):
            tasks.add(loop.create_task(one))

    async def stop(server):
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, name="delay")
    thread.start()
    try:
        starting = asyncio.start_server(both, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
        port = server.sockets[0].getsockname()[1]
        yield url.replace(f":{parts.port}", f":{port}")
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def ftp_server(root, *, without=(), port=0, longest=2048):
    """FTP by pyftpdlib; `without` names commands it shall not know, as some servers do not.

    `longest` bytes of a command are taken; the rest of it is another command.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it uses asyncore where there is one
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.ioloop import IOLoop
        from pyftpdlib.servers import FTPServer

    logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL)
    authorizer = DummyAuthorizer()
    authorizer.add_user("tester", "secret", str(root), perm="elradfmwMT")

    class Handler(FTPHandler):
        proto_cmds = {k: v for k, v in FTPHandler.proto_cmds.items() if k not in without}

        def collect_incoming_data(self, data):
            super().collect_incoming_data(data)
            if self._in_buffer_len > longest:  # as it does itself from 2,048 on
                self.respond("500 Command too long.")
                self._in_buffer, self._in_buffer_len = [], 0

    Handler.authorizer = authorizer
    Handler.use_gmt_times = True
    Handler.auth_failed_timeout = 0.1
    Handler.unicode_errors = "surrogateescape"  # names are bytes, as with servers in C
    loop = IOLoop()
    server = FTPServer(("127.0.0.1", port), Handler, ioloop=loop)
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            loop.loop(timeout=0.02, blocking=False)

    thread = threading.Thread(target=serve, name="ftp-server")
    thread.start()
    try:
        yield f"ftp://tester:secret@127.0.0.1:{server.address[1]}"
    finally:
        stop.set()
        thread.join()
        server.close_all()


class _Ranges(SimpleHTTPRequestHandler):
    """Files with ranges and ETags, as any web server gives them; directories as pages of links."""

    protocol_version = "HTTP/1.1"
    etags = True

    def log_message(self, *args):
        pass

    def send_head(self):
        self._left = None
        path = self.translate_path(self.path)
        if os.path.isdir(path) or not os.path.isfile(path):
            return super().send_head()
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
        at = os.fstat(file.fileno())
        etag = f'"{at.st_mtime_ns:x}-{at.st_ino:x}-{at.st_size:x}"'
        if self.etags and self.headers.get("If-Match", etag) != etag:
            file.close()
            return self._none(412)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop, status = 0, at.st_size, 200
        if found is not None:
            start = int(found[1])
            stop = min(int(found[2]) + 1, at.st_size) if found[2] else at.st_size
            status = 206
            if start >= at.st_size:
                file.close()
                return self._none(416, f"bytes */{at.st_size}")
        self.send_response(status)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Last-Modified", self.date_time_string(at.st_mtime))
        if self.etags:
            self.send_header("ETag", etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{at.st_size}")
        self.end_headers()
        file.seek(start)
        self._left = stop - start
        return file

    def copyfile(self, source, outputfile):
        left = self._left
        if left is None:
            super().copyfile(source, outputfile)
            return
        while left and (block := source.read(min(left, 1 << 16))):
            outputfile.write(block)
            left -= len(block)

    def _none(self, status, content_range=None):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()


@contextmanager
def http_server(root, handler=_Ranges):
    """A web server with ranges and ETags; `handler` is called with ``directory=root``."""

    class Handler(handler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(root))

    with _serving(Handler) as url:
        yield url


@contextmanager
def _serving(handler):
    handler.wbufsize = 1 << 16  # or head and body wait for each other's acknowledgement
    handler.timeout = 1  # seconds; or a client that keeps its connection keeps us
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="http-server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def webhdfs_server(root):
    """A stub of WebHDFS over a directory: what its REST reference says of the calls we make.

    Name node and data node are one, and CREATE, APPEND and OPEN redirect as there.
    """
    import json

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def _answer(self, status, body=b"", **headers):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _fail(self, status, kind, message):
            self._answer(status, {"RemoteException": {"exception": kind, "message": str(message)}})

        def _status(self, path, name):
            at = os.stat(path)
            return {
                "pathSuffix": name,
                "type": "DIRECTORY" if os.path.isdir(path) else "FILE",
                "length": at.st_size if os.path.isfile(path) else 0,
                "modificationTime": at.st_mtime_ns // 1_000_000,
                "fileId": at.st_ino,
            }

        def _serve(self):
            parts = urllib.parse.urlsplit(self.path)
            name = urllib.parse.unquote(parts.path).removeprefix("/webhdfs/v1")
            query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            path = str(root) + name
            try:
                getattr(self, "_" + query["op"].lower())(path, query, body)
            except (FileNotFoundError, NotADirectoryError) as error:
                self._fail(404, "FileNotFoundException", error)
            except OSError as error:
                self._fail(403, "IOException", error)

        do_GET = do_PUT = do_POST = do_DELETE = _serve

        def _redirected(self, query):
            if "datanode" in query:
                return False
            self._answer(307, Location=f"http://{self.headers['Host']}{self.path}&datanode=1")
            return True

        def _getfilestatus(self, path, query, body):
            self._answer(200, {"FileStatus": self._status(path, "")})

        def _liststatus(self, path, query, body):
            if os.path.isfile(path):
                found = [self._status(path, "")]
            else:
                found = []
                for one in os.listdir(path):
                    with suppress(FileNotFoundError):  # gone meanwhile
                        found.append(self._status(f"{path}/{one}", one))
            self._answer(200, {"FileStatuses": {"FileStatus": found}})

        def _open(self, path, query, body):
            if os.path.isdir(path):
                raise FileNotFoundError(path)
            if self._redirected(query):
                return
            with open(path, "rb") as file:
                file.seek(int(query.get("offset", 0)))
                self._answer(200, file.read(int(query.get("length", 1 << 40))))

        def _create(self, path, query, body):
            if self._redirected(query):
                return
            os.makedirs(os.path.dirname(path), exist_ok=True)  # HDFS does
            with open(path, "wb") as file:
                file.write(body)
            self._answer(201)

        def _append(self, path, query, body):
            if self._redirected(query):
                return
            with open(path, "r+b") as file:
                file.seek(0, 2)
                file.write(body)
            self._answer(200)

        def _mkdirs(self, path, query, body):
            os.makedirs(path, exist_ok=True)
            self._answer(200, {"boolean": True})

        def _rename(self, path, query, body):
            target = str(root) + query["destination"]
            if query.get("renameoptions") == "OVERWRITE":
                os.rename(path, target)
                self._answer(200)
                return
            possible = not os.path.exists(target)
            if possible:
                os.rename(path, target)
            self._answer(200, {"boolean": possible})

        def _delete(self, path, query, body):
            assert query["recursive"] == "false"
            if not os.path.lexists(path):
                self._answer(200, {"boolean": False})
                return
            (os.rmdir if os.path.isdir(path) else os.unlink)(path)
            self._answer(200, {"boolean": True})

    with _serving(Handler) as url:
        yield url.replace("http:", "webhdfs:")
