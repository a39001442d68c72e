"""Every PromQL expression that the deployment files hold."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from autoscaling import manifest
from tests.server import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
# What Grafana puts in for its variables, with everything chosen.
_CHOSEN = {"$__rate_interval": "1m", "$job": "unbroken", "$instance": ".*"}
_NAME = re.compile(r"\b(?:unbroken[:_][\w:]+)")


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def of_dashboard() -> Iterator[tuple[str, str]]:
    """Yield where it stands and the expression, its variables filled in, of panels and marks."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']}, {target['refId']}", _filled(target["expr"])
    for mark in dashboard()["annotations"]["list"]:
        if "expr" in mark:
            yield mark["name"].partition(":")[0], _filled(mark["expr"])


def of_rules() -> Iterator[tuple[str, str]]:
    """Yield each rule's name and its expression."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]


def everything() -> dict[str, str]:
    """Return all of them, what the autoscaler's adapter asks included, by where they stand."""
    adapter = manifest.queries("rehearsal", [".+"])
    return {
        **{f"dashboard: {where}": each for where, each in of_dashboard()},
        **{f"rule: {where}": each for where, each in of_rules()},
        **{f"autoscaler: {where}": each for where, each in adapter.items()},
    }


def series(expression: str) -> set[str]:
    """Return the names of our series in an expression."""
    without_strings = re.sub(r'"[^"]*"', "", expression)
    return set(_NAME.findall(without_strings))


def _filled(expression: str) -> str:
    for variable, value in _CHOSEN.items():
        expression = expression.replace(variable, value)
    return expression
