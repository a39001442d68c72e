"""What nginx and HAProxy have in common here: a process in a folder, and a log by request id.

Neither may forgive: both are told not to try a request again, and both keep idle connections to
the instances, which is where servers lose requests.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.server import wait_for

_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin")  # Debian's PATH of a user lacks them


class Missing(Exception):
    """A program is not there; the sentence says what to install."""


@dataclass
class Log:
    """What the balancer itself wrote down.

    Args:
        statuses: by request id.
        failed: requests that it could not pass on or bring back, by its own account.
        complaints: other errors in its log.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    complaints: list[str] = field(default_factory=list)


class Balancer(Protocol):
    """One that runs."""

    name: str
    port: int

    def route(self, ports: Sequence[int]) -> None:
        """Send new requests to these instances and no others, from now on."""

    def stop(self) -> Log:
        """End in order; return what it logged."""

    def destroy(self) -> None:
        """End, however."""


def program(name: str, package: str) -> str:
    """Return the path of a balancer's program.

    Raises:
        Missing: with what to install.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_FOLDERS])
    found = shutil.which(name, path=path)
    if found is None:
        raise Missing(
            f"{name} is not on PATH, and the proof needs it: apt-get install "
            f"--no-install-recommends {package} (it need not run as a service)."
        )
    return found


def launch(command: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start a balancer in the foreground, in a session of its own; its output goes to a file.

    The kernel ends it with the thread that started it, in case nobody else does.
    """
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command], cwd=folder, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def wait_open(process: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
    """Wait until the balancer takes connections."""

    def is_open() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return process.poll() is not None

    wait_for(is_open, f"{process.args!r} to listen")
    if process.poll() is not None:
        raise AssertionError(f"{process.args!r} ended:\n{(folder / 'output').read_text()}")


def end(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Signal a balancer and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End the balancer and its children at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
