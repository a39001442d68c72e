"""Channels over a real socket pair: never blocking, bounded, and honest about the end."""

import socket
from collections.abc import Iterator

import pytest

from app.engine.channel import MAX_BACKLOG, Channel, ChannelClosed
from app.engine.protocol import Decoder, Frame, Type

Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def test_what_is_sent_arrives(pair: Pair) -> None:
    channel, peer = pair
    channel.send(Frame(Type.STOP, 3))
    assert Decoder().feed(peer.recv(4096)) == [Frame(Type.STOP, 3)]


def test_nothing_there_is_no_frame_and_no_waiting(pair: Pair) -> None:
    assert pair[0].receive() == []


def test_the_end_of_the_peer_is_told(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(ChannelClosed):
        pair[0].receive()


def test_a_slow_reader_gets_the_rest_later() -> None:
    ours, theirs = socket.socketpair()
    told = []
    with ours, theirs:
        channel = Channel(ours, on_backlog=lambda: told.append(1))
        frame = Frame(Type.RESULT, 1, {}, b"x" * 2_000_000)
        channel.send(frame)
        assert told == [1]
        decoder, frames = Decoder(), []
        while not frames:
            frames = decoder.feed(theirs.recv(1 << 20))
            channel.flush()
        assert frames == [frame]
        assert not channel.has_backlog


def test_a_peer_that_never_reads_is_cut_off_and_stalls_nobody(pair: Pair) -> None:
    channel, _ = pair
    for _ in range(2 * MAX_BACKLOG // 1_000_000):
        channel.send(Frame(Type.RESULT, 1, {}, b"x" * 1_000_000))
    with pytest.raises(ChannelClosed):
        channel.receive()


def test_sending_after_the_close_does_nothing(pair: Pair) -> None:
    pair[0].close()
    pair[0].send(Frame(Type.STOP))
