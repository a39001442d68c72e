"""The server under measurement: started as for real, seen from outside through /proc."""

import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import limits
from benchmarks import machine
from tests.server import Server

_MARK = "UNBROKEN_BENCHMARK"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Role:
    """One process of the server.

    Args:
        name: ``worker``, ``engine``, ``nursery``, ``supervisor``, ``arbiter`` or ``run.sh``.
    """

    pid: int
    name: str


@dataclass(frozen=True)
class Memory:
    """What a process has in RAM, in megabytes (10^6 bytes).

    Args:
        rss: pages it has mapped, shared or not.
        pss: the same, each shared page divided by its sharers: these can be added up.
        torch: whether libtorch is mapped.
    """

    role: str
    rss: float
    pss: float
    torch: bool


@contextlib.contextmanager
def house(folder: Path, model: Mapping[str, str]) -> Iterator[Server]:
    """Start run.sh with its defaults on a free port; leave no process of it behind.

    Args:
        folder: gets a new folder for STATE_DIR and the log.
        model: MODEL, WEIGHTS, DEVICE.
    """
    place = folder / f"server-{next(_numbers)}"
    place.mkdir()
    # The tests' class asks for two workers; the default is what is measured.
    server = Server(place, WORKERS=min(4, limits.cores()), **model)
    try:
        yield server
    finally:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            server.destroy()
            if not server.processes():  # one may have been forked while we looked
                break


@contextlib.contextmanager
def swept(mark: str) -> Iterator[None]:
    """Mark every process that is started meanwhile, and kill those that are left at the end.

    The other clean-ups miss what a signal interrupts between a fork and its ``try``.
    """
    os.environ[_MARK] = mark
    wanted = f"{_MARK}={mark}\0".encode()
    try:
        yield
    finally:
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)


def wait_ready(server: Server) -> None:
    """Wait for the first 200 of /health.

    Raises:
        RuntimeError: run.sh ended, or five minutes passed.
    """
    until = time.monotonic() + 300
    while not server.healthy():
        if server.process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the server did not start:\n" + server.log.read_text())
        time.sleep(0.1)


def roles(server: Server) -> list[Role]:
    """Return every process of a server that is ready."""
    engines = set(server.engines())
    pids = server.processes()
    arbiter = {pid for pid in pids if _is_gunicorn(pid) and not _is_gunicorn(_parent(pid))}
    found = []
    for pid in pids:
        command = _command(pid)
        if pid in engines:
            name = "engine"
        elif "app.engine.nursery" in command:
            name = "nursery"
        elif "app.engine" in command:
            name = "supervisor"
        elif _is_gunicorn(pid):
            name = "arbiter" if pid in arbiter else "worker"
        else:
            name = "run.sh"
        found.append(Role(pid, name))
    return sorted(found, key=lambda role: (role.name, role.pid))


def cpu_seconds(people: list[Role]) -> dict[str, float]:
    """Return the CPU time that the processes of each role have used, threads included."""
    spent: dict[str, float] = {}
    for role in people:
        with contextlib.suppress(OSError):
            spent[role.name] = spent.get(role.name, 0.0) + machine.cpu_seconds(role.pid)
    return spent


def memory(people: list[Role]) -> list[Memory]:
    """Return what each process has in RAM now."""
    found = []
    for role in people:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{role.pid}/smaps_rollup").read_text().splitlines()[1:]
            sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}
            torch = "libtorch" in Path(f"/proc/{role.pid}/maps").read_text()
            found.append(Memory(role.name, round(sizes["Rss"], 1), round(sizes["Pss"], 1), torch))
    return found


def events(server: Server) -> Iterator[dict[str, Any]]:
    """Yield the log lines so far; the last one may not be whole yet."""
    for line in server.log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def _command(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return []


def _is_gunicorn(pid: int) -> bool:
    return "gunicorn" in _command(pid)


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
