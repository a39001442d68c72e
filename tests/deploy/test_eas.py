"""deploy/eas keeps PAI-EAS' rules; its probes ask what the server answers."""

import json
from typing import Any

import pytest

from app import probe, state_dir
from app.settings import Settings
from tests.deploy.manifests import DEPLOY, check_settings, routes

FOLDER = DEPLOY / "eas"
CHECKS = ("startup_check", "readiness_check", "liveness_check")
QUESTIONS = dict(zip(CHECKS, ("startup", "ready", "live"), strict=True))
VARIANTS = ("service", "probes-exec", "probes-tcp")


def service(variant: str = "service") -> Any:
    """Return the service; a variant's probes take the place of those in its container."""
    document = json.loads((FOLDER / "service.json").read_text())
    if variant != "service":
        [container] = document["containers"]
        container.update(json.loads((FOLDER / f"{variant}.json").read_text()))
    return document


def container(variant: str = "service") -> Any:
    """Return the only container."""
    [found] = service(variant)["containers"]
    return found


def settings() -> Settings:
    """Return the settings that the container would start with."""
    environment = {variable["name"]: variable["value"] for variable in container()["env"]}
    return check_settings(environment, service()["metadata"]["eas.termination_grace_period"])


def test_settings_are_known_allowed_and_fit_into_the_grace() -> None:
    settings()


def test_the_platform_sends_sigterm() -> None:
    assert service()["metadata"]["rpc"]["enable_sigterm"] is True  # off by default


def test_the_port_is_ours_and_none_of_the_platforms() -> None:
    assert container()["port"] == settings().port
    assert settings().port not in (8080, 9090)


def test_the_platform_waits_longer_for_an_answer_than_the_server() -> None:
    assert service()["metadata"]["rpc"]["keepalive"] > 1000 * settings().request_timeout_seconds


def test_an_update_never_takes_an_instance_before_its_successor_is_ready() -> None:
    assert service()["metadata"]["rolling_strategy"] == {"max_surge": 1, "max_unavailable": 0}


def test_the_command_is_one_program_with_its_arguments() -> None:
    # A JSON deployment does not take the image's command, and no shell reads this one.
    assert container()["command"] == "sh /home/run.sh"
    assert "script" not in container()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("check", CHECKS)
def test_probe_has_one_method_and_allowed_thresholds(variant: str, check: str) -> None:
    fields = container(variant)[check]
    numbers = {
        "period_seconds", "timeout_seconds", "success_threshold", "failure_threshold",
    }  # fmt: skip

    assert len(fields.keys() - numbers) == 1
    assert fields.keys() - numbers <= {"http_get", "tcp_socket", "exec"}
    assert all(fields[number] >= 1 for number in numbers)
    assert fields["success_threshold"] == 1  # Kubernetes allows no other for two of them
    assert fields["timeout_seconds"] <= fields["period_seconds"]


@pytest.mark.parametrize("check", CHECKS)
def test_http_probe_asks_its_own_question(check: str) -> None:
    path = f"/{QUESTIONS[check]}"

    assert container()[check]["http_get"] == {"path": path, "port": settings().port}
    assert (path, "GET") in routes()


@pytest.mark.parametrize("check", CHECKS)
def test_exec_probe_asks_its_own_question(check: str) -> None:
    program, *arguments = container("probes-exec")[check]["exec"]["command"]

    if program == "cat":
        assert arguments == [f"{settings().state_dir}/{state_dir.READY}"]
        assert check == "readiness_check"
    else:
        assert [program, *arguments[:-1]] == ["python3", "-m", "app", "probe"]
        assert arguments[-1] == QUESTIONS[check]
        assert arguments[-1] in probe.NAMES
        assert container("probes-exec")[check]["timeout_seconds"] > probe.TIMEOUT_SECONDS


def test_tcp_probe_asks_for_life_alone() -> None:
    # The port is open from the first moment: it says nothing of the model.
    found = {check for check in CHECKS if "tcp_socket" in container("probes-tcp")[check]}

    assert found == {"liveness_check"}
    assert container("probes-tcp")["liveness_check"]["tcp_socket"] == {"port": settings().port}


@pytest.mark.parametrize("variant", VARIANTS)
def test_startup_outlasts_the_slowest_load(variant: str) -> None:
    check = container(variant)["startup_check"]

    assert check["period_seconds"] * check["failure_threshold"] > settings().load_seconds


def test_metrics_go_to_the_sidecar_of_the_platform() -> None:
    environment = {variable["name"]: variable["value"] for variable in container()["env"]}

    assert environment["EAS_METRICS_URL"] == "http://localhost:8080/api/builtin/realtime_metrics"
