"""The picture of a rehearsal: load, instances, queue and latency over time."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoscaling.record import Record
from autoscaling.report import LATENCY, QUEUE, bins

_BIN_SECONDS = 2.0


def draw(record: Record, path: Path) -> None:
    """Write the PNG."""
    figure = Figure(figsize=(9, 9), layout="constrained")
    load, instances, queue, latency = figure.subplots(4, 1, sharex=True)
    times = [moment.at for moment in record.moments]
    middles, rates, p95s = bins(record, _BIN_SECONDS)

    load.plot(middles, rates, label="answers a second")
    load.step(times, [m.clients for m in record.moments], where="post", color="tab:gray",
              label="clients")  # fmt: skip
    _finish(load, "load")

    instances.step(times, [m.wanted for m in record.moments], where="post", color="tab:red",
                   linestyle="--", linewidth=1, label="wanted")  # fmt: skip
    instances.step(times, [m.ready for m in record.moments], where="post", label="ready")
    instances.set_yticks(range(record.script.maximum + 1))
    _finish(instances, "instances")

    _plot_metric(queue, record, times, QUEUE, "images waiting, per instance")
    _finish(queue, "queue")

    latency.plot(middles, p95s, color="tab:gray", label=f"p95 of {_BIN_SECONDS:g} s, the clients'")
    _plot_metric(latency, record, times, LATENCY, "p95 that the autoscaler sees")
    _finish(latency, "seconds")
    latency.set_xlabel("seconds")

    figure.savefig(path, dpi=110)


def _plot_metric(axes: Axes, record: Record, times: Sequence[float], name: str, label: str) -> None:
    axes.plot(times, [moment.values[name] for moment in record.moments], label=label)
    axes.axhline(record.targets[name], label="target", color="tab:red", linestyle="--", linewidth=1)


def _finish(axes: Axes, name: str) -> None:
    axes.set_ylabel(name)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right")
