"""The sum of what all processes counted, and what the container is now. In the supervisor; no I/O.

A worker or an engine that is gone takes its gauges with it; what it counted stays.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app import metrics
from app.engine.slot import Engine, Slot
from app.lifecycle import Stage
from app.metrics import Counts, Metric, Rows

_MEGABYTE = 2**20
_GPU = (
    (metrics.GPU_USED, "used_mb", _MEGABYTE),
    (metrics.GPU_FREE, "free_mb", _MEGABYTE),
    (metrics.GPU_TOTAL, "total_mb", _MEGABYTE),
    (metrics.GPU_UTILIZATION, "utilization", 1),
    (metrics.GPU_TEMPERATURE, "temperature", 1),
)


@dataclass(frozen=True)
class Moment:
    """What the container is now.

    Args:
        slots: the places of the engines.
        workers: what each connected HTTP worker has said of itself.
        draining: from SIGTERM on.
        ready: what ``/ready`` says.
        now: monotonic seconds.
    """

    slots: Sequence[Slot]
    workers: Sequence[Mapping[str, int]]
    draining: bool
    ready: bool
    now: float

    @property
    def in_progress(self) -> int:
        """Predictions that HTTP workers have not answered yet."""
        return self._of_workers("in_progress")

    @property
    def queue_length(self) -> int:
        """Images that wait, in the engines and for an engine."""
        engines = (engine for slot in self.slots for engine in slot.engines())
        queued: int = sum(one.beat.get("queue", 0) for one in engines)
        return self._of_workers("waiting") + queued

    def gauges(self) -> dict[str, Rows]:
        """Return every gauge that has a value."""
        engines = [(slot, engine) for slot in self.slots for engine in slot.engines()]
        found: dict[str, Rows] = {}
        for metric, labels, value in (*self._plain(), *self._stages(), *_memory(engines),
                                      *_models(self.slots), *_gpus(engines),
                                      *_deep_checks(self.slots, self.now)):  # fmt: skip
            found.setdefault(metric.name, []).append([labels, [value]])
        return found

    def restarts(self) -> Rows:
        """Return the engines that ended unasked, by cause."""
        causes = Counter(dict.fromkeys(metrics.RESTART_CAUSES, 0))
        for slot in self.slots:
            for cause, times in slot.restarts.items():
                causes[_word(cause)] += times
        return [[[cause], [times]] for cause, times in causes.items()]

    def _of_workers(self, name: str) -> int:
        return sum(worker.get(name, 0) for worker in self.workers)

    def _plain(self) -> Iterator["Sample"]:
        yield metrics.IN_PROGRESS, [], self.in_progress
        yield metrics.QUEUE_LENGTH, [], self.queue_length
        yield metrics.ADMITTED, [], self._of_workers("admitted")
        yield metrics.ADMITTED_LIMIT, [], self._of_workers("limit")
        yield metrics.HTTP_WORKERS, [], len(self.workers)
        yield metrics.READY, [], int(self.ready)
        yield metrics.DRAINING, [], int(self.draining)

    def _stages(self) -> Iterator["Sample"]:
        stages = Counter(dict.fromkeys(Stage, 0))
        for slot in self.slots:
            stages[Stage.GONE] += slot.engine is None
            stages[Stage.RETIRING] += len(slot.retired)
            stages.update(one.stage for one in (slot.engine, slot.successor) if one)
        for stage, times in stages.items():
            yield metrics.ENGINES, [stage], times
        ready: Counter[str] = Counter()
        for slot in self.slots:
            ready[_device(slot)] += slot.engine is not None and slot.engine.stage is Stage.READY
        for device, times in ready.items():
            yield metrics.ENGINES_READY, [device], times


Sample = tuple[Metric, list[str], float]
Places = Sequence[tuple[Slot, Engine]]


class Tally:
    """The sums of all processes, for the life of the container."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.counts.begin()
        self._started = time.time()

    def total(self, moment: Moment) -> dict[str, Rows]:
        """Return all series, by the metric's name."""
        return {
            **self.counts.rows(), **moment.gauges(),
            metrics.RESTARTS.name: moment.restarts(),
            metrics.START_TIME.name: [[[], [self._started]]],
        }  # fmt: skip


def _word(cause: str) -> str:
    """Return a cause as a label: an exit status has too many values."""
    if cause.startswith(("signal ", "exit code ")):
        return cause.split()[0]
    return cause if cause in metrics.RESTART_CAUSES else metrics.OTHER


def _memory(engines: Places) -> Iterator[Sample]:
    held: Counter[str] = Counter()
    for slot, engine in engines:
        held[_device(slot)] += int(engine.host.now * _MEGABYTE)
    for device, size in held.items():
        yield metrics.ENGINE_MEMORY, [device], size


def _models(slots: Sequence[Slot]) -> Iterator[Sample]:
    serving = [one.engine for one in slots if one.engine and one.engine.was_ready]
    heads = [engine.hello for engine in serving if engine.hello]
    for labels in dict.fromkeys(
        (head["model"], head["version"], head["device"], head["precision"]) for head in heads
    ):
        yield metrics.MODEL_INFO, list(labels), 1


def _gpus(engines: Places) -> Iterator[Sample]:
    readings: dict[str, tuple[str, dict[str, Any]]] = {}
    for slot, engine in sorted(engines, key=lambda place: place[1].heard_at):  # the latest counts
        if gpu := engine.gpu:
            readings[gpu["uuid"]] = (_device(slot), gpu)
    for uuid, (device, gpu) in readings.items():
        for metric, member, scale in _GPU:
            if gpu.get(member) is not None:
                yield metric, [uuid, device], gpu[member] * scale
        if gpu.get("total_mb"):
            yield metrics.GPU_USED_RATIO, [uuid, device], gpu["used_mb"] / gpu["total_mb"]


def _device(slot: Slot) -> str:
    """Return the device of a slot's engines; only they know what `auto` has come to."""
    return slot.found or slot.device


def _deep_checks(slots: Sequence[Slot], now: float) -> Iterator[Sample]:
    beats = [slot.engine.beat for slot in slots if slot.engine]
    checks = [check for beat in beats if (check := beat.get("deep_check"))]
    if checks:
        yield metrics.DEEP_CHECK_HEALTHY, [], int(all(check["healthy"] for check in checks))
        yield metrics.DEEP_CHECK_AGE, [], max(now - check["at"] for check in checks)
        yield metrics.DEEP_CHECK_DURATION, [], max(check["seconds"] for check in checks)
