"""Free ports outside the range from which the system takes the ports of outgoing connections.

A balancer opens thousands of connections; a port that was free when it was picked could be one
of theirs before a server that takes seconds to start binds it.
"""

import itertools
import os
import socket
import threading

_FIRST, _LAST = 20_000, 32_000
_numbers = itertools.count(os.getpid() * 37)
_lock = threading.Lock()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on and nobody else here was given."""
    while True:
        with _lock:
            port = _FIRST + next(_numbers) % (_LAST - _FIRST)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
