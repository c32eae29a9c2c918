"""The address: one listening socket for each worker, and no second instance on the same port."""

import resource
import socket
from typing import Any

from forebay.errors import ConfigurationError
from forebay.places import split_address

BACKLOG = 1024
DESCRIPTORS = 65536


def bind(listen: str) -> socket.socket:
    """Listen on ``host:port`` as the only one; port 0 takes a free one.

    Raises ConfigurationError.
    """
    host, port = split_address(listen)
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _listening(family, kind, proto, address, reuse_port=False)
    except OSError as error:
        raise ConfigurationError(
            f"server.listen: cannot listen on {listen}: {error.strerror or error}"
        ) from error


def share(first: socket.socket, count: int) -> list[socket.socket]:
    """Give `first` and ``count - 1`` more listeners of its address, between which Linux deals.

    Only now does `first` admit others (SO_REUSEPORT): binding it without has refused the port
    to a second instance, which that option would have let in silently.
    """
    listeners = [first]
    if count > 1:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        for _ in range(count - 1):
            listeners.append(
                _listening(
                    first.family, first.type, first.proto, first.getsockname(), reuse_port=True
                )
            )
    except OSError:
        for listener in listeners[1:]:
            listener.close()
        raise
    return listeners


def _listening(
    family: int, kind: int, proto: int, address: Any, *, reuse_port: bool
) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def url_of(listener: socket.socket) -> str:
    """Give the ``http://host:port`` of a listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_descriptor_limit() -> None:
    """Let this process and its children open as many descriptors as they may, up to 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
