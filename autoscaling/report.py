"""From what was seen to the tables."""

import math
from collections.abc import Sequence
from itertools import pairwise

from autoscaling.record import Record

QUEUE = "unbroken_queue_length"
LATENCY = "unbroken_request_duration_seconds_p95"
Row = Sequence[object]


def tables(record: Record) -> str:
    """Return both as Markdown: the requests of each phase, and each change."""
    return "\n\n".join([_table(_phases(record)), _table(_changes(record))])


def bins(record: Record, width: float) -> tuple[list[float], list[float], list[float]]:
    """Return, of each stretch of time: its middle, its answers a second, and their p95."""
    answers = _answers(record)
    last = max(end for _, end in answers)
    middles, rates, p95s = [], [], []
    for number in range(int(last / width)):
        here = [e - b for b, e in answers if number * width <= e < (number + 1) * width]
        middles.append((number + 0.5) * width)
        rates.append(len(here) / width)
        p95s.append(quantile(here, 0.95))
    return middles, rates, p95s


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that so great a share of them does not exceed; NaN without any."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _phases(record: Record) -> list[Row]:
    begin, end = record.step
    last = record.moments[-1].at
    rows: list[Row] = [("phase", "seconds", "requests", "lost", "answers a second", "p95")]
    phases = [("few clients", 0.0, begin), ("the step", begin, end), ("few again", end, last)]
    for name, since, until in phases:
        took = [e - b for b, e in _answers(record) if since <= b < until]
        failed = [f for f in _failures(record) if since <= f < until]
        rows.append((
            name, f"{since:.0f} to {until:.0f}", f"{len(took) + len(failed):,}", len(failed),
            f"{len(took) / (until - since):.0f}", f"{quantile(took, 0.95):.2f} s",
        ))  # fmt: skip
    logged = f"{len(record.log.statuses):,} in HAProxy's log, {record.log.failed} failed"
    return [*rows, ("all", f"0 to {last:.0f}", logged, record.lost, "", "")]


def _changes(record: Record) -> list[Row]:
    rows: list[Row] = [("second", "instances", "because", "of each pod, on average", "target")]
    start = record.script.minimum
    wanted = [start, *(moment.wanted for moment in record.moments)]
    for (before, after), moment in zip(pairwise(wanted), record.moments, strict=True):
        if before == after:
            continue
        loudest = max(moment.asked, key=lambda name: moment.asked[name], default="")
        because = f"`{loudest}` asks for {moment.asked[loudest]}" if loudest else ""
        rows.append((
            f"{moment.at:.0f}", f"{before} → {after}", because,
            ", ".join(_shown(value) for value in moment.values.values()),
            ", ".join(f"{target:g}" for target in record.targets.values()),
        ))  # fmt: skip
    return rows


def _shown(value: float) -> str:
    """Return two digits of it, never as a power of ten."""
    return f"{float(f'{value:.2g}'):g}"


def _answers(record: Record) -> list[tuple[float, float]]:
    return [
        (began - record.began, ended - record.began)
        for seen in (record.few, record.many)
        for began, ended in seen.answers
    ]


def _failures(record: Record) -> list[float]:
    return [
        failure["began"] - record.began
        for seen in (record.few, record.many)
        for failure in seen.failures
    ]


def _table(rows: Sequence[Row]) -> str:
    head, *others = rows
    lines = [head, ["---"] * len(head), *others]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
