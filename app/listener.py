"""Closing a listening socket without resetting a client (design, invariant 3). Linux.

A connection whose handshake is done waits in the listener's accept queue; closing the listener
resets it. Under load that queue never gets empty by accepting alone, so new handshakes are kept
out first. A client whose SYN was dropped sends it again a second later and is refused then, which
is a failed connect and no lost request.
"""

import contextlib
import ctypes
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_IP_MINTTL = 21  # linux/in.h
_IPV6_MINHOPCOUNT = 73  # linux/in6.h
_SYN_RECV = "03"
HANDSHAKE_SECONDS = 1.0

# struct sock_filter: code, jt, jf, k. A TCP socket's filter sees the packet from its TCP header.
_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the flags byte
        (0x45, 0, 1, 0x02),  # SYN set?
        (0x06, 0, 0, 0),  # yes: drop
        (0x06, 0, 0, 0xFFFFFFFF),  # no: pass
    )
)


def filter_handshakes(listener: socket.socket) -> bool:
    """Drop every SYN to the socket by a classic BPF filter.

    Returns:
        Whether the system lets us: recent kernels ask for CAP_NET_ADMIN, some sandboxes refuse.
    """
    program = ctypes.create_string_buffer(_DROP_SYN)
    fprog = struct.pack("HL", len(_DROP_SYN) // 8, ctypes.addressof(program))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    except OSError:
        return False
    return True


def outlive_handshakes(listener: socket.socket) -> bool:
    """Drop what reaches the socket with a TTL under 255 (RFC 5082), which takes no privilege.

    Hosts send with 64 or 128, so this too drops every SYN. A connection whose handshake was half
    done inherits it: ``welcome`` undoes that.

    Returns:
        Whether the system lets us.
    """
    return _set_min_ttl(listener, 255)


def refuse_handshakes(listener: socket.socket) -> str:
    """Keep new connections out from now on; return the means, or an empty string if there is none.

    It holds for all processes that share the socket, so it belongs to the end of the container,
    never to the recycling of one worker.
    """
    if filter_handshakes(listener):
        return "syn_filter"
    return "min_ttl" if outlive_handshakes(listener) else ""


def welcome(accepted: socket.socket) -> None:
    """Let a connection that was accepted after ``refuse_handshakes`` hear its client."""
    _set_min_ttl(accepted, 0)


def _set_min_ttl(sock: socket.socket, hops: int) -> bool:
    done = False
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, hops)
        done = True
    if sock.family == socket.AF_INET6:  # which may serve IPv4 as well: then both count
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, hops)
            return True
        return False
    return done


def handshakes_pending(port: int) -> bool:
    """Return whether a handshake on the port is half done."""
    local = f":{port:04X}"
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = table.read_text().splitlines()[1:]
        for line in lines:
            columns = line.split()
            if columns[1].endswith(local) and columns[3] == _SYN_RECV:
                return True
    return False


def await_handshakes(port: int, sleep: Callable[[float], object]) -> None:
    """Wait until no handshake is half done, at most HANDSHAKE_SECONDS."""
    until = time.monotonic() + HANDSHAKE_SECONDS
    while handshakes_pending(port) and time.monotonic() < until:
        sleep(0.01)
