"""Whether the model still says what it said when it was loaded. In the engine; no torch.

The golden answer is recorded after the warm-up. The check runs between batches, when none waits;
where one always waits it takes its turn after one more period. Time is handed in.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app import errors, logs

TOLERANCE = 0.01  # of the largest value in the golden answer's tensor, or of 1
FLIP_TOLERANCE = 0.001  # a class that changes by less was a tie
SLOW_FACTOR = 10.0
SLOW_SECONDS = 1.0  # a busy machine is no degraded model
RECHECK_SECONDS = 5.0  # after a failure, and after a model error
RECORDINGS = 3

Numbers = Sequence[Sequence[float]]  # a list for each tensor
Ask = Callable[[], tuple[Numbers, float]]


@dataclass(frozen=True)
class Finding:
    """What the last check found, as it travels in STATE.

    Args:
        healthy: whether the answer was the golden one.
        reason: what was wrong, in words; empty when nothing was.
        at: monotonic seconds.
        seconds: how long the model took.
        failures: how many in a row have failed.
        runs: how many there were since the load.
        failed: how many of them failed.
    """

    healthy: bool
    reason: str
    at: float
    seconds: float
    failures: int = 0
    runs: int = 0
    failed: int = 0


class DeepCheck:
    """The golden answer, and when to ask for it again.

    Args:
        ask: runs the golden input; returns the outputs as numbers and the seconds it took.
        period: seconds between checks; 0 for none after the first.
    """

    def __init__(self, ask: Ask, period: float) -> None:
        self._ask = ask
        self._period = self._interval = period or math.inf  # usual, and until the next check
        self._golden: Numbers = ()
        self._usual = 0.0
        self._due = math.inf
        self.finding: Finding | None = None

    def record(self, now: float) -> None:
        """Record the golden answer and how long it takes.

        Raises:
            app.errors.ServingError: the model does not answer, or with what is no number.
        """
        answers = [self._ask() for _ in range(RECORDINGS)]
        self._golden = answers[-1][0]
        if not _are_finite(self._golden):
            raise errors.ModelError("the model's outputs are not finite")
        if unsteady := difference(answers[0][0], self._golden):
            logs.event("deep_check_unsteady", level=logging.WARNING,
                       message="asked twice for one image, the model answered differently: "
                       f"{unsteady}; one that is meant to needs DEEP_CHECK_SECONDS=0")  # fmt: skip
        self._usual = sorted(seconds for _, seconds in answers)[RECORDINGS // 2]
        self.finding = Finding(healthy=True, reason="", at=now, seconds=round(self._usual, 6))
        self._due = now + self._period

    def due(self, now: float, *, idle: bool) -> bool:
        """Return whether to check now; requests go first, for as long again."""
        return now >= self._due and (idle or now >= self._due + self._interval)

    def wait_seconds(self, now: float) -> float | None:
        """Return for how long nothing is due; None for ever."""
        return None if math.isinf(self._due) else max(0.0, self._due - now)

    def hasten(self, now: float) -> None:
        """Check soon: the model has just failed a request."""
        if self.finding and not math.isinf(self._period):
            self._due = min(self._due, max(now, self.finding.at + RECHECK_SECONDS))
            self._interval = min(self._period, RECHECK_SECONDS)

    def run(self, now: float) -> None:
        """Ask for the golden answer again, and note what was found.

        Args:
            now: monotonic seconds, as it began.
        """
        seconds = 0.0
        try:
            values, seconds = self._ask()
            reason = difference(self._golden, values) or self._slowness(seconds)
        except errors.ServingError as error:
            reason = error.message
        before = self.finding
        self.finding = Finding(
            healthy=not reason, reason=reason, at=now, seconds=round(seconds, 6),
            failures=before.failures + 1 if before and reason else 0,
            runs=before.runs + 1 if before else 1,
            failed=(before.failed if before else 0) + bool(reason),
        )  # fmt: skip
        if reason:
            logs.event("deep_check_failed", level=logging.ERROR, reason=reason,
                       failures=self.finding.failures)  # fmt: skip
        elif before and not before.healthy:
            logs.event("deep_check_passed", failures=before.failures)
        self._interval = min(self._period, RECHECK_SECONDS) if reason else self._period
        self._due = now + self._interval

    def state(self) -> dict[str, Any] | None:
        """Return what was found, for STATE."""
        return asdict(self.finding) if self.finding else None

    def _slowness(self, seconds: float) -> str:
        limit = max(SLOW_SECONDS, SLOW_FACTOR * self._usual)
        if seconds <= limit:
            return ""
        return f"it took {seconds:.3f} s; the limit is {limit:.3f} s"


def difference(golden: Numbers, values: Numbers) -> str:
    """Return how an answer differs from the golden one, in words; empty if it does not.

    Each tensor is judged by its own scale: boxes in pixels must not hide scores.

    Args:
        golden: what the model said when it was loaded.
        values: what it says now.
    """
    shape, was = ([len(tensor) for tensor in each] for each in (values, golden))
    if shape != was:
        return (
            f"there are {sum(shape)} outputs in {len(shape)}; there were {sum(was)} in {len(was)}"
        )
    if not _are_finite(values):
        return "the outputs are not finite"
    return next(filter(None, map(_moved, golden, values)), "")


def _moved(golden: Sequence[float], values: Sequence[float]) -> str:
    if not golden:
        return ""
    moved = max(abs(new - old) for old, new in zip(golden, values, strict=True))
    scale = max(1.0, *map(abs, golden))
    was, now = _largest(golden), _largest(values)
    if now != was and moved > FLIP_TOLERANCE * scale:
        return f"the largest output was number {was} and is number {now}"
    if moved > TOLERANCE * scale:
        return f"an output moved by {moved:.3g}; the limit is {TOLERANCE * scale:.3g}"
    return ""


def _are_finite(values: Numbers) -> bool:
    return all(math.isfinite(number) for tensor in values for number in tensor)


def _largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
