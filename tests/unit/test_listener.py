"""Closing a listener: whoever got in is served, whoever comes later is refused, nobody is reset."""

import errno
import socket
import time
from collections.abc import Callable

import pytest

from app import listener

MEANS = [listener.filter_handshakes, listener.outlive_handshakes]


def open_listener(family: socket.AddressFamily) -> tuple[socket.socket, tuple[str, int]]:
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    sock = socket.create_server((host, 0), family=family)
    return sock, sock.getsockname()[:2]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("refuse", MEANS)
def test_queued_connections_are_served_and_later_ones_refused(
    refuse: Callable[[socket.socket], bool], family: socket.AddressFamily
) -> None:
    server, address = open_listener(family)
    queued = socket.create_connection(address)
    if not refuse(server):
        # Recent kernels keep the filter to CAP_NET_ADMIN; the other means takes no privilege.
        assert refuse is listener.filter_handshakes
        queued.close()
        server.close()
        return
    late = socket.socket(family)
    late.settimeout(0.3)
    with pytest.raises(TimeoutError):
        late.connect(address)
    accepted, _ = server.accept()
    listener.welcome(accepted)
    server.close()
    queued.sendall(b"hello")
    assert accepted.recv(5) == b"hello"
    accepted.sendall(b"world")
    assert queued.recv(5) == b"world"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=30)
    for sock in (queued, late, accepted):
        sock.close()


def test_without_it_a_queued_connection_is_reset() -> None:
    server, address = open_listener(socket.AF_INET)
    queued = socket.create_connection(address)
    queued.sendall(b"hello")
    server.close()
    with pytest.raises(OSError, match="reset") as caught:
        queued.recv(1)
    assert caught.value.errno == errno.ECONNRESET
    queued.close()


def test_some_means_is_found_here() -> None:
    server, _ = open_listener(socket.AF_INET)
    assert listener.refuse_handshakes(server) in ("syn_filter", "min_ttl")
    server.close()


def test_waiting_for_handshakes_ends_when_none_is_pending() -> None:
    server, address = open_listener(socket.AF_INET)
    began = time.monotonic()
    listener.await_handshakes(address[1], time.sleep)
    assert not listener.handshakes_pending(address[1])
    assert time.monotonic() - began < listener.HANDSHAKE_SECONDS
    server.close()
