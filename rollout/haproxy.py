"""HAProxy: told through its runtime socket, as the Data Plane API and controllers do."""

import contextlib
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from rollout import balancer
from rollout.ports import free_port
from tests.server import wait_for

_SLOTS = 64  # every instance gets a new one: a slot's address is set once
# retries 0 and no redispatch: nothing is tried again. http-reuse always: idle connections to the
# instances are used even for the first request of a client.
_CONFIG = """\
global
    maxconn 1000
    nbthread 1
    stats socket {socket} mode 600 level admin
    log stdout format raw local0
defaults
    mode http
    log global
    log-format "%[capture.req.hdr(0)] %ST %ts"
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    option dontlognull
    retries 0
    no option redispatch
    http-reuse always
frontend clients
    bind 127.0.0.1:{port} backlog 1024
    http-request capture req.hdr(X-Request-Id) len 64
    default_backend instances
backend instances
    balance roundrobin
{servers}
"""


class Haproxy:
    """One that runs in a folder of its own, on a free port, as whoever runs us.

    Args:
        folder: empty.
        ports: of the instances.
    """

    name = "HAProxy"

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        program = balancer.program("haproxy", "haproxy")
        self.port = free_port()
        self._folder = folder
        self._slots: dict[int, str] = {}
        servers = "\n".join(
            f"    server s{number} 127.0.0.1:1 pool-max-conn 32 disabled"
            for number in range(_SLOTS)
        )
        config = _CONFIG.format(socket=folder / "socket", port=self.port, servers=servers)
        (folder / "haproxy.cfg").write_text(config)
        self._process = balancer.launch([program, "-db", "-f", "haproxy.cfg"], folder)
        balancer.wait_open(self._process, self.port, folder)
        wait_for(self._listens, "HAProxy's runtime socket")  # it opens after the port
        self.route(ports)

    def route(self, ports: Sequence[int]) -> None:
        """Enter the new instances, then drain the others."""
        for port in ports:
            if port not in self._slots:
                slot = self._slots[port] = f"instances/s{len(self._slots)}"
                self._tell(f"set server {slot} addr 127.0.0.1 port {port}")
                self._tell(f"set server {slot} state ready")
        for port, slot in self._slots.items():
            if port not in ports:
                self._tell(f"set server {slot} state drain")

    def stop(self) -> balancer.Log:
        """End softly; read the log."""
        balancer.end(self._process, signal.SIGUSR1)
        log = balancer.Log()
        for line in (self._folder / "output").read_text().splitlines():
            words = line.split()
            if len(words) == 3 and words[1].isdigit():
                log.statuses[words[0]] = int(words[1])
                log.failed += words[1] != "200" or words[2] != "--"
            elif "[ALERT]" in line:
                log.complaints.append(line)
        return log

    def destroy(self) -> None:
        """End, however."""
        balancer.kill(self._process)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self._folder / "socket"))
            return True
        return False

    def _tell(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self._folder / "socket"))
            sock.sendall(command.encode() + b"\n")
            answer = b""
            while chunk := sock.recv(4096):
                answer += chunk
        # A change of address is confirmed in words; anything else that is said is a refusal.
        if answer.strip() and b"changed" not in answer:
            raise AssertionError(f"HAProxy: {command}: {answer.decode().strip()}")
