"""deploy/docker: what Docker would take, and what the server keeps."""

import json
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

from app import probe
from app.settings import Settings
from tests.deploy.manifests import DEPLOY, NAMES, check_settings

FOLDER = DEPLOY / "docker"
# What the package keeps for its own program; the specification has no package of its own.
SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor/compose-spec.json"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))

whole = pytest.mark.parametrize("name", ["compose.yaml", "swarm.yaml"])


def document(name: str) -> Any:
    """Return one file."""
    return yaml.safe_load((FOLDER / name).read_text())


def server(name: str) -> Any:
    """Return the only service."""
    [service] = document(name)["services"].values()
    return service


def seconds(text: str) -> int:
    """Return a duration."""
    assert text.endswith("s")
    return int(text[:-1])


def settings(name: str) -> Settings:
    """Return the settings that the container would start with."""
    return check_settings(server(name)["environment"], seconds(server(name)["stop_grace_period"]))


@pytest.mark.parametrize("name", FILES)
def test_file_is_what_the_compose_specification_allows(name: str) -> None:
    jsonschema.validate(document(name), json.loads(SCHEMA.read_text()))


def test_a_wrong_field_would_be_found() -> None:
    wrong = {"services": {"server": {"image": "unbroken", "stop_grace_periode": "30s"}}}

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json.loads(SCHEMA.read_text()))


@whole
def test_settings_are_known_allowed_and_fit_into_the_grace(name: str) -> None:
    settings(name)


def test_gpu_file_changes_known_settings_of_the_same_service() -> None:
    over = server("compose.gpu.yaml")
    together = {**server("compose.yaml")["environment"], **over["environment"]}
    [device] = over["deploy"]["resources"]["reservations"]["devices"]

    assert (
        document("compose.gpu.yaml")["services"].keys()
        == document("compose.yaml")["services"].keys()
    )
    assert together.keys() <= NAMES
    assert Settings.read(together).device == "cuda"
    assert device["capabilities"] == ["gpu"]


@whole
def test_the_published_port_is_the_servers(name: str) -> None:
    [port] = server(name)["ports"]

    assert port.split(":")[1] == str(settings(name).port)


@whole
def test_health_check_is_a_probe_of_ours_with_time_for_the_slowest_load(name: str) -> None:
    check = server(name)["healthcheck"]
    word, *command = check["test"]

    assert word == "CMD"  # no shell
    assert command == ["python3", "-m", "app", "probe", "health"]
    assert "health" in probe.NAMES
    assert seconds(check["timeout"]) > probe.TIMEOUT_SECONDS
    assert seconds(check["start_period"]) > settings(name).load_seconds


@whole
def test_container_has_no_more_than_it_needs(name: str) -> None:
    assert server(name)["read_only"] is True
    assert server(name)["tmpfs"] == ["/tmp"]
    assert settings(name).state_dir.startswith("/tmp/")
    assert server(name)["cap_drop"] == ["ALL"]
    assert "init" not in server(name)  # run.sh is process 1


def test_swarm_starts_the_new_one_first_and_goes_back_when_it_fails() -> None:
    deploy = server("swarm.yaml")["deploy"]

    assert deploy["replicas"] >= 2
    assert deploy["update_config"]["order"] == deploy["rollback_config"]["order"] == "start-first"
    assert deploy["update_config"]["parallelism"] == 1
    assert deploy["update_config"]["failure_action"] == "rollback"


def test_swarm_kills_no_task_whose_engine_is_being_replaced() -> None:
    check = server("swarm.yaml")["healthcheck"]
    values = settings("swarm.yaml")

    assert seconds(check["interval"]) * check["retries"] > 2 * values.request_timeout_seconds
