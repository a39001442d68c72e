"""Real servers under real faults, watched by real Prometheus: which expression moves when.

A chapter brings one fault about, again and again if need be, until each expression that it is to
move has moved. What has not is told by the tests, one for each expression.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autoscaling.prometheus import Prometheus, Sample
from tests.deploy import expressions

PATIENCE = 60.0  # seconds for one chapter
LOOK_SECONDS = 0.3
RISES, FALLS, CHANGES = "rises", "falls", "changes"

# A test cannot wait for ten minutes.
_IMPATIENT = {"rule: UnbrokenDeepCheckOld": ("> 600", "> 3")}

_LOAD = (
    "dashboard: Latency of predictions, A", "dashboard: Latency of predictions, B",
    "dashboard: Latency of predictions, C", "dashboard: p95 by instance, over 5 minutes, A",
    "dashboard: Predictions by status, A", "dashboard: Other requests, A",
    "dashboard: Where the time goes, p95, A", "dashboard: Where the time goes, p95, B",
    "dashboard: Where the time goes, p95, C", "dashboard: Results by label, A",
    "dashboard: Images that wait, A", "dashboard: Requests in progress, A",
    "dashboard: Admitted images, A", "dashboard: Batch size, A", "dashboard: Batch size, B",
    "dashboard: Images computed, A",
    "rule: unbroken:request_duration_seconds:p95", "rule: unbroken:predictions:rate5m",
    "autoscaler: unbroken_queue_length", "autoscaler: unbroken_requests_in_progress",
    "autoscaler: unbroken_request_duration_seconds_p95",
)  # fmt: skip
# By the chapter, in order: what moves, and how. Without a word, it rises or appears.
MOVES: dict[str, dict[str, str]] = {
    "load": {**dict.fromkeys(_LOAD, RISES), "dashboard: Duration of the deep check, A": CHANGES},
    "overload": dict.fromkeys((
        "dashboard: Shed and expired, A", "dashboard: Errors by code, A",
        "dashboard: Failed predictions, over 5 minutes, A",
        "rule: unbroken:predictions_failed:rate5m", "rule: unbroken:predictions_failed:ratio5m",
        "rule: UnbrokenErrorsHigh", "rule: UnbrokenRequestsShed",
    ), RISES),
    "an engine that hangs": dict.fromkeys((
        "dashboard: Age of the last deep check, A", "rule: UnbrokenDeepCheckOld",
        "rule: UnbrokenLatencyHigh",
    ), RISES),
    "deadlines that pass": {"dashboard: Shed and expired, B": RISES},
    "a model that goes wrong": {
        "dashboard: Ready, A": FALLS, "dashboard: Ready, by instance, A": FALLS,
        "dashboard: Engines ready, A": FALLS, "dashboard: Engines ready, by device, A": FALLS,
        "dashboard: Engines by stage, A": CHANGES,
        "dashboard: Deep check, A": FALLS, "dashboard: Deep checks that failed, A": RISES,
        "rule: UnbrokenDeepCheckFailing": RISES, "rule: UnbrokenNotReady": RISES,
        "rule: UnbrokenServiceDown": RISES,
    },
    "engines that die": {
        **dict.fromkeys((
            "dashboard: Engines lost, A", "dashboard: Engines lost in 15 minutes, A",
            "dashboard: Requests run again, A", "dashboard: Engines lost", "dashboard: Alerts, A",
            "rule: unbroken:engine_restarts:increase15m", "rule: UnbrokenEngineRestarts",
        ), RISES),
        "dashboard: Engines' memory, A": CHANGES,
    },
    "a reload": {
        "dashboard: Versions, A": CHANGES, "dashboard: Reloads, A": RISES,
        "dashboard: Duration of reloads, p95, A": RISES, "dashboard: Rollouts": CHANGES,
    },
    "a reload that fails": {"rule: UnbrokenSwapFailed": RISES},
    "another instance": dict.fromkeys((
        "dashboard: Scraped, A", "dashboard: Admitted images, B", "dashboard: HTTP workers, A",
        "dashboard: Starts of instances", "rule: UnbrokenVersionSkew",
    ), RISES),
    "its drain": dict.fromkeys((
        "dashboard: Draining, A", "dashboard: Drains", "rule: UnbrokenDrainStuck",
    ), RISES),
    "its end": {"rule: UnbrokenTargetDown": RISES},
}  # fmt: skip
# These series need a GPU: promtool's cases have them, and here NVML is faked at its boundary.
GPU_MOVES: dict[str, dict[str, str]] = {
    "an instance with a GPU": dict.fromkeys((
        "dashboard: GPU memory, A", "dashboard: GPU memory, B",
        "dashboard: GPU memory that is free, A", "dashboard: GPU memory in use, A",
        "dashboard: GPU utilisation, A", "dashboard: GPU temperature, A",
    ), RISES),
    "its memory taken by another": {"rule: UnbrokenGpuMemoryLow": RISES},
}  # fmt: skip
# On one device there is no other that could serve meanwhile: promtool alone has these.
MADE_UP = {"rule: UnbrokenDeviceDown"}

Result = dict[tuple[tuple[str, str], ...], float]


@dataclass
class Move:
    """What an expression did in its chapter."""

    chapter: str
    how: str
    before: Result
    after: Result

    @property
    def seen(self) -> bool:
        """Whether it moved as it should."""
        if self.how == CHANGES:
            return bool(self.after) and self.after != self.before
        before, after = _level(self.before), _level(self.after)
        if after is None:
            return False
        if self.how == FALLS:
            return before is not None and after < before - 1e-9
        return before is None or after > before + 1e-9


@dataclass
class Story:
    """All chapters, as they are told.

    Args:
        prometheus: that watches.
        moves: of each expression, so far.
    """

    prometheus: Prometheus
    moves: dict[str, Move] = field(default_factory=dict)

    def tell(self, chapter: str, moves: Mapping[str, str], act: Callable[[], object]) -> None:
        """Act until everything has moved, or patience ends."""
        for where, how in moves.items():
            self.moves[where] = Move(chapter, how, self._look(where), {})
        began = time.monotonic()
        still = list(moves)
        while still and time.monotonic() - began < PATIENCE:
            act()
            time.sleep(LOOK_SECONDS)
            for where in still:
                self.moves[where].after = self._look(where)
            still = [where for where in still if not self.moves[where].seen]
        print(f"{chapter}: {time.monotonic() - began:.0f} s")

    def _look(self, where: str) -> Result:
        expression = expressions.everything()[where]
        if where in _IMPATIENT:
            expression = expression.replace(*_IMPATIENT[where])
        return {_key(each): each.value for each in self.prometheus.query(expression)
                if not math.isnan(each.value)}  # fmt: skip


def _key(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(sample.labels.items()))


def _level(result: Result) -> float | None:
    return sum(result.values()) if result else None
