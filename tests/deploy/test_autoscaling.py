"""The autoscaler's metrics: in the manifest, in the adapter's rules, in what the server says."""

import re

import pytest
import yaml

from tests.deploy.kubernetes import KUBERNETES, Manifest, every_overlay, one, render, settings
from tests.deploy.manifests import DEPLOY
from tests.server import ROOT

ADAPTER = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())


def exposed() -> dict[str, Manifest]:
    """Return the adapter's rules by the name that the autoscaler finds them under."""
    rules = ADAPTER["rules"]["custom"]
    return {rule.get("name", {}).get("as") or series(rule): rule for rule in rules}


def series(rule: Manifest) -> str:
    """Return the name of the series that a rule starts from."""
    match = re.match(r"[\w:]+", rule["seriesQuery"])
    assert match
    return match[0]


@every_overlay
def test_autoscaler_finds_each_of_its_metrics(overlay: str) -> None:
    spec = one(render(overlay), "HorizontalPodAutoscaler")["spec"]
    deployment = one(render(overlay), "Deployment")

    assert {metric["type"] for metric in spec["metrics"]} == {"Pods"}
    assert {metric["pods"]["metric"]["name"] for metric in spec["metrics"]} == exposed().keys()
    assert spec["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert spec["minReplicas"] >= 2


@pytest.mark.parametrize("rule", exposed().values(), ids=series)
def test_adapter_makes_a_metric_from_a_gauge_that_exists(rule: Manifest) -> None:
    documented = (ROOT / "docs" / "reference" / "metrics.md").read_text()

    for name in {series(rule), *re.findall(r"unbroken_\w+", rule["metricsQuery"])}:
        if ":" in name:
            recorded = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
            assert name in {each.get("record") for g in recorded["groups"] for each in g["rules"]}
        else:
            line = next((line for line in documented.splitlines() if f"`{name}`" in line), "")
            assert "gauge" in line, f"{name} is no gauge of docs/reference/metrics.md"


@pytest.mark.parametrize("rule", exposed().values(), ids=series)
def test_adapter_knows_the_pod_of_each_series(rule: Manifest) -> None:
    assert rule["seriesQuery"] == f'{series(rule)}{{namespace!="",pod!=""}}'
    assert rule["resources"]["overrides"] == {
        "namespace": {"resource": "namespace"}, "pod": {"resource": "pod"},
    }  # fmt: skip
    for placeholder in ("<<.Series>>", "<<.LabelMatchers>>", "by (<<.GroupBy>>)"):
        assert placeholder in rule["metricsQuery"]


@every_overlay
def test_autoscaler_adds_pods_before_requests_are_refused(overlay: str) -> None:
    metrics = one(render(overlay), "HorizontalPodAutoscaler")["spec"]["metrics"]
    targets = {
        metric["pods"]["metric"]["name"]: metric["pods"]["target"]["averageValue"]
        for metric in metrics
    }
    bound = settings(overlay).max_concurrent_requests

    assert int(targets["unbroken_requests_in_progress"]) <= bound / 2
    assert int(targets["unbroken_queue_length"]) <= bound / 2
