"""What goes wrong in an instance while it serves: killed, stopped, told to leave too early."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from rollout.instances import Ends, Instance
from rollout.lane import Lane
from rollout.stage import Row, Stage
from rollout.swaps import WEIGHTS
from tests.server import wait_for

_BETWEEN = 50  # answers behind each balancer between two events
_SLOW_LOAD = {
    "MODEL": "rollout.model:Deliberate",
    "MODEL_PATH": WEIGHTS,
}


def engine_killed(lane: Lane) -> Iterator[Row]:
    """SIGKILL to the engine, many times."""
    yield from _engine_signalled(lane, signal.SIGKILL, lane.scale.kills)


def engine_stopped(lane: Lane) -> Iterator[Row]:
    """SIGSTOP to the engine: it hangs, and must be found out."""
    yield from _engine_signalled(lane, signal.SIGSTOP, lane.scale.stops)


def _engine_signalled(lane: Lane, number: signal.Signals, times: int) -> Iterator[Row]:
    instance = lane.serving()
    with lane.stage([instance]) as stage:
        stage.wait_more(_BETWEEN)
        moments = []
        for _ in range(times):
            [engine] = wait_for(instance.engines, "an engine")
            moments.append(time.monotonic())
            os.kill(engine, number)
            # A request that was in two dying batches is refused by design: no suspect may wait.
            stage.wait_younger(moments[-1])
            stage.wait_more(_BETWEEN)
        rows = stage.finish(f"engine gets {number.name} {times} times")
        waits = _next_answers(stage, moments)
    for row in rows:
        row.details = (
            f"next answer to a request sent after it: median {median(waits):.2f} s, "
            f"worst {max(waits):.2f} s"
        )
    yield from rows


def workers_recycled(lane: Lane) -> Iterator[Row]:
    """SIGHUP to gunicorn: every HTTP worker is replaced, the port stays open."""
    instance = lane.serving()
    with lane.stage([instance]) as stage:
        stage.wait_more(_BETWEEN)
        for _ in range(lane.scale.hangups):
            before = set(instance.workers())
            os.kill(instance.gunicorn, signal.SIGHUP)
            _wait_replaced(instance, before)
            stage.wait_more(_BETWEEN)
        yield from stage.finish(
            f"gunicorn gets SIGHUP {lane.scale.hangups} times",
            f"{len(before)} HTTP workers replaced each time",
        )


def worker_killed(lane: Lane) -> Iterator[Row]:
    """SIGKILL to an HTTP worker: what is on its own connections is lost, and nothing else."""
    instance = lane.serving()
    held = 0
    with lane.stage([instance]) as stage:
        for _ in range(lane.scale.worker_kills):
            stage.wait_more(_BETWEEN)
            victim = instance.workers()[0]
            os.kill(victim, signal.SIGSTOP)  # what it holds is counted while nothing moves
            wait_for(lambda: _is_stopped(victim), "the worker to stop")  # noqa: B023
            held += connections(victim, instance.port)
            os.kill(victim, signal.SIGKILL)
            _wait_replaced(instance, {victim})
        stage.wait_more(_BETWEEN)
        rows = stage.finish(
            f"an HTTP worker gets SIGKILL {lane.scale.worker_kills} times",
            f"they held {held} connections, of both balancers", allowed=held,
        )  # fmt: skip
    if (lost := sum(row.lost for row in rows)) > held:
        rows[0].faults = (f"{lost} lost together",)
    yield from rows


def stopped_in_load(lane: Lane) -> Iterator[Row]:
    """SIGTERM to an instance that is still loading its model, beside one that serves."""
    with lane.stage([lane.serving()]) as stage:
        stage.wait_more(_BETWEEN)
        loading = lane.fleet.start(DRAIN_SECONDS=60, **_SLOW_LOAD)
        wait_for(lambda: loading.events("stage"), "the load to begin")
        lane.fleet.retire(loading)
        ends = lane.fleet.wait_retired()
        stage.wait_more(_BETWEEN)
        yield from _finish(stage, "SIGTERM while the model loads", ends)


def stopped_in_respawn(lane: Lane) -> Iterator[Row]:
    """SIGTERM to an instance whose engine has just died; its drain ends before the next is up."""
    [leaving] = lane.start(1, DRAIN_SECONDS=1, **_SLOW_LOAD)
    with lane.stage([leaving, lane.serving()]) as stage:
        stage.wait_more(_BETWEEN)
        [engine] = wait_for(leaving.engines, "an engine")
        os.kill(engine, signal.SIGKILL)
        time.sleep(1)  # every client asks it meanwhile, and waits
        lane.fleet.retire(leaving)
        stage.replace(leaving, None)
        ends = lane.fleet.wait_retired()
        stage.wait_more(_BETWEEN)
        yield from _finish(stage, "SIGTERM while the engine is being replaced", ends)


def stopped_in_swap(lane: Lane) -> Iterator[Row]:
    """SIGTERM to an instance that is exchanging its model."""
    [leaving] = lane.start(1, DRAIN_SECONDS=2, **_SLOW_LOAD)
    with lane.stage([leaving, lane.serving()]) as stage:
        stage.wait_more(_BETWEEN)
        leaving.signal(signal.SIGHUP)
        wait_for(lambda: leaving.events("swap_started"), "the exchange to begin")
        lane.fleet.retire(leaving)
        stage.replace(leaving, None)
        ends = lane.fleet.wait_retired()
        stage.wait_more(_BETWEEN)
        yield from _finish(stage, "SIGTERM while the model is exchanged", ends)


def _finish(stage: Stage, case: str, ends: Ends) -> list[Row]:
    seconds = ", ".join(f"{seconds:.1f} s" for seconds in ends.seconds)
    return stage.finish(case, f"gone {seconds} after SIGTERM", faults=tuple(ends.faults))


def _next_answers(stage: Stage, moments: list[float]) -> list[float]:
    """Return for each moment the time to the first answer to a request sent after it."""
    return [
        min(ended for began, ended in stage.moments() if began > moment) - moment
        for moment in moments
    ]


def _wait_replaced(instance: Instance, before: set[int]) -> None:
    count = len(before) if len(before) > 1 else 2

    def replaced() -> bool:
        now = instance.workers()
        return len(now) >= count and not before & set(now)

    wait_for(replaced, "new HTTP workers")


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def connections(pid: int, port: int) -> int:
    """Return how many established connections of the port a process holds."""
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held.add(os.readlink(entry))
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        established = columns[3] == "01" and columns[1].endswith(f":{port:04X}")
        count += established and f"socket:[{columns[9]}]" in held
    return count
