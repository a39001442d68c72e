"""What a HorizontalPodAutoscaler decides, by its documented algorithm. Pure: the time is handed in.

Each metric asks for ``ceil(current × value / target)`` pods, unless value and target differ by no
more than the tolerance; the largest of them counts. Of what was asked for within a stabilisation
window the safest is taken, and policies bound how fast the number may change.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOLERANCE = 0.1  # the controller's default

# Of each pod, its value; None where a pod has none yet.
Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Policy:
    """How many pods may come or go within a period.

    Args:
        kind: ``Pods`` or ``Percent``.
        value: of them.
        seconds: the period.
    """

    kind: str
    value: int
    seconds: float


@dataclass(frozen=True)
class Direction:
    """How fast the number of pods may change in one direction.

    Args:
        window: of stabilisation, in seconds.
        policies: any of them.
        select: ``Max``, ``Min`` or ``Disabled``.
    """

    window: float
    policies: tuple[Policy, ...]
    select: str = "Max"


@dataclass(frozen=True)
class Bounds:
    """What a HorizontalPodAutoscaler says besides its targets."""

    minimum: int
    maximum: int
    up: Direction = Direction(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
    down: Direction = Direction(300, (Policy("Percent", 100, 15),))


def desired(current: int, values: Values, target: float) -> int:
    """Return how many pods one metric asks for.

    Args:
        current: pods that there are.
        values: of this metric. A pod without one counts as if it had nothing to do where the
            others have too much, and as if it were at its target where they have too little.
        target: what each pod should have on average.
    """
    known = [value for value in values.values() if value is not None]
    if not known:
        return current
    ratio = sum(known) / len(known) / target
    if missing := len(values) - len(known):
        filled = [*known, *[0.0 if ratio > 1 else target] * missing]
        new_ratio = sum(filled) / len(filled) / target
        if (new_ratio > 1) is not (ratio > 1):
            return current  # the others' absence would turn it round
        ratio = new_ratio
    if abs(ratio - 1) <= TOLERANCE + 1e-9:
        return current
    return math.ceil(ratio * len(values) - 1e-9)


class Autoscaler:
    """One of them, with its memory.

    Args:
        targets: the average of each pod, by the metric's name.
        bounds: see there.

    Attributes:
        asked: how many pods each metric asked for the last time.
    """

    def __init__(self, targets: Mapping[str, float], bounds: Bounds) -> None:
        self.asked: dict[str, int] = {}
        self._targets = targets
        self._bounds = bounds
        self._wishes: list[tuple[float, int]] = []
        self._changes: list[tuple[float, int]] = []

    def decide(self, now: float, current: int, metrics: Mapping[str, Values]) -> int:
        """Return how many pods there should be from now on; it is taken for done.

        Args:
            now: seconds of any clock.
            current: pods that there are.
            metrics: the values of each target's metric; one without any value cannot be read.
        """
        self.asked = {
            name: desired(current, metrics[name], target)
            for name, target in self._targets.items()
            if any(value is not None for value in metrics.get(name, {}).values())
        }
        wish = max(self.asked.values(), default=current)
        if len(self.asked) < len(self._targets):
            wish = max(wish, current)  # with a metric that cannot be read, nobody is sent away
        wish = min(max(wish, self._bounds.minimum), self._bounds.maximum)
        wish = self._limited(now, current, self._stabilised(now, current, wish))
        if wish != current:
            self._changes.append((now, wish - current))
        return wish

    def _stabilised(self, now: float, current: int, wish: int) -> int:
        self._wishes.append((now, wish))
        up, down = self._bounds.up.window, self._bounds.down.window
        self._wishes = [(at, each) for at, each in self._wishes if at >= now - max(up, down)]
        lowest = min(each for at, each in self._wishes if at >= now - up)
        highest = max(each for at, each in self._wishes if at >= now - down)
        return min(max(current, lowest), highest)

    def _limited(self, now: float, current: int, wish: int) -> int:
        if wish > current:
            return min(wish, self._limit(now, current, self._bounds.up, 1))
        if wish < current:
            return max(wish, self._limit(now, current, self._bounds.down, -1))
        return wish

    def _limit(self, now: float, current: int, direction: Direction, sign: int) -> int:
        """Return the number that the policies allow at most, or at least."""
        if direction.select == "Disabled" or not direction.policies:
            return current
        reach = [self._reach(now, current, policy, sign) for policy in direction.policies]
        furthest = (direction.select == "Max") is (sign > 0)
        limit = max(reach) if furthest else min(reach)
        return max(limit, current) if sign > 0 else min(limit, current)

    def _reach(self, now: float, current: int, policy: Policy, sign: int) -> int:
        recent = [change for at, change in self._changes if at > now - policy.seconds]
        before = current - sum(recent)
        if policy.kind == "Pods":
            return before + sign * policy.value
        share = before * (1 + sign * policy.value / 100)
        return math.ceil(share - 1e-9) if sign > 0 else math.floor(share + 1e-9)


def stretched(bounds: Bounds, factor: float) -> Bounds:
    """Return the same with all its times multiplied: a rehearsal cannot wait for minutes."""

    def stretch(direction: Direction) -> Direction:
        policies: Sequence[Policy] = [
            Policy(policy.kind, policy.value, policy.seconds * factor)
            for policy in direction.policies
        ]
        return Direction(direction.window * factor, tuple(policies), direction.select)

    return Bounds(bounds.minimum, bounds.maximum, stretch(bounds.up), stretch(bounds.down))
