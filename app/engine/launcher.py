"""Starts the nursery, and engines through it. Runs in the supervisor."""

import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from app import logs
from app.engine.order import Order
from app.engine.protocol import Frame, Type
from app.stderr import StderrPipe

YOUNG_SECONDS = 10.0  # a nursery that dies earlier cannot import what it must
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

# For PyTorch on a CPU.
CPU_TUNING = {
    # glibc would give every batch's buffers back to the kernel and fault them in again:
    # measured 1.2 times the throughput of ResNet-18.
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "268435456",
    # OpenMP's threads would spin at each barrier for one that lost its core to a decoder or a
    # neighbour: measured 2 to 4 times the throughput beside a busy neighbour, the same without.
    "GOMP_SPINCOUNT": "0",
}


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent is gone (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Launcher:
    """The supervisor's side of the nursery.

    Args:
        state_dir: where libraries may write when the home directory is none.
    """

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self.pid = 0
        self._began = 0.0
        self._deaths = 0
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> StderrPipe | None:
        """Start the nursery; orders wait in its socket while it imports torch.

        Returns:
            What it and its engines write to standard error; None if that is a terminal.
        """
        # Packets: descriptors must stay with the order that they came with.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {**_caches(self._state_dir), **os.environ, **CPU_TUNING}
        command = [sys.executable, "-m", "app.engine.nursery", str(theirs.fileno())]
        stderr = None if os.isatty(2) else os.pipe2(os.O_CLOEXEC)
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=environ, stderr=stderr[1] if stderr else None
        )
        theirs.close()
        if self._line:
            self._line.close()
        self._line = ours
        self.pid = self._process.pid
        self._began = time.monotonic()
        logs.event("nursery_started", nursery=self.pid)
        if stderr is None:
            return None
        os.close(stderr[1])
        return StderrPipe(stderr[0], "engine")

    def next_start(self, now: float) -> float:
        """Return when to start the next nursery after this one's death: with back-off if young."""
        self._deaths = 0 if now - self._began > YOUNG_SECONDS else self._deaths + 1
        return now + min(30.0, 2.0**self._deaths - 1)

    def spawn(self, order: Order, files: Sequence[int]) -> socket.socket:
        """Order an engine and return our end of its control line.

        The line's end of file tells that the engine is gone, or never came to be.

        Args:
            order: which engine.
            files: descriptors of the open files that the order names.
        """
        ours, theirs = socket.socketpair()
        descriptors = [theirs.fileno(), *files]
        frame = Frame(Type.SPAWN, head=asdict(order)).encode()
        try:
            if self._line:
                socket.send_fds(self._line, [frame], descriptors)
        except OSError as error:  # the nursery just died; SIGCHLD brings the next one
            logs.event("spawn_failed", message=str(error))
        finally:
            theirs.close()
        return ours

    def stop(self) -> None:
        """End the nursery; it holds nothing worth waiting for."""
        if self._process:
            self._process.kill()
            self._process.wait()
        if self._line:
            self._line.close()


def _caches(state_dir: str) -> dict[str, str]:
    """Say where to cache (torch's downloads) where HOME is read-only, as in many containers."""
    # Not Path.home(), which raises for a uid that has no name.
    if os.access(os.path.expanduser("~"), os.W_OK):
        return {}
    return {"XDG_CACHE_HOME": str(Path(state_dir, "cache"))}
