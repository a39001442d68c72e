"""What the rehearsal takes from the files of deploy/."""

import pytest

from autoscaling import manifest
from tests.deploy import expressions


def test_the_autoscaler_is_the_clusters_own() -> None:
    read = manifest.autoscaler()

    assert set(read.targets) == {
        "unbroken_queue_length", "unbroken_requests_in_progress",
        "unbroken_request_duration_seconds_p95",
    }  # fmt: skip
    assert all(target > 0 for target in read.targets.values())
    assert read.bounds.minimum < read.bounds.maximum
    assert read.bounds.up.window < read.bounds.down.window


def test_the_adapter_answers_every_metric_of_the_autoscaler() -> None:
    queries = manifest.queries("here", ["a", "b"])

    assert set(queries) >= set(manifest.autoscaler().targets)
    for query in queries.values():
        assert "<<" not in query
        assert '{namespace="here",pod=~"a|b"}' in query


@pytest.mark.parametrize(("text", "value"), [("16", 16), ("500m", 0.5), ("2k", 2000), ("1.5", 1.5)])
def test_quantities_are_those_of_kubernetes(text: str, value: float) -> None:
    assert manifest.quantity(text) == value


def test_a_quantity_that_is_not_understood_is_refused() -> None:
    with pytest.raises(ValueError, match="5Gi"):
        manifest.quantity("5Gi")


def test_only_the_ranges_of_the_rules_are_stretched() -> None:
    assert "[5m]" in expressions.RULES.read_text()
    stretched = manifest.rules(0.1)

    assert "[30000ms]" in stretched
    assert "[5m]" not in stretched
    assert "for: 10m" in stretched


def test_prometheus_scrapes_others_as_often_as_it_is_told() -> None:
    config = manifest.scraping({"static_configs": [manifest.pod("here", "a", 8080)]}, 0.1)

    assert config["global"]["scrape_interval"] == "1500ms"
    [scrape] = config["scrape_configs"]
    assert scrape["static_configs"][0]["targets"] == ["127.0.0.1:8080"]
    assert "kubernetes_sd_configs" not in scrape
