"""The wire: what goes in comes out, however it is cut, and nothing past the limits."""

import struct

import pytest

from app.engine.protocol import MAX_HEAD, Decoder, Frame, ProtocolError, Type

FRAMES = [
    Frame(Type.SUBMIT, 7, {"shape": [2, 2, 3]}, bytes(range(12))),
    Frame(Type.STATE),
    Frame(Type.RESULT, 2**63, {"queue_ms": 1.5}, b'"ja"'),
]
WIRE = b"".join(frame.encode() for frame in FRAMES)


@pytest.mark.parametrize("size", [1, 2, 3, 19, 20, 21, len(WIRE)])
def test_frames_survive_any_cutting(size: int) -> None:
    decoder = Decoder()
    frames = []
    for start in range(0, len(WIRE), size):
        frames += decoder.feed(WIRE[start : start + size])
    assert frames == FRAMES


def test_an_unfinished_frame_gives_nothing_yet() -> None:
    decoder = Decoder()
    assert decoder.feed(WIRE[:-1]) == FRAMES[:-1]
    assert decoder.feed(WIRE[-1:]) == FRAMES[-1:]


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"XX" + WIRE[2:], "magic"),
        (b"UB\x02" + WIRE[3:], "version"),
        (b"UB\x01\xff" + WIRE[4:], "type"),
        (struct.pack("!2sBBQII", b"UB", 1, 1, 0, MAX_HEAD + 1, 0), "limits"),
        (struct.pack("!2sBBQII", b"UB", 1, 1, 0, 0, 2**32 - 1), "limits"),
        (struct.pack("!2sBBQII", b"UB", 1, 1, 0, 3, 0) + b"{x}", "JSON"),
        (struct.pack("!2sBBQII", b"UB", 1, 1, 0, 2, 0) + b"[]", "object"),
    ],
)
def test_a_peer_that_speaks_something_else_is_refused(wire: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        Decoder().feed(wire)


def test_a_payload_over_the_limit_is_refused_before_it_is_buffered() -> None:
    header = Frame(Type.SUBMIT, 1, {}, b"x" * 101).encode()[:20]
    with pytest.raises(ProtocolError, match="limits"):
        Decoder(max_payload=100).feed(header)
