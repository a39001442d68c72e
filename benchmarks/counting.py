"""``python -m benchmarks.counting``: the CPU time that metrics cost. Some seconds; prints Markdown.

Each step is the server's own code, run many times in this process, alone.
"""

import json
import time
from collections.abc import Callable

from flask import Flask, g

from app import metrics
from app.engine.protocol import Decoder, Frame, Type
from app.engine.record import Answer
from app.engine.tally import Moment, Tally
from app.metrics import Counts
from app.web import exposition
from app.web.metrics import count
from benchmarks import machine, report
from benchmarks.results import Results

REPEATS = 7
DIGIT = b"7"
CLASSES = json.dumps([
    {"class_id": number, "label": "Greater Swiss Mountain dog", "score": 0.128513}
    for number in range(5)
]).encode()  # fmt: skip
GAUGES = {"in_progress": 16, "admitted": 16, "limit": 128, "waiting": 0}
LABELS = 1000


def measure() -> dict[str, list[float]]:
    """Return the CPU microseconds of each step, several times over."""
    steps: dict[str, list[float]] = {}
    for name, result in (("one digit", DIGIT), ("the five likeliest classes", CLASSES)):
        steps[f"worker, a request answered with {name}"] = _request(result)
    steps["engine, a batch"] = _batch()
    steps["worker and supervisor, a report (one a second at most)"] = _report()
    for labels in (10, LABELS):
        steps[f"supervisor and worker, a scrape with {labels} labels of results"] = _scrape(labels)
    return steps


def _request(result: bytes) -> list[float]:
    app = Flask("benchmark")
    app.add_url_rule("/predict", "predict", methods=["POST"])
    counts = Counts()
    with app.test_request_context("/predict", method="POST"):
        g.decode_ms = 3.468
        g.answer = Answer([result], "predictions", "96598e3c647f", 0.09, 5.531, 8, 0)
        return _timed(lambda: count(counts, 200, 0.0125), 20_000)


def _batch() -> list[float]:
    counts = Counts()

    def step() -> None:
        counts.observe(metrics.INFERENCE_DURATION, 0.0125)
        counts.observe(metrics.BATCH_SIZE, 8)

    return _timed(step, 20_000)


def _counted(labels: int) -> Counts:
    counts = Counts()
    for number in range(labels):
        counts.count(metrics.RESULTS, f"Greater Swiss Mountain dog {number}")
    for route in ("/predict", "/health", "/ready", "/metrics"):
        counts.count(metrics.HTTP_REQUESTS, route, "GET", "200")
        counts.observe(metrics.HTTP_DURATION, 0.0125, route)
    for metric in (metrics.DECODE_DURATION, metrics.QUEUE_WAIT):
        counts.observe(metric, 0.0125)
    return counts


def _report() -> list[float]:
    worker, supervisor, added = Counts(), Counts(), _counted(10).rows()

    def step() -> None:
        worker.add(added)  # costs as much again as the supervisor's, and is counted too
        frame = Frame(Type.COUNTS, 0, {"counts": worker.take(), "gauges": GAUGES}).encode()
        [heard] = Decoder().feed(frame)
        supervisor.add(heard.head["counts"])

    return _timed(step, 1_000)


def _scrape(labels: int) -> list[float]:
    tally = Tally()
    tally.counts.add(_counted(labels).rows())
    moment = Moment((), (GAUGES, GAUGES), draining=False, ready=True, now=0.0)

    def step() -> None:
        [heard] = Decoder().feed(Frame(Type.METRICS, 1, tally.total(moment)).encode())
        exposition.write(heard.head, "")

    return _timed(step, 100)


def _timed(step: Callable[[], object], times: int) -> list[float]:
    found = []
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(times):
            step()
        found.append(1e6 * (time.process_time() - began) / times)
    return found


def main() -> None:
    """Measure, and print."""
    measured = Results(machine.describe(), {}, counting=measure())
    print("\n\n".join([*measured.machine, report.counting(measured)]))


if __name__ == "__main__":
    main()
