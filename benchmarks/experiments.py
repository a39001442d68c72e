"""The measurements themselves, each on a server that somebody else started."""

import contextlib
import math
import os
import signal
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import house, results
from benchmarks.child import Child
from benchmarks.results import Bare, Probes, Recovery, Start, Throughput
from tests.server import Server

_POLL_SECONDS = 0.01
# Between an engine's start and its death. A request that was in the batches of two engines when
# they died is refused by design; killed too fast, the second would die under its replay.
_SETTLE_SECONDS = 3.0


def start_up(folder: Path, model: Mapping[str, str]) -> tuple[Start, list[house.Memory]]:
    """Start a server, and return how long it took and what it has in memory at rest."""
    began = time.monotonic()
    with house.house(folder, model) as server:
        live = _first_200(server, "/live")
        live_clock = time.time()  # the log has no other clock
        health = _first_200(server, "/health")
        booted = [
            datetime.fromisoformat(line["time"]).timestamp()
            for line in house.events(server)
            if "Booting worker" in str(line.get("message"))
        ]
        start = Start(
            1000 * (live - began), 1000 * (health - began), 1000 * (live_clock - min(booted))
        )
        time.sleep(1.0)
        return start, house.memory(house.roles(server))


def bare_loop(children: Sequence[Child], variant: str, batch: int, seconds: float) -> Bare:
    """Let the processes of a bare loop run once, at the same time."""
    for child in children:
        child.say(batch=batch, seconds=seconds)
    said = [child.hear() for child in children]
    rate = sum(one["images"] / one["seconds"] for one in said)
    decoding = sum(one["decoding"] / one["seconds"] for one in said) / len(said)
    return Bare(variant, batch, rate, decoding)


def serve(server: Server, clients: int, seconds: float, folder: Path) -> Throughput:
    """Load the server with closed-loop clients."""
    people = house.roles(server)
    with Child("benchmarks.load", server.port, clients, seconds, folder) as load:
        load.hear()
        before = house.cpu_seconds(people)
        load.hear()
        after = house.cpu_seconds(people)
        said = load.hear()
    return _throughput(said, clients, {name: after[name] - before[name] for name in after})


def probe(server: Server, clients: int, seconds: float, folder: Path) -> list[Probes]:
    """Ask for /health while the server is loaded."""
    with Child("benchmarks.load", server.port, clients, 3600, folder) as load:
        load.hear()
        with Child("benchmarks.probe", server.port, seconds) as prober:
            said = prober.hear()
        load.finish()
        load.hear()
        load.hear()
    return [
        Probes(
            clients, line, [ms for ms, _ in said[line]],
            results.failures(outcome for _, outcome in said[line]), said["late"],
        )
        for line in ("new", "kept")
    ]  # fmt: skip


def recover(
    server: Server, clients: int, kills: int, folder: Path
) -> tuple[list[Recovery], dict[str, int]]:
    """Kill the engine under load, again and again; return the times and the failures."""
    killed = []
    with Child("benchmarks.load", server.port, clients, 3600, folder) as load:
        load.hear()
        for _ in range(kills):
            time.sleep(_SETTLE_SECONDS)
            killed.append(_kill(server))
        time.sleep(_SETTLE_SECONDS)
        load.finish()
        load.hear()
        records = load.hear()["records"]
    found = []
    for at, until in zip(killed, [*killed[1:], math.inf], strict=True):
        good = [(b, e) for b, e, outcome in records if outcome == "200" and at < e < until]
        ends = sorted(end for _, end in good)
        gaps = [(end - start, end) for start, end in zip([at, *ends], ends, strict=False)]
        silence = max(gaps)[1] - at if gaps else math.nan
        sent = min((end for began, end in good if began > at), default=math.nan) - at
        found.append(Recovery(1000 * silence, 1000 * sent))
    return found, results.failures(outcome for _, _, outcome in records)


def _kill(server: Server) -> float:
    """Kill the engine, wait for its successor; return when (monotonic)."""
    [engine, *_] = server.engines()
    at = time.monotonic()
    os.kill(engine, signal.SIGKILL)
    until = at + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if set(server.engines()) - {engine}:
                return at
        time.sleep(0.1)
    raise RuntimeError("no engine came back within 60 s")


def _throughput(said: dict[str, Any], clients: int, spent: dict[str, float]) -> Throughput:
    window = said["ended"] - said["began"]
    inside = [r for r in said["records"] if said["began"] <= r[1] < said["ended"]]
    times = [1000 * (ended - began) for began, ended, outcome in inside if outcome == "200"]
    spent = {**spent, "clients": said["cpu_seconds"]}
    # Failures count whenever they happened.
    return Throughput(
        clients, window, len(times) / window, times,
        results.failures(outcome for _, _, outcome in said["records"]),
        {name: used / window for name, used in spent.items()},
        {name: 1e6 * used / max(1, len(times)) for name, used in spent.items()},
    )  # fmt: skip


def _first_200(server: Server, path: str) -> float:
    until = time.monotonic() + 300
    while time.monotonic() < until and server.process.poll() is None:
        with contextlib.suppress(OSError):
            if server.get(path).status == 200:
                return time.monotonic()
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"no 200 from {path}:\n" + server.log.read_text())
