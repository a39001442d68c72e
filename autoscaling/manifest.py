"""What deploy/ says: the autoscaler's targets and bounds, and how its metrics come to be.

Read from the files that a cluster gets: the HorizontalPodAutoscaler, the rules of the
prometheus-adapter that answer it, and Prometheus' rules and configuration.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from autoscaling.autoscaler import Bounds, Direction, Policy
from tests.server import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
PROMETHEUS = ROOT / "deploy" / "prometheus"
SYNC_SECONDS = 15  # between two decisions; the controller's default
_SUFFIXES = {"m": 0.001, "": 1.0, "k": 1000.0}
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Manifest:
    """A HorizontalPodAutoscaler.

    Args:
        targets: average value of each pod, by the metric's name.
        bounds: see there.
    """

    targets: dict[str, float]
    bounds: Bounds


def autoscaler() -> Manifest:
    """Return the base's, which is a CPU's."""
    spec = yaml.safe_load((KUBERNETES / "base" / "horizontalpodautoscaler.yaml").read_text())[
        "spec"
    ]
    pods = [metric["pods"] for metric in spec["metrics"]]
    behaviour = spec.get("behavior", {})
    usual = Bounds(spec["minReplicas"], spec["maxReplicas"])
    return Manifest(
        {each["metric"]["name"]: quantity(each["target"]["averageValue"]) for each in pods},
        Bounds(
            usual.minimum, usual.maximum,
            _direction(behaviour.get("scaleUp", {}), usual.up),
            _direction(behaviour.get("scaleDown", {}), usual.down),
        ),
    )  # fmt: skip


def queries(namespace: str, pods: Sequence[str]) -> dict[str, str]:
    """Return what the adapter asks Prometheus, by the metric's name; a series for each pod."""
    adapter = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())
    matchers = f'namespace="{namespace}",pod=~"{"|".join(pods)}"'
    found = {}
    for rule in adapter["rules"]["custom"]:
        series = rule["seriesQuery"].partition("{")[0]
        query = rule["metricsQuery"].replace("<<.Series>>", series)
        query = query.replace("<<.LabelMatchers>>", matchers).replace("<<.GroupBy>>", "pod")
        found[rule.get("name", {}).get("as", series)] = query
    return found


def rules(factor: float = 1) -> str:
    """Return Prometheus' rules, the ranges of their expressions multiplied."""
    text = (PROMETHEUS / "rules.yaml").read_text()
    return re.sub(
        r"\[(\d+)(\w+)\]", lambda m: f"[{_shown(int(m[1]) * _UNITS[m[2]] * factor)}]", text
    )


def scraping(targets: dict[str, Any], factor: float = 1) -> dict[str, Any]:
    """Return the cluster's configuration of Prometheus, with others to scrape.

    Debian's Prometheus is built without the discovery of pods.

    Args:
        targets: another discovery, such as ``{"static_configs": […]}``; the labels of its targets
            are what the cluster would tell of a pod.
        factor: that the interval is multiplied by.
    """
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus-kubernetes.yaml").read_text())
    seconds = int(config["global"]["scrape_interval"].removesuffix("s")) * factor
    config["global"] = {"scrape_interval": _shown(seconds), "evaluation_interval": _shown(seconds)}
    [scrape] = config["scrape_configs"]
    del scrape["kubernetes_sd_configs"]
    scrape.update(targets)
    return config


def pod(namespace: str, name: str, port: int) -> dict[str, Any]:
    """Return a target, with what the discovery of pods would tell of it."""
    meta = {"namespace": namespace, "pod_name": name, "pod_phase": "Running",
            "pod_container_port_name": "http"}  # fmt: skip
    return {
        "targets": [f"127.0.0.1:{port}"],
        "labels": {f"__meta_kubernetes_{key}": value for key, value in meta.items()},
    }


def quantity(text: str) -> float:
    """Return what a quantity of Kubernetes says: ``500m`` is 0.5."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mk]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity that is understood here")
    return float(match[1]) * _SUFFIXES[match[2]]


def _direction(spec: dict[str, Any], usual: Direction) -> Direction:
    policies = [Policy(p["type"], p["value"], p["periodSeconds"]) for p in spec.get("policies", ())]
    return Direction(
        spec.get("stabilizationWindowSeconds", usual.window), tuple(policies) or usual.policies,
        spec.get("selectPolicy", usual.select),
    )  # fmt: skip


def _shown(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
