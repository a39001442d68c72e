"""One connection of an HTTP worker to an engine: many requests in flight on it. gevent."""

import contextlib
import errno
import os
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import gevent
from gevent import socket
from gevent.queue import SimpleQueue

from app import logs
from app.engine.protocol import Decoder, Frame, ProtocolError, Type
from app.input_spec import InputSpec
from app.lifecycle import SERVING, Stage
from app.turnstile import take_turn

_CHUNK = 1 << 18
_CREDENTIALS = struct.Struct("3i")  # unix(7): struct ucred, of pid, uid and gid
Record = TypeVar("Record")


def connect(sock: socket.socket, path: str) -> None:
    """Connect to a process of ours.

    Raises:
        OSError: nobody listens there, or somebody else does: STATE_DIR lies in /tmp, and where it
            was removed, whoever is first may make it.
    """
    sock.connect(path)
    peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(peer)
    if user != os.geteuid():
        raise PermissionError(errno.EPERM, f"it is user {user}'s", path)


def frames_of(sock: socket.socket) -> Iterator[Frame]:
    """Yield a connection's frames until it ends."""
    decoder = Decoder()
    try:
        while chunk := sock.recv(_CHUNK):
            yield from decoder.feed(chunk)
    except OSError:
        return  # broken is as good as ended
    except ProtocolError as error:
        logs.event("bad_frame", level=40, message=str(error))


class Link(Generic[Record]):
    """The connection and the records of what is in flight on it.

    Args:
        path: the engine's Unix socket.
        generation: the engine's.
        on_frame: gets every frame but STATE.
        on_end: called once, when the engine is gone.
    """

    def __init__(
        self,
        path: str,
        generation: int,
        on_frame: Callable[["Link[Record]", Frame], None],
        on_end: Callable[["Link[Record]"], None],
    ) -> None:
        self.path = path
        self.generation = generation
        self.hello: dict[str, Any] = {}
        self.spec: InputSpec | None = None
        self.heard_at: float | None = None
        self.state: dict[str, Any] = {}
        self._on_frame = on_frame
        self._on_end = on_end
        self._stage = Stage.READY
        self._retired = False
        self._last_number = 0
        self._flying: dict[int, Record] = {}
        self._outgoing: SimpleQueue[Frame] = SimpleQueue()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    @property
    def outstanding(self) -> int:
        """How many images are in flight here."""
        return len(self._flying)

    @property
    def takes_work(self) -> bool:
        """Whether new requests may go here: greeted, and not about to leave."""
        return bool(self.hello) and self._stage in SERVING and not self._retired

    @property
    def degraded(self) -> bool:
        """Whether others should be asked first."""
        return self._stage is Stage.DEGRADED

    @property
    def batch_age(self) -> float:
        """Seconds that its running batch had taken at its last STATE."""
        age: float = self.state.get("batch_age", 0.0)
        return age

    def start(self) -> None:
        """Connect, and read and write until the engine is gone."""
        gevent.spawn(self._read)

    def register(self, record: Record) -> int:
        """Give an image of a request its number on this connection."""
        self._last_number += 1
        self._flying[self._last_number] = record
        return self._last_number

    def request_of(self, number: int) -> Record | None:
        """Return the record in flight under a number."""
        return self._flying.get(number)

    def forget(self, number: int) -> Record | None:
        """Take the record out; None if it was cancelled."""
        record = self._flying.pop(number, None)
        self._leave_if_done()
        return record

    def send(self, frame: Frame) -> None:
        """Queue a frame; never waits, what can be queued is bounded by admission."""
        self._outgoing.put(frame)

    def cancel(self, record: Record) -> None:
        """Take every number of a record out, and tell the engine."""
        for number in [n for n, held in self._flying.items() if held is record]:
            del self._flying[number]
            self.send(Frame(Type.CANCEL, number))
        self._leave_if_done()

    def retire(self) -> None:
        """Send no more here; hang up when all is answered, which lets the engine leave."""
        self._retired = True
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._retired and not self._flying:
            self.hang_up()

    def hang_up(self) -> None:
        """Have the reader come to the end, after what has arrived already."""
        with contextlib.suppress(OSError):  # gone already: the reader sees the end as well
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> list[Record]:
        """Close, and return the records that were not answered, each once, in order."""
        self._stage = Stage.GONE
        self._sock.close()
        records = list(dict.fromkeys(self._flying.values()))
        self._flying.clear()
        return records

    def _read(self) -> None:
        writer = gevent.spawn(self._write)
        try:
            connect(self._sock, self.path)
            for frame in frames_of(self._sock):
                self._hear(frame)
        except OSError as error:
            logs.event("engine_unreachable", level=30, path=self.path, message=str(error))
        finally:
            writer.kill(block=False)
            self._on_end(self)

    def _hear(self, frame: Frame) -> None:
        self.heard_at = time.monotonic()
        if frame.type is Type.STATE:
            self.state = frame.head
            self._stage = Stage(frame.head["stage"])
            return
        if frame.type is Type.HELLO:
            self.hello = frame.head
            self.spec = InputSpec.from_json(frame.head["spec"])
        self._on_frame(self, frame)

    def _write(self) -> None:
        while True:
            frame = self._outgoing.get()
            try:
                if len(frame.payload) <= _CHUNK:
                    self._sock.sendall(frame.encode())
                else:
                    self._send_large(frame)
            except OSError:
                return  # the reader sees the end as well

    def _send_large(self, frame: Frame) -> None:
        """Send without a copy, and let others run in between: the image may have 150 MB."""
        self._sock.sendall(frame.encode_head())
        for start in range(0, len(frame.payload), _CHUNK):
            self._sock.sendall(frame.payload[start : start + _CHUNK])
            take_turn()
