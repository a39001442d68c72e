"""The instances behind the balancers: the server itself, and a plain gunicorn beside it."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from rollout.ports import free_port
from tests.server import ROOT, Server, children

END_SECONDS = 180.0


class Instance(Server):
    """``sh run.sh``, as a container would start it.

    Args:
        folder: empty; gets STATE_DIR and the log.
        env: settings.
    """

    def __init__(self, folder: Path, **env: object) -> None:
        port = free_port()
        self.folder = folder
        super().__init__(folder, **{"PORT": port, **env})  # type: ignore[arg-type]
        self.port = port

    @functools.cached_property
    def gunicorn(self) -> int:
        """The pid of gunicorn's arbiter; the log that it is found in grows long."""
        return self.arbiter()

    def workers(self) -> list[int]:
        """Return the pids of the HTTP workers."""
        return children(self.gunicorn)


class Plain(Server):
    """``plain.sh``: the usual recipe; no model.

    Args:
        folder: empty; gets the log.
        sleep: seconds between SIGTERM and gunicorn's.
    """

    def __init__(self, folder: Path, sleep: int) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        self.state_dir = folder  # what its processes are found by
        env = {
            **os.environ, "PORT": str(self.port), "RECIPE_SLEEP": str(sleep),
            "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "STATE_DIR": str(folder),
        }  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", str(ROOT / "rollout" / "plain.sh")], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=env, cwd=folder, start_new_session=True,
            )  # fmt: skip


@dataclass
class Ends:
    """How instances ended.

    Args:
        seconds: from SIGTERM to the exit, of each.
        faults: what was not in order.
    """

    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Fleet:
    """Everything that was started for one lane of cases; nothing of it is left behind.

    Args:
        folder: each instance gets a new one below it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Server] = []
        self._leaving: list[threading.Thread] = []
        self._ends = Ends()

    def place(self, name: str) -> Path:
        """Return a new folder."""
        place = self._folder / f"{name}-{len(list(self._folder.iterdir()))}"
        place.mkdir()
        return place

    def start(self, **env: object) -> Instance:
        """Start an instance; it is not ready yet."""
        instance = Instance(self.place("instance"), **env)
        self._started.append(instance)
        return instance

    def start_plain(self, sleep: int) -> Plain:
        """Start a plain gunicorn; it is not ready yet."""
        plain = Plain(self.place("plain"), sleep)
        self._started.append(plain)
        return plain

    def retire(self, server: Server) -> None:
        """Signal SIGTERM; whether it ends in order is asked for later, by ``wait_retired``."""
        server.signal(signal.SIGTERM)
        thread = threading.Thread(target=self._check_end, args=(server,), daemon=True)
        thread.start()
        self._leaving.append(thread)

    def wait_retired(self) -> Ends:
        """Wait until all that were retired are gone; return how they ended."""
        for thread in self._leaving:
            thread.join()
        ends, self._leaving, self._ends = self._ends, [], Ends()
        return ends

    def destroy(self) -> None:
        """End whatever is left, however."""
        for server in self._started:
            with contextlib.suppress(OSError):
                server.destroy()

    def _check_end(self, server: Server) -> None:
        began = time.monotonic()
        try:
            code = server.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._ends.faults.append(f"still there {END_SECONDS:g} s after SIGTERM")
            return
        self._ends.seconds.append(time.monotonic() - began)
        if code != 0 and isinstance(server, Instance):
            self._ends.faults.append(f"exit code {code}")
        if left := server.processes():
            self._ends.faults.append(f"{len(left)} processes left behind")
