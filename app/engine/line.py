"""The HTTP worker's connection to the supervisor: hears the directory, asks and tells.

The supervisor says something every second. Silence is counted in turns of this loop, not by the
clock: where the whole container stood still, nobody was silent.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket
from gevent.event import AsyncResult
from gevent.lock import RLock

from app import errors, logs
from app.engine.link import connect, frames_of
from app.engine.protocol import Frame, Type

RECONNECT_SECONDS = 0.05
NOTE_SECONDS = 0.2
TURN_SECONDS = 1.0
SILENT_TURNS = 10  # on a saturated machine the supervisor may be late by seconds


class Line:
    """Connects again and again, for the life of the process.

    Args:
        path: the supervisor's Unix socket.
        on_directory: gets the head of every ENGINES.
    """

    def __init__(self, path: str, on_directory: Callable[[dict[str, Any]], None]) -> None:
        self.connected = False
        self.connections = 0
        self.silence = 0  # turns since it said something, or took our connection
        self.on_collect: Callable[[int], None] = lambda _: None  # gets the id of every COLLECT
        self.on_loss: Callable[[], None] = lambda: None  # it is gone, or stands still
        self._path = path
        self._on_directory = on_directory
        self._sending = RLock()  # one frame after the other
        self._sock: socket.socket | None = None
        self._asked: dict[int, AsyncResult] = {}
        self._last_number = 0
        self._noted_at = 0.0

    def start(self) -> None:
        """Begin to follow the supervisor."""
        gevent.spawn(self._follow)
        gevent.spawn(self._count_silence)

    @property
    def silent(self) -> bool:
        """Whether the supervisor is there and stands still."""
        return self.silence >= SILENT_TURNS

    def ask(self, what: Type) -> AsyncResult:
        """Ask for an exchange of the model (RELOAD), or for the sum of all metrics (SCRAPE).

        Returns:
            What gets the answer's head, when it comes; or a ServingError where the supervisor
            is not there to answer.
        """
        result = AsyncResult()
        self._last_number += 1
        self._asked[self._last_number] = result
        if not self.send(Frame(what, self._last_number)):
            self._fail_asked()
        return result

    def send(self, frame: Frame) -> bool:
        """Send a frame whole; return False where the supervisor is not there."""
        with self._sending:
            try:
                if self._sock is None:
                    return False
                self._sock.sendall(frame.encode())
            except OSError:
                return False
            return True

    def note_request(self) -> None:
        """Tell that requests still come; the supervisor need not hear of each."""
        now = time.monotonic()
        if now - self._noted_at > NOTE_SECONDS:
            self._noted_at = now
            # It is told again later; a supervisor that hangs must hold no request.
            with gevent.Timeout(NOTE_SECONDS, False):
                self.send(Frame(Type.ACTIVE))

    def _follow(self) -> None:
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                try:
                    connect(sock, self._path)
                    self._sock = sock
                    self.connections += 1
                    for frame in frames_of(sock):
                        self._hear(frame)
                except OSError:
                    pass  # not there yet, or gone: run.sh ends the container then
            had_one = self._sock is not None
            self.connected, self._sock, self.silence = False, None, 0
            self._fail_asked()
            if had_one:
                self.on_loss()
            gevent.sleep(RECONNECT_SECONDS)

    def _hear(self, frame: Frame) -> None:
        self.connected, self.silence = True, 0
        if frame.type is Type.ENGINES:
            self._on_directory(frame.head)
        elif frame.type is Type.COLLECT:
            self.on_collect(frame.id)
        elif result := self._asked.pop(frame.id, None):  # RELOADED, METRICS
            result.set(frame.head)

    def _count_silence(self) -> None:
        while True:
            gevent.sleep(TURN_SECONDS)
            self.silence += self._sock is not None
            if self.silence == SILENT_TURNS:
                logs.event("supervisor_silent", level=logging.ERROR, seconds=self.silence)
                self.on_loss()

    def _fail_asked(self) -> None:
        asked, self._asked = self._asked, {}
        for result in asked.values():
            result.set_exception(errors.Internal("the engine supervisor is not there"))
