"""The wire between supervisor, engines and HTTP workers. Pure: bytes in, frames out, no I/O.

A frame is a fixed header, a small JSON head and raw bytes:

    magic "UB" | version u8 | type u8 | request id u64 | head length u32 | payload length u32

The three processes meet in this module and nowhere else (docs/architecture.md has the table of
who tells whom what). There is no pickle on the wire.
"""

import json
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

MAGIC = b"UB"
VERSION = 1
_HEADER = struct.Struct("!2sBBQII")
MAX_HEAD = 1 << 20
MAX_PAYLOAD = 1 << 30


class Type(IntEnum):
    """What a frame says; the sender stands in front."""

    ENGINES = 1  # supervisor → worker: draining, the worker's share, the engines that there are
    HELLO = 2  # engine → worker: model, version, input spec with options and routes
    SUBMIT = 3  # worker → engine: one image, its options, deadline, whether it must run alone
    CANCEL = 4  # worker → engine: nobody waits for this one any more
    STARTED = 5  # engine → worker: the ids of the batch that begins now
    RESULT = 6  # engine → worker: the answer's JSON and its timings
    FAILED = 7  # engine → worker: error code and message
    STATE = 8  # engine → worker: queue, running batch, twice a second
    SPAWN = 9  # supervisor → nursery: fork an engine (its sockets travel beside the frame)
    STAGE = 10  # engine → supervisor: loading, warming, self_test, ready, failed with the cause
    BEAT = 11  # engine → supervisor: alive, how long the running batch has taken, what it counted
    STOP = 12  # supervisor → engine: answer what you hold, then leave
    RELOAD = 13  # worker → supervisor: exchange the model
    RELOADED = 14  # supervisor → worker: it is done, or why not
    ACTIVE = 15  # worker → supervisor: requests still come while the container drains
    COUNTS = 16  # worker → supervisor: what was counted since the last one, and what is now
    COLLECT = 17  # supervisor → worker: send your COUNTS at once
    SCRAPE = 18  # worker → supervisor: somebody asks for the metrics
    METRICS = 19  # supervisor → worker: the sum of all
    LISTEN = 20  # supervisor → engine: your socket was removed, make it anew


class ProtocolError(Exception):
    """The peer speaks something else; its connection must be closed."""


@dataclass(frozen=True)
class Frame:
    """One message.

    Args:
        type: what it says.
        id: the request on this connection it is about, or 0.
        head: its members.
        payload: raw bytes: pixels in SUBMIT, JSON in RESULT. To be sent, it may be a view.
    """

    type: Type
    id: int = 0
    head: dict[str, Any] = field(default_factory=dict)
    payload: bytes | memoryview = b""

    def encode(self) -> bytes:
        """Return the bytes for the wire."""
        return b"".join((self.encode_head(), self.payload))

    def encode_head(self) -> bytes:
        """Return the bytes that go before the payload."""
        head = json.dumps(self.head, separators=(",", ":")).encode() if self.head else b""
        header = _HEADER.pack(MAGIC, VERSION, self.type, self.id, len(head), len(self.payload))
        return header + head


class Decoder:
    """Turns chunks of any size into frames; keeps what is not yet whole.

    Args:
        max_payload: bytes after which a frame is refused, before they are buffered.
    """

    def __init__(self, max_payload: int = MAX_PAYLOAD) -> None:
        self._max_payload = max_payload
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """Add a chunk and return the frames that it completes.

        Raises:
            ProtocolError: wrong magic, version, type, length or head; nothing after it counts.
        """
        self._buffer += chunk
        frames = []
        start = 0
        while (end := self._end_of_frame(start)) is not None:
            frames.append(self._frame(start, end))
            start = end
        if start:
            del self._buffer[:start]
        return frames

    def _end_of_frame(self, start: int) -> int | None:
        if len(self._buffer) - start < _HEADER.size:
            return None
        magic, version, kind, _, head, payload = _HEADER.unpack_from(self._buffer, start)
        if magic != MAGIC or version != VERSION:
            raise ProtocolError(f"magic {magic!r}, version {version}; expected {MAGIC!r}, 1")
        if kind not in Type._value2member_map_:
            raise ProtocolError(f"unknown frame type {kind}")
        if head > MAX_HEAD or payload > self._max_payload:
            raise ProtocolError(f"a frame of {head} + {payload} bytes is over the limits")
        end: int = start + _HEADER.size + head + payload
        return end if len(self._buffer) >= end else None

    def _frame(self, start: int, end: int) -> Frame:
        _, _, kind, number, head, _ = _HEADER.unpack_from(self._buffer, start)
        middle = start + _HEADER.size + head
        text = bytes(self._buffer[start + _HEADER.size : middle])
        try:
            members = json.loads(text) if text else {}
        except ValueError as error:
            raise ProtocolError(f"the head is not JSON: {error}") from None
        if not isinstance(members, dict):
            raise ProtocolError("the head is not a JSON object")
        with memoryview(self._buffer) as view:  # a slice of the buffer would be one copy more
            return Frame(Type(kind), number, members, bytes(view[middle:end]))
