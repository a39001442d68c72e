"""A Unix stream socket that carries frames, never blocks, and holds back a bounded amount.

Used by the supervisor and by the engines; HTTP workers have gevent for the same (``client``).
"""

import contextlib
import socket
import threading
from collections.abc import Callable

from app.engine.protocol import MAX_PAYLOAD, Decoder, Frame

_CHUNK = 1 << 18
_WAITING = 1024  # connections that nobody has taken yet; where they are full, gevent spins
MAX_BACKLOG = 32 << 20  # so much unread, and the next one comes: the peer does not read


def listening(path: str) -> socket.socket:
    """Return a non-blocking socket that listens at a path.

    Raises:
        OSError: the name is taken, or the directory is gone.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    listener.listen(_WAITING)
    listener.setblocking(False)
    return listener


class ChannelClosed(Exception):
    """The peer is gone, or does not read; the channel can only be closed."""


class Channel:
    """One connection.

    Args:
        sock: connected; becomes non-blocking.
        on_backlog: called (in the sender's thread) when bytes wait for the socket, so that the
            thread that owns the selector begins to watch for writability.
        max_payload: see Decoder.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_backlog: Callable[[], None] = lambda: None,
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_backlog = on_backlog
        self._decoder = Decoder(max_payload)
        self._backlog = bytearray()
        self._lock = threading.Lock()
        self._closed = False
        self._waits = False

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._sock.fileno()

    @property
    def has_backlog(self) -> bool:
        """Whether bytes wait for the socket to become writable; not merely for their sender."""
        return self._waits

    def receive(self) -> list[Frame]:
        """Return the frames that one read completes, perhaps none.

        Raises:
            ChannelClosed: end of file or a broken connection.
            ProtocolError: the peer speaks something else.
        """
        try:
            chunk = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        if not chunk:
            raise ChannelClosed("end of file")
        return self._decoder.feed(chunk)

    def send(self, *frames: Frame) -> None:
        """Send frames, or as much as the socket takes now; any thread may call this.

        A peer that does not read is cut off rather than waited for: its end of file tells the
        selector's thread.
        """
        with self._lock:
            waited = self._waits
            if len(self._backlog) > MAX_BACKLOG:  # before these: one batch of masks may be large
                self._cut()
            for frame in frames:
                self._backlog += frame.encode()
            if not waited:
                self._write()
            self._waits = bool(self._backlog)
        if self._waits and not waited:
            self._on_backlog()

    def flush(self) -> None:
        """Write what waits; the selector's thread calls this when the socket is writable."""
        with self._lock:
            self._write()
            self._waits = bool(self._backlog)

    def close(self) -> None:
        """Close the socket; later sends do nothing."""
        with self._lock:
            self._closed = True
            self._backlog.clear()
            self._sock.close()

    def _write(self) -> None:
        if self._closed:
            self._backlog.clear()
            return
        try:
            while self._backlog:
                sent = self._sock.send(self._backlog)
                del self._backlog[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._cut()

    def _cut(self) -> None:
        self._backlog.clear()
        with contextlib.suppress(OSError):  # already broken: the reader sees it as well
            self._sock.shutdown(socket.SHUT_RDWR)
