"""One client connection in an HTTP worker: idle or busy, and how it is closed."""

import contextlib
import time
from typing import Any

import gevent
from gevent import Greenlet, socket

LINGER_SECONDS = 2.0
_REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _Idle(BaseException):
    """Thrown into a waiting greenlet: the worker stops, and nothing has come for long enough."""


class Writer:
    """Sends a response's head with the first of its body: one packet and one system call, not two.

    Args:
        client: the connection's socket.
    """

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._head: bytes | None = None

    def send(self, interim: bytes) -> int:
        """Send at once: 100 Continue."""
        sent: int = self._client.send(interim)
        return sent

    def sendall(self, data: bytes) -> None:
        """Hold the first piece, which is the head; send it with the second."""
        if self._head is None:
            self._head = data
        else:
            self._client.sendall(self._head + data)
            self._head = b""

    def flush(self) -> None:
        """Send a head that no body followed."""
        if self._head:
            self._client.sendall(self._head)
            self._head = b""


class Connection:
    """Idle means: waiting for the first byte of the next request. Anything else is busy.

    Args:
        client: accepted and blocking (for its greenlet).
    """

    def __init__(self, client: socket.socket) -> None:
        self.first_byte = time.monotonic()
        self._client = client
        self._greenlet: Greenlet = gevent.getcurrent()
        self._idle_since: float | None = None
        self._linger = False

    def await_request(self, parser: Any, keepalive: float) -> bool:
        """Wait for the first byte of a request; return False when the connection must end."""
        if not parser.unreader.buf.getbuffer().nbytes:  # else the client has sent two at once
            self._idle_since = time.monotonic()
            try:
                socket.wait_read(self._client.fileno(), timeout=keepalive)
            except (TimeoutError, _Idle):
                if not self._has_bytes():  # they may have come at this very moment
                    return False
            finally:
                self._idle_since = None
        self.first_byte = time.monotonic()
        return True

    def read_head(self, parser: Any, timeout: float) -> Any:
        """Return the next request's head; its first byte is there.

        Raises:
            StopIteration: the client left, or was too slow to finish it (RFC 9110, 15.5.9).
        """
        with gevent.Timeout(timeout, False):
            return next(parser)
        self._client.sendall(_REQUEST_TIMEOUT)
        raise StopIteration

    def has_unread_body(self, request: Any) -> bool:
        """Return whether the answer comes before the body was read; then remember to linger."""
        reader = request.body.reader
        remaining = getattr(reader, "length", None)
        unread = bool(getattr(reader, "parser", None)) if remaining is None else remaining > 0
        self._linger = self._linger or unread
        return unread

    def close_if_idle(self, after: float, stopped_at: float) -> None:
        """Have it closed if it has been idle for ``after`` seconds of the stop."""
        idle_since = self._idle_since
        if idle_since is not None and time.monotonic() - max(idle_since, stopped_at) >= after:
            self._greenlet.kill(_Idle, block=False)

    def close(self) -> None:
        """Close; where the client is still sending, first let it read the answer.

        Closing with unread bytes resets the connection, and the reset can overtake the answer.
        """
        if self._linger:
            with gevent.Timeout(LINGER_SECONDS, False), contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_WR)
                while self._client.recv(1 << 16):
                    pass
        self._client.close()

    def _has_bytes(self) -> bool:
        try:
            return bool(self._client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False
