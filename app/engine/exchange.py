"""The engine's talking thread: sockets in and out, while the other thread computes.

It owns the selector, the line to the supervisor and the connections of the HTTP workers, and goes
on sending BEAT and STATE through a forward (torch releases the GIL): a hang of the model and a
death of the process are then told apart.
"""

import logging
import os
import selectors
import socket
import threading
import time
from typing import Any, Protocol

from app import logs
from app.engine.channel import Channel, ChannelClosed, listening
from app.engine.protocol import Frame, ProtocolError, Type

BEAT_SECONDS = 0.5


class Work(Protocol):
    """What the exchange asks of the engine; called in the talking thread."""

    def greet(self) -> Frame:
        """Return the HELLO for a worker that has just connected."""

    def state(self) -> dict[str, Any]:
        """Return stage, queue and batch_age."""

    def counted(self) -> dict[str, Any]:
        """Return what was counted since the last time."""

    def submit(self, channel: Channel, frame: Frame) -> None:
        """Queue an image."""

    def cancel(self, channel: Channel, number: int) -> None:
        """Drop an image that nobody waits for."""

    def left(self, channel: Channel) -> None:
        """Drop everything of a worker that is gone."""

    def stop(self) -> None:
        """Leave when what is held is answered; also when the supervisor is gone."""


class Exchange:
    """The sockets of one engine.

    Args:
        control: connected to the supervisor.
        work: the engine.
    """

    def __init__(self, control: socket.socket, work: Work) -> None:
        self._work = work
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._listener: socket.socket | None = None
        self._workers: set[Channel] = set()
        self.control = Channel(control, self._wake)

    @property
    def connected(self) -> bool:
        """Whether a worker is connected."""
        return bool(self._workers)

    def start(self) -> None:
        """Begin to talk to the supervisor."""
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._selector.register(self.control, selectors.EVENT_READ, self.control)
        threading.Thread(target=self._talk, name="talk", daemon=True).start()

    def listen(self, path: str) -> None:
        """Let workers in, from any thread."""
        self._listener = listening(path)
        self._wake()

    def _listen_again(self) -> None:
        """Let workers in that start later: the socket was removed. Who is connected stays so."""
        old = self._listener
        if old is None:
            return
        try:
            self._listener = listening(old.getsockname())
        except OSError:
            return  # it is there by now; or the directory is gone again, and we are told again
        if old in self._selector.get_map():
            self._selector.unregister(old)
        old.close()
        self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        logs.event("listening_again")

    def _wake(self) -> None:
        os.write(self._wake_write, b"!")

    def _talk(self) -> None:
        try:
            next_beat = time.monotonic()
            while True:
                for key, events in self._selector.select(max(0.0, next_beat - time.monotonic())):
                    self._serve(key, events)
                self._watch_backlogs()
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + BEAT_SECONDS
                    self.beat()
        except Exception as error:  # noqa: BLE001
            logs.event("engine_defect", level=logging.CRITICAL, error=error)
            os._exit(70)  # deaf and dumb, we could only be killed; the successor replays

    def beat(self) -> None:
        """Tell the supervisor and the workers how it goes; at the end, from the other thread."""
        state = self._work.state()
        self.control.send(Frame(Type.BEAT, head={**state, "counts": self._work.counted()}))
        for channel in list(self._workers):
            channel.send(Frame(Type.STATE, head=state))

    def _watch_backlogs(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Channel):
                writing = selectors.EVENT_WRITE if key.data.has_backlog else 0
                self._selector.modify(key.fd, selectors.EVENT_READ | writing, key.data)

    def _serve(self, key: selectors.SelectorKey, events: int) -> None:
        if key.data is None:
            os.read(self._wake_read, 4096)
            if self._listener and self._listener not in self._selector.get_map():
                self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        elif isinstance(key.data, socket.socket):
            self._accept(key.data)
        else:
            if events & selectors.EVENT_WRITE:
                key.data.flush()
            if events & selectors.EVENT_READ:
                self._read(key.data)

    def _accept(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        channel = Channel(sock, self._wake)
        self._workers.add(channel)
        self._selector.register(channel, selectors.EVENT_READ, channel)
        channel.send(self._work.greet())
        channel.send(Frame(Type.STATE, head=self._work.state()))

    def _read(self, channel: Channel) -> None:
        try:
            for frame in channel.receive():
                self._handle(channel, frame)
        except ProtocolError as error:
            logs.event("bad_frame", level=logging.ERROR, message=str(error))
            self._forget(channel)
        except ChannelClosed:
            self._forget(channel)

    def _handle(self, channel: Channel, frame: Frame) -> None:
        if frame.type is Type.SUBMIT:
            self._work.submit(channel, frame)
        elif frame.type is Type.CANCEL:
            self._work.cancel(channel, frame.id)
        elif frame.type is Type.STOP and channel is self.control:
            self._work.stop()
        elif frame.type is Type.LISTEN and channel is self.control:
            self._listen_again()
        else:
            raise ProtocolError(f"an engine takes no {frame.type.name} here")

    def _forget(self, channel: Channel) -> None:
        self._selector.unregister(channel)
        channel.close()
        if channel is self.control:  # the supervisor is gone: so must we, in order
            self._work.stop()
            return
        self._workers.discard(channel)
        self._work.left(channel)
