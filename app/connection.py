"""One client connection in an HTTP worker: idle or busy, and how it is closed."""

import contextlib
import errno
import fcntl
import sys
import termios
import time
from typing import Any

import gevent
from gevent import socket

LINGER_SECONDS = 2.0
_REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _Idle(Exception):
    """Ends a connection's wait: the worker stops or is full, and nothing has come for long."""


class Writer:
    """Sends a response's head with the first of its body: one packet and one system call, not two.

    Args:
        client: the connection's socket.
        timeout: seconds for each piece; a client that reads nothing for so long is cut off, so
            that it holds neither memory nor the end of the worker.
    """

    def __init__(self, client: socket.socket, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
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
            self._send(self._head + data)
            self._head = b""

    def flush(self) -> None:
        """Send a head that no body followed."""
        if self._head:
            self._send(self._head)
            self._head = b""

    def _send(self, data: bytes) -> None:
        with gevent.Timeout(self._timeout, False):
            self._client.sendall(data)
            return
        raise ConnectionResetError(errno.ECONNRESET, "the client does not read")


class Connection:
    """Idle means: waiting for the first byte of the next request. Anything else is busy.

    Args:
        client: accepted and blocking (for its greenlet).
    """

    def __init__(self, client: socket.socket) -> None:
        self.first_byte = time.monotonic()
        self._client = client
        self._wait: Any = None
        self._idle_since: float | None = None
        self._linger = False

    def await_request(self, parser: Any, keepalive: float) -> bool:
        """Wait for the first byte of a request; return False when the connection must end."""
        if not parser.unreader.buf.getbuffer().nbytes:  # else the client has sent two at once
            self._idle_since = time.monotonic()
            self._wait = gevent.get_hub().loop.io(self._client.fileno(), 1)  # to read
            try:
                socket.wait(self._wait, timeout=keepalive)
            except (TimeoutError, _Idle):
                if not self._has_bytes():  # they may have come at this very moment
                    return False
            finally:
                self._idle_since = None
                self._wait.close()
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

    @property
    def idle_since(self) -> float | None:
        """Monotonic seconds since when it has been idle; None while it is busy."""
        return self._idle_since

    def close_if_idle(self, after: float, stopped_at: float) -> None:
        """Have it closed if it has been idle for ``after`` seconds of the stop."""
        idle_since = self._idle_since
        if idle_since is not None and time.monotonic() - max(idle_since, stopped_at) >= after:
            # Ends this wait and nothing else: a greenlet that was killed might be busy by then.
            gevent.get_hub().cancel_wait(self._wait, _Idle())
            self._idle_since = None  # once is enough

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
        # Not a recv: gevent's waits for the first byte, whatever the flags.
        waiting = fcntl.ioctl(self._client.fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) > 0
