"""A TCP proxy that holds back all that clients send, as a network would, and notes requests.

usage: python tests/benchmarks/delay.py TARGET_PORT MILLISECONDS LOG
Prints the port it listens on. Each request line goes to LOG. Answers are moved by the kernel.
"""

from __future__ import annotations

import contextlib
import os
import socket
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
            if piece.startswith(METHODS):
                head = piece.partition(b"\r\n\r\n")[0].lower()
                place = head.partition(b"\r\nrange: ")[2].partition(b"\r\n")[0]
                os.write(log, piece.partition(b" HTTP/")[0] + b" " + place + b"\n")
            time.sleep(delay)
            server.sendall(piece)
    except OSError:
        pass
    end(server, client)


def end(*connections: socket.socket) -> None:
    """Let both sides know that it is over."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Run from the command line, until it is ended by a signal."""
    target, delay = int(sys.argv[1]), float(sys.argv[2]) / 1000
    log = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(
                target=requests, args=(client, target, delay, log), daemon=True
            ).start()


if __name__ == "__main__":
    main()
