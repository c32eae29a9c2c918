"""Who may listen, and between whom connections are divided."""

import contextlib
import resource
import select
import socket

import pytest

from forebay.errors import ConfigurationError
from forebay.server.listeners import bind, raise_descriptor_limit, share, url_of


def test_a_busy_port_is_refused():
    with contextlib.closing(bind("127.0.0.1:0")) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}: Address already in use"):
            bind(f"127.0.0.1:{port}")


def test_a_second_instance_cannot_join_the_port_of_the_first():
    listeners = share(bind("127.0.0.1:0"), 3)
    try:
        port = listeners[0].getsockname()[1]
        with pytest.raises(ConfigurationError, match="Address already in use"):
            bind(f"127.0.0.1:{port}")
    finally:
        for listener in listeners:
            listener.close()


def test_shared_listeners_divide_the_connections():
    listeners = share(bind("127.0.0.1:0"), 2)
    address = listeners[0].getsockname()
    clients = [socket.create_connection(address) for _ in range(64)]
    shares = []
    for listener in listeners:
        listener.setblocking(False)
        shares.append(0)
        while select.select([listener], [], [], 0)[0]:
            listener.accept()[0].close()
            shares[-1] += 1
    for sock in (*clients, *listeners):
        sock.close()
    assert sum(shares) == 64
    assert all(shares)


@pytest.mark.parametrize("listen", ["no.such.host.invalid:0", "192.0.2.1:0"])
def test_an_address_that_is_not_ours_is_refused(listen):
    with pytest.raises(ConfigurationError, match="cannot listen on"):
        bind(listen)


def test_the_url_of_an_ipv6_listener_has_brackets():
    try:
        listener = bind("[::1]:0")
    except ConfigurationError:
        pytest.skip("this machine has no IPv6")
    with contextlib.closing(listener):
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_the_descriptor_limit_is_raised_as_far_as_it_may(monkeypatch):
    set_to = []
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: set_to.append(limits))
    for limits in [(1024, 4096), (1024, resource.RLIM_INFINITY), (4096, 4096), (100_000, 100_000)]:
        monkeypatch.setattr(resource, "getrlimit", lambda which, limits=limits: limits)
        raise_descriptor_limit()
    assert set_to == [(4096, 4096), (65536, resource.RLIM_INFINITY)]
