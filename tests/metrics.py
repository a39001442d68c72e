"""What Prometheus would read from a server, parsed by Prometheus' own client library."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.server import Client


class Scrape:
    """One answer of ``/metrics``.

    Args:
        server: that is asked.
    """

    def __init__(self, server: Client) -> None:
        reply = server.get("/metrics")
        assert reply.status == 200, reply.body
        self.families: dict[str, Metric] = {
            family.name: family for family in text_string_to_metric_families(reply.body.decode())
        }
        self.samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, /, **labels: object) -> float | None:
        """Return the sum of the series that have these labels, or None where there is none."""
        found = list(self._matching(f"unbroken_{name}", labels))
        return sum(found) if found else None

    def counters(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return every sample that must never go down."""
        ends = ("_total", "_bucket", "_count", "_sum")
        return {key: value for key, value in self.samples.items() if key[0].endswith(ends)}

    def _matching(self, name: str, labels: dict[str, object]) -> Iterator[float]:
        wanted = {(label, str(value)) for label, value in labels.items()}
        for (sample, has), value in self.samples.items():
            if sample == name and wanted <= set(has):
                yield value
