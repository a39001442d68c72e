"""The series in Prometheus' text formats. The only importer of prometheus_client: it is slow."""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app import metrics
from app.metrics import Metric, Rows


def write(total: Mapping[str, Rows], accept: str) -> tuple[bytes, str]:
    """Return the text and its content type.

    Args:
        total: series by the metric's name; those of a process of another version are left out.
        accept: the request's header of that name; chooses between text and OpenMetrics.
    """
    encode, kind = choose_encoder(accept)
    return encode(_Total(total)), kind


class _Total(Collector):
    def __init__(self, total: Mapping[str, Rows]) -> None:
        self._total = total

    def collect(self) -> Iterable[Any]:
        for metric in metrics.ALL:
            if rows := self._total.get(metric.name):
                yield _family(metric, rows)


def _family(metric: Metric, rows: Rows) -> Any:
    if metric.kind == "histogram":
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
        for labels, (whole, *counted) in rows:
            buckets = list(zip(bounds, accumulate(counted), strict=True))
            family.add_metric(labels, buckets, whole)
        return family
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    simple = kind(metric.name, metric.help, labels=metric.labels)
    for labels, (value,) in rows:
        simple.add_metric(labels, value)
    return simple
