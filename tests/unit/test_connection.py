"""The writer of a connection, over a real socket pair."""

from collections.abc import Iterator

import pytest
from gevent import socket

from app.connection import Writer

Pair = tuple[Writer, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Writer(ours), theirs


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
