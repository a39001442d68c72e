"""What the expressions of deploy/ name is there."""

import pytest

from app import metrics
from tests.deploy import expressions


def known() -> set[str]:
    """Return the names of all series: of the server's metrics, and the recorded ones."""
    names = {where for where, _ in expressions.of_rules() if where.startswith("unbroken:")}
    for metric in metrics.ALL:
        ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names |= {metric.name + end for end in ends}
    return names


@pytest.mark.parametrize("where", expressions.everything())
def test_every_series_that_is_asked_for_exists(where: str) -> None:
    asked = expressions.series(expressions.everything()[where])

    assert asked <= known()


def test_every_metric_of_the_server_is_in_the_dashboard() -> None:
    recorded = dict(expressions.of_rules())
    shown: set[str] = set()
    for _, expression in expressions.of_dashboard():
        for name in expressions.series(expression):
            shown |= {name, *expressions.series(recorded.get(name, ""))}

    assert not [m.name for m in metrics.ALL if not any(each.startswith(m.name) for each in shown)]
