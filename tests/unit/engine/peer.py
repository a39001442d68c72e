"""The other end of an HTTP worker's connections, played by a test on a real socket."""

from pathlib import Path
from typing import Any

import gevent
from gevent import socket

from app.engine.protocol import Decoder, Frame, Type
from app.input_spec import InputSpec

SPEC = InputSpec(mode="RGB", resize=(2, 2))
HELLO = {"model": "m", "version": "v1", "result_key": "r", "device": "cpu", "max_batch": 8,
         "spec": SPEC.to_json(), "generation": 1}  # fmt: skip


class Peer:
    """The other end of a Unix socket: the supervisor's, or an engine's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._decoder = Decoder()
        self._frames: list[Frame] = []

    def accept(self) -> None:
        """Take the client's connection."""
        with gevent.Timeout(10):
            self._sock, _ = self._listener.accept()
        self._decoder = Decoder()
        self._frames = []

    def send(self, *frames: Frame) -> None:
        """Send frames."""
        self._sock.sendall(b"".join(frame.encode() for frame in frames))

    def receive(self) -> Frame:
        """Return the next frame; COUNTS come in between, once a second."""
        while (frame := self.receive_any()).type is Type.COUNTS:
            pass
        return frame

    def receive_any(self) -> Frame:
        """Return the next frame."""
        with gevent.Timeout(10):
            while not self._frames:
                self._frames = self._decoder.feed(self._sock.recv(65536))
        return self._frames.pop(0)

    def is_left(self) -> bool:
        """Return whether the client hangs up."""
        with gevent.Timeout(10):
            return bool(self._sock.recv(1) == b"")

    def hang_up(self) -> None:
        """End the connection, as a death does."""
        self._sock.close()

    def close(self) -> None:
        """End everything."""
        self._listener.close()
        if hasattr(self, "_sock"):
            self._sock.close()


def named(engine: Peer, generation: int, stage: str = "ready") -> dict[str, Any]:
    """Return what the supervisor's directory says of an engine."""
    return {"device": "cpu", "stage": stage, "cause": "", "path": str(engine.path),
            "generation": generation, "pid": 1, "restarts": {}, "started_at": None}  # fmt: skip


def greet(engine: Peer, spec: InputSpec = SPEC, stage: str = "ready") -> None:
    """Say what a new connection is told."""
    engine.accept()
    state = {"stage": stage, "queue": 0, "batch_age": 0}
    hello = {**HELLO, "spec": spec.to_json()}
    engine.send(Frame(Type.HELLO, head=hello), Frame(Type.STATE, head=state))
