"""What the expressions of deploy/ name is there."""

import pytest

from app import metrics
from tests.deploy import expressions


def names(metric: metrics.Metric) -> set[str]:
    """Return the names of a metric's series."""
    ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
    return {metric.name + end for end in ends}


@pytest.mark.parametrize("where", expressions.everything())
def test_every_series_that_is_asked_for_exists(where: str) -> None:
    recorded = {name for name, _ in expressions.of_rules() if name.startswith("unbroken:")}
    known = recorded.union(*map(names, metrics.ALL))

    assert expressions.series(expressions.everything()[where]) <= known


def test_every_metric_of_the_server_is_in_the_dashboard() -> None:
    recorded = dict(expressions.of_rules())
    shown: set[str] = set()
    for _, expression in expressions.of_dashboard():
        for name in expressions.series(expression):
            shown |= {name, *expressions.series(recorded.get(name, ""))}

    assert not [metric.name for metric in metrics.ALL if not names(metric) & shown]
