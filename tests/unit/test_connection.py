"""The writer of a connection, over a real socket pair."""

import io
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from app.connection import Connection, Writer

Pair = tuple[Writer, socket.socket]


class Parser:
    """As much of gunicorn's parser as a connection looks at: nothing has been read ahead."""

    class unreader:  # noqa: N801
        """gunicorn's name for it."""

        buf = io.BytesIO()


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Writer(ours, timeout=0.2), theirs


def test_the_head_travels_with_the_first_of_the_body(pair: Pair) -> None:
    writer, peer = pair
    writer.sendall(b"head,")
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(100)
    writer.sendall(b"body")
    assert peer.recv(100) == b"head,body"
    writer.sendall(b"more")
    assert peer.recv(100) == b"more"


def test_a_head_without_a_body_is_sent_once(pair: Pair) -> None:
    writer, peer = pair
    writer.sendall(b"head")
    writer.flush()
    writer.flush()
    assert peer.recv(100) == b"head"


def test_an_interim_answer_does_not_wait(pair: Pair) -> None:
    writer, peer = pair
    writer.send(b"100")
    assert peer.recv(100) == b"100"


def test_a_client_that_reads_nothing_is_given_up(pair: Pair) -> None:
    writer, _ = pair
    writer.sendall(b"head")
    with pytest.raises(ConnectionResetError, match="does not read"):
        writer.sendall(bytes(8 << 20))


def test_only_a_connection_that_waits_is_closed_as_idle() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours)
        waiting = gevent.spawn(connection.await_request, Parser(), 60.0)
        gevent.idle()
        theirs.sendall(b"G")
        connection.close_if_idle(0.0, 0.0)  # the byte has come, and nobody has looked yet
        assert waiting.get(timeout=10) is True
        waiting = gevent.spawn(connection.await_request, Parser(), 60.0)
        assert waiting.get(timeout=10) is True
        ours.recv(1)
        waiting = gevent.spawn(connection.await_request, Parser(), 60.0)
        gevent.idle()
        assert connection.idle_since is not None
        connection.close_if_idle(60.0, 0.0)
        gevent.sleep(0.05)
        assert not waiting.dead
        connection.close_if_idle(0.0, 0.0)
        assert waiting.get(timeout=10) is False
        assert connection.idle_since is None
