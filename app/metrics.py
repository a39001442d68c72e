"""Every metric, declared once, and what counts them. Pure: no I/O, no clock, no library.

Each process counts what it sees into ``Counts`` and sends what has been added to the supervisor,
which adds it all up (``app.engine.tally``); ``/metrics`` writes the sum. What the container *is* at
a moment (gauges) is not counted: it is looked up when it is asked for.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app import errors

MAX_SERIES = 1000  # of one metric; what comes after is counted under OTHER
MAX_LABEL = 64  # characters
OTHER = "other"

# A metric's series as JSON: its labels' values, then one cell, or a histogram's sum and buckets.
Rows = list[list[Any]]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        name: with the prefix ``unbroken_``, base units, and ``_total`` on counters.
        kind: ``counter``, ``gauge`` or ``histogram``.
        help: one sentence.
        labels: names.
        buckets: upper bounds of a histogram, without the infinite one.
        values: what its only label can say, where that is known: those series begin with 0.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def cells(self) -> int:
        """How many numbers one series has."""
        return 2 + len(self.buckets) if self.buckets else 1


def _counter(name: str, text: str, *labels: str, values: tuple[str, ...] = ()) -> Metric:
    return Metric(f"unbroken_{name}_total", "counter", text, labels, values=values)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"unbroken_{name}", "gauge", text, labels)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(f"unbroken_{name}", "histogram", text, labels, buckets)


_WAITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_WORK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
_SWAPS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

RESTART_CAUSES = (
    "signal", "exit", "hang", "silent", "load_failed", "load_timeout",
    "stop_timeout", "bad_frame", "not_forked", "not_computing", OTHER,
)  # fmt: skip

HTTP_REQUESTS = _counter(
    "http_requests", "Requests answered; an unknown path is the route `other`, a path that the "
    "model names `/predict`.",
    "route", "method", "status",
)  # fmt: skip
HTTP_DURATION = _histogram(
    "http_request_duration_seconds", "From a request's first byte until its answer is made.",
    _WAITS, "route",
)  # fmt: skip
DECODE_DURATION = _histogram(
    "decode_duration_seconds", "Decoding of all images of a request, its wait for a thread too.",
    _WORK,
)  # fmt: skip
QUEUE_WAIT = _histogram(
    "queue_wait_seconds", "How long the slowest image of an answered request waited in the "
    "engine for its batch.", _WAITS,
)  # fmt: skip
INFERENCE_DURATION = _histogram(
    "inference_duration_seconds", "A batch in the model, from its start to its results.", _WORK
)
BATCH_SIZE = _histogram("batch_size", "Images in a batch that was run.", _SIZES)
REQUESTS_SHED = _counter("requests_shed", "Requests refused with 503 `queue_full`.")
REQUESTS_EXPIRED = _counter("requests_expired", "Requests that got 504 `deadline_exceeded`.")
ERRORS = _counter("errors", "Errors answered, by their code.", "code", values=tuple(errors.BY_CODE))
RESULTS = _counter(
    "results", "Images answered, by the likeliest label; absent where a model's results have none.",
    "label",
)  # fmt: skip
REPLAYS = _counter(
    "engine_replays", "Requests that ran again, or wait to, because their engine was gone."
)
RESTARTS = _counter(
    "engine_restarts", "Engines that ended unasked and were, or are to be, followed by another.",
    "cause", values=RESTART_CAUSES,
)  # fmt: skip
SWAPS = _counter(
    "swaps", "Exchanges of the model, and of an engine that had grown too large or failed its deep "
    "checks.", "result", values=("done", "failed"),
)  # fmt: skip
SWAP_DURATION = _histogram(
    "swap_duration_seconds", "An exchange, until the old engines have left or it has failed.",
    _SWAPS,
)  # fmt: skip
DEEP_CHECK_FAILURES = _counter("deep_check_failures", "Deep checks that failed.")

IN_PROGRESS = _gauge("requests_in_progress", "Predictions that are read, decoded, wait or run.")
QUEUE_LENGTH = _gauge("queue_length", "Images that wait, in the engines and for an engine.")
ADMITTED = _gauge("admitted_images", "Images admitted and not yet answered.")
ADMITTED_LIMIT = _gauge(
    "admitted_images_limit", "Images that the connected HTTP workers may admit."
)
HTTP_WORKERS = _gauge("http_workers", "HTTP workers that are connected to the supervisor.")
ENGINES = _gauge(
    "engines", "Engines by stage; `gone` is a place whose next engine is due, `retiring` one that "
    "answers what it holds.", "stage",
)  # fmt: skip
ENGINES_READY = _gauge(
    "engines_ready", "Engines that are ready, by device: 0 says which GPU is gone.", "device"
)
READY = _gauge("ready", "1 while `/ready` says 200.")
DRAINING = _gauge("draining", "1 from SIGTERM on.")
MODEL_INFO = _gauge(
    "model_info", "1 for the model that serves.", "name", "version", "device", "precision"
)
DEEP_CHECK_HEALTHY = _gauge(
    "deep_check_healthy",
    "1 while every engine's last deep check was good; absent before the first.",
)
DEEP_CHECK_AGE = _gauge("deep_check_age_seconds", "Since the last deep check; the oldest engine's.")
DEEP_CHECK_DURATION = _gauge(
    "deep_check_duration_seconds", "How long the last deep check took; the slowest engine's."
)
GPU_USED = _gauge("gpu_memory_used_bytes", "Memory in use, by everybody.", "gpu", "device")
GPU_FREE = _gauge("gpu_memory_free_bytes", "Memory that is free.", "gpu", "device")
GPU_TOTAL = _gauge("gpu_memory_total_bytes", "Memory that there is.", "gpu", "device")
GPU_USED_RATIO = _gauge("gpu_memory_used_ratio", "Memory in use, from 0 to 1.", "gpu", "device")
GPU_UTILIZATION = _gauge(
    "gpu_utilization_ratio", "Share of the time in which the GPU computed, from 0 to 1.",
    "gpu", "device",
)  # fmt: skip
GPU_TEMPERATURE = _gauge("gpu_temperature_celsius", "Temperature of the GPU.", "gpu", "device")
ENGINE_MEMORY = _gauge("engine_memory_bytes", "The host's memory that engines hold.", "device")
START_TIME = _gauge("start_time_seconds", "When the server started, in seconds since 1970.")

ALL: tuple[Metric, ...] = (
    HTTP_REQUESTS, HTTP_DURATION, IN_PROGRESS, REQUESTS_SHED, REQUESTS_EXPIRED, ERRORS,
    DECODE_DURATION, QUEUE_WAIT, INFERENCE_DURATION, BATCH_SIZE, RESULTS,
    QUEUE_LENGTH, ADMITTED, ADMITTED_LIMIT, HTTP_WORKERS, READY, DRAINING, START_TIME, MODEL_INFO,
    ENGINES, ENGINES_READY, RESTARTS, REPLAYS, SWAPS, SWAP_DURATION,
    DEEP_CHECK_HEALTHY, DEEP_CHECK_AGE, DEEP_CHECK_DURATION, DEEP_CHECK_FAILURES, ENGINE_MEMORY,
    GPU_USED, GPU_FREE, GPU_TOTAL, GPU_USED_RATIO, GPU_UTILIZATION, GPU_TEMPERATURE,
)  # fmt: skip

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in ALL}


class Counts:
    """What has been counted: since the last ``take``, or in all. For one thread at a time."""

    def __init__(self) -> None:
        self._series: dict[str, dict[tuple[str, ...], list[float]]] = {}

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        self._cells(metric, labels)[0] += by

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        cells = self._cells(metric, labels)
        cells[0] += value
        cells[1 + bisect_left(metric.buckets, value)] += 1

    def begin(self) -> None:
        """Begin with 0 every series that is known beforehand: a rate needs a value before."""
        for metric in ALL:
            if metric.kind != "gauge" and not metric.labels:
                self._cells(metric, ())
            for value in metric.values:
                self._cells(metric, (value,))

    def add(self, counted: Mapping[str, Sequence[Sequence[Any]]]) -> None:
        """Add what another has counted."""
        for name, rows in counted.items():
            metric = BY_NAME.get(name)
            for labels, added in rows:
                # A worker may have been recycled into newer code than the supervisor's.
                if metric is None or len(added) != metric.cells:
                    continue
                cells = self._cells(metric, tuple(labels))
                for place, value in enumerate(added):
                    cells[place] += value

    def rows(self) -> dict[str, Rows]:
        """Return all series, for JSON."""
        return {
            name: [[labels, cells] for labels, cells in series.items()]
            for name, series in self._series.items()
        }

    def take(self) -> dict[str, Rows]:
        """Return what has been counted, and begin anew."""
        rows = self.rows()
        self._series = {}
        return rows

    def _cells(self, metric: Metric, labels: tuple[str, ...]) -> list[float]:
        series = self._series.setdefault(metric.name, {})
        cells = series.get(labels)
        if cells is None:
            if len(series) >= MAX_SERIES:
                labels = (OTHER,) * len(labels)
            cells = series.setdefault(labels, [0] * metric.cells)
        return cells
