"""What was measured, as plain values: they go into the JSON file as they are."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.house import Memory


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: a value that occurred. NaN where there is none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True)
class Start:
    """One start of run.sh.

    Args:
        live_ms: until the first 200 of /live.
        health_ms: until the first 200 of /health.
        worker_ms: from the worker's own first log line to the first 200 of /live.
    """

    live_ms: float
    health_ms: float
    worker_ms: float


@dataclass(frozen=True)
class Throughput:
    """One window of closed-loop clients.

    Args:
        rate: good answers a second.
        latencies_ms: of the good answers.
        failures: status or failure -> count.
        cores: CPU seconds a second, by process; the clients' own as ``clients``.
        micros: CPU microseconds a good answer, by process.
    """

    clients: int
    seconds: float
    rate: float
    latencies_ms: list[float]
    failures: dict[str, int]
    cores: dict[str, float]
    micros: dict[str, float]


@dataclass(frozen=True)
class Probes:
    """/health under load.

    Args:
        line: ``new`` or ``kept`` connections.
        times_ms: of every probe, those that failed included.
        failures: status or failure -> count.
        late_ms: how late the probe's own clock rang: what the machine alone costs.
    """

    clients: int
    line: str
    times_ms: list[float]
    failures: dict[str, int]
    late_ms: list[float]


@dataclass(frozen=True)
class Pressed:
    """Probes under one of the loads of ``pressure``.

    Args:
        answered: how many the server counted itself.
        within: of these, made within 10 ms of the probe's first byte by the server's own clock.
    """

    load: str
    probes: Probes
    answered: int
    within: int


@dataclass(frozen=True)
class Bare:
    """One window of a bare loop."""

    variant: str
    batch: int
    rate: float
    decoding_share: float


@dataclass
class Round:
    """Bare loops and server in turns; ``others`` is how many cores others used meanwhile."""

    others: float = 0.0
    bare: list[Bare] = field(default_factory=list)
    served: list[Throughput] = field(default_factory=list)
    probes: list[Probes] = field(default_factory=list)


@dataclass(frozen=True)
class Recovery:
    """One SIGKILL of the engine.

    Args:
        silence_ms: from the kill to the end of the longest silence after it.
        sent_after_ms: from the kill to the first good answer to a request sent after it.
    """

    silence_ms: float
    sent_after_ms: float


@dataclass
class Results:
    """Everything."""

    machine: list[str]
    options: dict[str, object]
    starts: list[Start] = field(default_factory=list)
    at_rest: list[Memory] = field(default_factory=list)
    after_load: list[Memory] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    recovery_failures: dict[str, int] = field(default_factory=dict)
    cost: list[Throughput] = field(default_factory=list)
    pressed: list[Pressed] = field(default_factory=list)
    counting: dict[str, list[float]] = field(default_factory=dict)  # step -> CPU microseconds

    def best_batch(self, variant: str) -> int:
        """Return the batch size with the highest median rate: one lucky window must not win."""
        rates: dict[int, list[float]] = {}
        for bare in (bare for turn in self.rounds for bare in turn.bare):
            if bare.variant == variant:
                rates.setdefault(bare.batch, []).append(bare.rate)
        return max(rates, key=lambda batch: median(rates[batch]))

    def ratios(self, variant: str, clients: int) -> list[float]:
        """Return the server's rate over the bare loop's at its best batch size, round by round."""
        batch = self.best_batch(variant)
        found = []
        for turn in self.rounds:
            [reference] = [b.rate for b in turn.bare if (b.variant, b.batch) == (variant, batch)]
            found += [t.rate / reference for t in turn.served if t.clients == clients]
        return found


def failures(outcomes: Iterable[str]) -> dict[str, int]:
    """Count everything but 200."""
    return dict(Counter(outcome for outcome in outcomes if outcome != "200"))
