"""A TCP proxy that holds back all that clients send, as a network would, and notes requests.

usage: python tests/benchmarks/delay.py TARGET_PORT MILLISECONDS LOG [CERTIFICATE]
Prints the port it listens on. Each request line goes to LOG. Answers are moved by the kernel,
or, with a file of a certificate and its key, encrypted.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import sys
import threading
import time

METHODS = (b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE ")


def answers(server: socket.socket, client: socket.socket) -> None:
    """Move what the server says until it ends."""
    out, into = os.pipe()
    try:
        while moved := os.splice(server.fileno(), into, 1 << 20):
            while moved:
                moved -= os.splice(out, client.fileno(), moved)
    except OSError:
        pass
    finally:
        os.close(out)
        os.close(into)
        end(server, client)


def requests(client: socket.socket, target: int, delay: float, log: int) -> None:
    """Move what the client says, each piece late by `delay` seconds."""
    server = socket.create_connection(("127.0.0.1", target))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=answers, args=(server, client), daemon=True).start()
    try:
        while piece := client.recv(1 << 16):
            note(piece, log)
            time.sleep(delay)
            server.sendall(piece)
    except OSError:
        pass
    end(server, client)


def note(piece: bytes, log: int) -> None:
    """Write a request down that begins with a piece of what the client says."""
    if piece.startswith(METHODS):
        head = piece.partition(b"\r\n\r\n")[0].lower()
        place = head.partition(b"\r\nrange: ")[2].partition(b"\r\n")[0]
        os.write(log, piece.partition(b" HTTP/")[0] + b" " + place + b"\n")


def encrypted(
    accepted: socket.socket, target: int, delay: float, log: int, context: ssl.SSLContext
) -> None:
    """Do as `requests` and `answers` for a client that speaks TLS, by one thread."""
    server = socket.create_connection(("127.0.0.1", target))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    room = memoryview(bytearray(1 << 20))
    waiting = select.poll()
    try:
        time.sleep(delay)  # a round trip of the handshake
        client = context.wrap_socket(accepted, server_side=True)
        for one in (client, server):
            waiting.register(one, select.POLLIN)
        while True:
            ready = {fd for fd, _ in waiting.poll()}
            if client.fileno() in ready:
                piece = client.recv(1 << 16)
                if not piece:
                    break
                note(piece, log)
                time.sleep(delay)
                server.sendall(piece)
            if server.fileno() in ready:
                count = server.recv_into(room)
                if not count:
                    break
                client.sendall(room[:count])
    except OSError:
        pass
    end(server, accepted)


def end(*connections: socket.socket) -> None:
    """Let both sides know that it is over."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Run from the command line, until it is ended by a signal."""
    target, delay = int(sys.argv[1]), float(sys.argv[2]) / 1000
    log = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    context = None
    if len(sys.argv) > 4:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[4])
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            given = (client, target, delay, log)
            if context is None:
                threading.Thread(target=requests, args=given, daemon=True).start()
            else:
                threading.Thread(target=encrypted, args=(*given, context), daemon=True).start()


if __name__ == "__main__":
    main()
