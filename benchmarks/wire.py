"""One HTTP/1.1 connection that never blocks: for clients that must cost little themselves."""

import selectors
import socket

_CHUNK = 1 << 16
_SEND_BUFFER = 1 << 19  # a whole JPEG in one call: one system call, not ten


class Line:
    """Sends one request at a time and finds the end of its answer.

    Args:
        port: on 127.0.0.1.
        selector: watches the socket; the line itself is the key's data.
    """

    def __init__(self, port: int, selector: selectors.BaseSelector) -> None:
        self._port = port
        self._selector = selector
        self._sock: socket.socket | None = None
        self._unsent = memoryview(b"")
        self._seen = bytearray()
        self._watched = 0

    @property
    def fresh(self) -> bool:
        """Whether nothing is open: the next request opens a connection."""
        return self._sock is None

    @property
    def answer(self) -> bytes:
        """What has come of the last answer, head and body."""
        return bytes(self._seen)

    def send(self, request: bytes) -> None:
        """Begin a request; connects first where nothing is open.

        Raises:
            OSError: refused, or the connection broke.
        """
        if self._sock is None:
            self._sock = socket.socket()
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            self._sock.connect_ex(("127.0.0.1", self._port))
        self._unsent = memoryview(request)
        self._seen.clear()
        self._push(self._sock)

    def advance(self) -> int | None:
        """Go on after the selector named this line; return the status of a whole answer.

        Raises:
            OSError: the connection broke before the answer was whole.
        """
        if self._sock is None:
            return None
        if self._unsent:
            self._push(self._sock)
        try:
            chunk = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return None
        if not chunk:
            raise ConnectionResetError("closed before the answer was whole")
        self._seen += chunk
        return self._finished()

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._sock is not None:
            if self._watched:
                self._selector.unregister(self._sock)
            self._sock.close()
        self._sock, self._watched = None, 0

    def _push(self, sock: socket.socket) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if not self._watched:
            self._selector.register(sock, wanted, self)
        elif wanted != self._watched:
            self._selector.modify(sock, wanted, self)
        self._watched = wanted

    def _finished(self) -> int | None:
        end = self._seen.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._seen[:end]).lower() + b"\r\n"
        _, _, after = head.partition(b"\r\ncontent-length:")
        length = int(after.partition(b"\r\n")[0] or 0)
        if len(self._seen) < end + 4 + length:
            return None
        if b"\r\nconnection: close\r\n" in head:
            self.close()
        return int(head[9:12])


def request(method: str, path: str, body: bytes = b"", kind: str = "image/jpeg") -> bytes:
    """Return the bytes of a request; ``kind`` is what its body is called."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if body:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def name_of(error: OSError) -> str:
    """Return what a failure is called in the tables."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "reset" if isinstance(error, ConnectionError) else type(error).__name__
