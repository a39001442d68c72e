"""The real server for tests: ``sh run.sh`` on a free port, and clients that count."""

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parent.parent
PATIENCE = 90.0  # seconds: a noisy machine must not turn a test red


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Return the condition's first true value, or fail with what was waited for."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:g} s for {what}")


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def png(colour: tuple[int, int, int] = (0, 0, 0), size: int = 8) -> bytes:
    """Return an image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, which must be JSON."""
        return json.loads(self.body)


class Client:
    """What a client of the server on this machine's port can do."""

    port: int

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers), response.read())

    def get(self, path: str, **headers: str) -> Reply:
        """GET."""
        return self.request("GET", path, **headers)

    def post(self, body: bytes, path: str = "/predict", kind: str = "image/png") -> Reply:
        """POST one raw image."""
        return self.request("POST", path, body, Content_Type=kind)

    def healthy(self) -> bool:
        """Return whether /health says so."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/health").status == 200
        return False

    def engines(self) -> list[int]:
        """Return the pids of the engines that are ready."""
        engines = self.get("/status").json()["engines"]
        return [engine["pid"] for engine in engines if engine["stage"] == "ready"]


class Server(Client):
    """A server that is running, or ran: `run.sh` and all that it started."""

    def __init__(self, folder: Path, output: int | None = None, **env: object) -> None:
        self.port = free_port()
        self.state_dir = folder / "state"
        self.log = folder / "log"
        variables = {
            "PORT": self.port, "STATE_DIR": self.state_dir, "DRAIN_SECONDS": 1, "WORKERS": 2,
            "HOST": "127.0.0.1", "PYTHON": sys.executable, **env,
        }  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                # A shell cannot trap what was ignored before it, by nohup or for a background job.
                ["env", "--default-signal=HUP,INT", "sh", str(ROOT / "run.sh")],
                stdin=subprocess.DEVNULL,
                stdout=output or log, stderr=output or log,
                env={**os.environ, **{name: str(value) for name, value in variables.items()}},
                cwd=folder, start_new_session=True,
            )  # fmt: skip

    def wait_ready(self) -> "Server":
        """Wait until the model can answer."""
        wait_for(lambda: self.healthy() or self.process.poll() is not None, "health")
        assert self.process.poll() is None, self.log.read_text()
        return self

    def signal(self, number: int) -> None:
        """Signal run.sh alone, as a platform does with PID 1."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return run.sh's exit code."""
        return self.process.wait(PATIENCE)

    def processes(self) -> list[int]:
        """Return the pids of every process of this server that lives."""
        mine = f"STATE_DIR={self.state_dir}\0".encode()
        pids = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if mine in (entry / "environ").read_bytes():
                    pids.append(int(entry.name))
        return pids

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Return the log lines, or those of one event. Every line must be JSON."""
        whole = self.log.read_text().rpartition("\n")[0]  # the last line may be half written
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if not name or line["event"] == name]

    def arbiter(self) -> int:
        """Return the pid of gunicorn's arbiter."""
        started = "Starting gunicorn"
        [pid] = [line["pid"] for line in self.events("log") if started in line["message"]]
        return int(pid)

    def destroy(self) -> None:
        """End whatever is left, however."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


@dataclass
class Load:
    """Closed-loop clients with keep-alive; each answer and each failure is counted.

    A refused connection ends a client: nothing was accepted, so nothing is lost.
    """

    server: Client
    clients: int
    image: Callable[[int], bytes] = lambda _: png()
    headers: dict[str, str] = field(default_factory=dict)
    path: str = "/predict"
    answers: list[Reply] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self._go_on = True
        self._threads = [
            threading.Thread(target=self._client, args=(number,)) for number in range(self.clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each client finish its request, and wait for all."""
        self._go_on = False
        for thread in self._threads:
            thread.join(PATIENCE)

    def wait_answers(self, count: int) -> None:
        """Wait until so many more answers have come."""
        wanted = len(self.answers) + count
        wait_for(lambda: len(self.answers) >= wanted or self.failures, f"{count} answers")

    def _client(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            self._ask(connection, number)

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> None:
        while self._go_on:
            if connection.sock is None:
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return
            try:
                body = self.image(number)
                headers = {"Content-Type": "image/png", **self.headers}
                connection.request("POST", self.path, body, headers)
                response = connection.getresponse()
                reply = Reply(response.status, dict(response.headers), response.read())
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                return
            self.answers.append(reply)
            if reply.status != 200:
                self.failures.append(f"{reply.status} {reply.body!r}")
            if reply.headers.get("Connection") == "close":
                connection.close()


@contextlib.contextmanager
def serve(folder: Path, **env: object) -> Iterator[Server]:
    """Start a server, and leave nothing of it behind."""
    server = Server(folder, **env)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.destroy()
