"""The port is closed while clients open connections all the while: nobody is reset."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading

from tests.conftest import Start
from tests.server import PATIENCE, ROOT, free_port, wait_for

CLIENTS = 24
TRIALS = 5


class Newcomers:
    """Clients that open a connection for each request, until they are refused. No retries."""

    def __init__(self, port: int) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._port = port
        self._threads = [threading.Thread(target=self._come) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until every client was refused, or lost."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _come(self) -> None:
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
            except ConnectionRefusedError:
                return  # nothing was accepted, so nothing is lost
            except OSError as error:
                self.lost.append(str(error))
                return
            try:
                with sock:
                    sock.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    answer = sock.makefile("rb").read()
            except OSError as error:
                self.lost.append(str(error))
                return
            if not answer.startswith(b"HTTP/1.1 200"):
                self.lost.append(repr(answer))
                return
            self.answered += 1


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


def _lost_by_gunicorns_own_worker() -> int:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "2", "-b", f"127.0.0.1:{port}",
         "--no-control-socket", "--graceful-timeout", "3", "tests.stubs.plain:application"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: _listens(port), "gunicorn")
        clients = Newcomers(port)
        wait_for(lambda: clients.answered > 200, "answers")
        process.send_signal(signal.SIGTERM)
        clients.join()
        return len(clients.lost)
    finally:
        process.kill()
        process.wait()


def test_nobody_is_reset_by_the_end_of_a_container(start: Start) -> None:
    server = start(DRAIN_SECONDS=0).wait_ready()
    clients = Newcomers(server.port)
    wait_for(lambda: clients.answered > 200, "answers")
    server.signal(signal.SIGTERM)
    clients.join()
    assert server.wait() == 0
    assert clients.lost == []


def test_gunicorns_own_worker_resets_some() -> None:
    lost = 0
    for _ in range(TRIALS):
        lost += _lost_by_gunicorns_own_worker()
        if lost:
            break
    print(f"gunicorn's own gevent worker lost {lost} of {CLIENTS} clients' last requests")
    assert lost > 0, "this load cannot tell a lossless end from another"
