"""The rules for Prometheus and its configurations, read by Prometheus' own promtool."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaling import manifest
from autoscaling.prometheus import promtool
from tests.server import ROOT

CASES = ROOT / "tests" / "deploy" / "rules_test.yaml"


def rules(kind: str) -> list[dict[str, Any]]:
    """Return the rules that record, or those that alert."""
    groups = yaml.safe_load((manifest.PROMETHEUS / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def cases() -> list[dict[str, Any]]:
    """Return what is expected of an alert, for all made-up series."""
    tests = yaml.safe_load(CASES.read_text())["tests"]
    return [case for test in tests for case in test.get("alert_rule_test", ())]


@pytest.mark.parametrize("alert", [rule["alert"] for rule in rules("alert")])
@pytest.mark.parametrize("fires", [True, False])
def test_every_alert_has_a_case_that_fires_and_one_that_does_not(alert: str, fires: bool) -> None:
    assert [
        case for case in cases() if case["alertname"] == alert and bool(case["exp_alerts"]) is fires
    ]


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_what_to_look_at(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}


def test_no_expression_makes_up_a_zero() -> None:
    for rule in [*rules("record"), *rules("alert")]:
        assert "vector(" not in rule["expr"]


@pytest.mark.observability
def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", manifest.PROMETHEUS / "rules.yaml")


@pytest.mark.observability
def test_promtool_sees_every_alert_fire_and_stay_silent_as_expected() -> None:
    promtool("test", "rules", CASES)


@pytest.mark.observability
def test_promtool_accepts_the_configuration_for_known_addresses() -> None:
    promtool("check", "config", manifest.PROMETHEUS / "prometheus.yaml")


@pytest.mark.observability
def test_promtool_accepts_the_configuration_for_kubernetes(tmp_path: Path) -> None:
    config = manifest.scraping({"static_configs": []})
    (tmp_path / "rules.yaml").write_text(manifest.rules())
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))

    promtool("check", "config", tmp_path / "prometheus.yaml")


def test_the_page_about_monitoring_has_every_alert_and_how_long_it_waits() -> None:
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text()
    told = re.findall(r"^\| `(Unbroken\w+)` \| .+ \| (.+) \|$", page, re.MULTILINE)

    waits = {rule["alert"]: rule.get("for", "at once") for rule in rules("alert")}
    assert {alert: wait.replace(" min", "m") for alert, wait in told} == waits
