"""Half precision, but only where the model says the same with it, and sooner. In the engine.

Half is PyTorch's automatic mixed precision: it leaves in float32 what needs it, and the weights as
they are. The plain float32 model is the judge, at each load, on this device, with these weights.
"""

import logging
from typing import Protocol

from app import errors, logs
from app.engine.deep_check import Numbers, difference

FULL = "float32"
SEEDS = (1, 2, 3, 4)  # of the images that both must answer alike
TRIALS = 3
GAIN = 0.95  # of the time of a full batch; less is not worth another rounding
ALONE = 1.2  # of the time of one image: casting the weights costs it more than it gains


class Computes(Protocol):
    """What this asks of the runner."""

    precision: str
    half: str | None

    def golden(self, seed: int) -> tuple[Numbers, float]:
        """Return the outputs for an image of noise, and the seconds it took."""

    def full_batch_seconds(self) -> float:
        """Run a full batch and return how long it took."""


def choose(runner: Computes) -> None:
    """Leave the runner at half precision if it passes, else at float32, and log which and why."""
    if runner.half is None:
        return
    why = _objection(runner, runner.half)
    runner.precision = FULL if why else runner.half
    logs.event("precision", level=logging.INFO, chosen=runner.precision, why=why or None)


def take_over(runner: Computes, chosen: str) -> None:
    """Compute in what another engine has chosen on this device, for the same weights.

    The warm-up was in float32 there as well: what overflows in half is computed in that.

    Raises:
        app.errors.ServingError, DeviceLost: as the runner.
    """
    if chosen == runner.half:
        runner.precision = chosen
        runner.full_batch_seconds()  # pays for what loads on use


def _objection(runner: Computes, half: str) -> str:
    try:
        runner.precision = FULL
        wanted = [runner.golden(seed) for seed in SEEDS]
        slow = min(runner.full_batch_seconds() for _ in range(TRIALS))
        runner.precision = half
        found = [runner.golden(seed) for seed in SEEDS]
        for (golden, _), (values, _) in zip(wanted, found, strict=True):
            if moved := difference(golden, values):
                return f"not the same as in {FULL}: {moved}"
        runner.full_batch_seconds()  # the first one also pays for what loads on use
        fast = min(runner.full_batch_seconds() for _ in range(TRIALS))
    except errors.ServingError as error:
        return f"it failed: {error.message}"
    if fast >= GAIN * slow:
        return f"not faster: {fast:.4f} s for {slow:.4f} s"
    one, one_in_half = (min(seconds for _, seconds in each) for each in (wanted, found))
    if one_in_half > ALONE * one:
        return f"slower for one image: {one_in_half:.4f} s for {one:.4f} s"
    return ""
