"""deploy/modelarts: the bodies of ModelArts' API, beside config.json."""

import json
from typing import Any

import pytest

from app.settings import Settings
from tests.deploy.manifests import DEPLOY, check_settings
from tests.server import ROOT

CONFIG = json.loads((ROOT / "config.json").read_text())


def body(name: str) -> Any:
    """Return what is posted."""
    return json.loads((DEPLOY / "modelarts" / f"{name}.json").read_text())


def model(name: str) -> Any:
    """Return how a service runs its only model."""
    [found] = body(name)["config"]
    return found


def test_import_names_an_image_for_both_kinds_of_service() -> None:
    assert body("model").keys() == {
        "model_name", "model_version", "model_type", "source_location", "source_copy",
        "install_type",
    }  # fmt: skip
    assert body("model")["model_type"] == CONFIG["model_type"] == "Image"
    assert body("model")["install_type"] == ["real-time", "batch"]


def test_real_time_service_upgrades_without_loss_in_a_dedicated_pool() -> None:
    service, config = body("service"), model("service")
    properties = config["additional_properties"]
    grace = properties["termination_grace_period_seconds"]

    assert service["infer_type"] == "real-time"
    assert service["pool_name"]  # in a public pool the platform does not upgrade losslessly
    assert config["weight"] == 100
    assert config["instance_count"] >= 2
    # One more while it upgrades. max_unavailable is 0 where it is not given, and 0 is no allowed
    # value.
    assert properties == {"max_surge": 1, "termination_grace_period_seconds": grace}
    assert grace <= 90  # from SIGTERM to the last answer
    assert check_settings(config["envs"], grace).drain_seconds == 60
    assert 180 <= config["deploy_timeout_in_seconds"] <= 7200
    assert config["deploy_timeout_in_seconds"] > Settings.read({}).load_seconds


def test_batch_service_sends_each_file_to_the_route_with_one_file() -> None:
    config = model("batch")
    [api] = [api for api in CONFIG["apis"] if api["url"] == config["req_uri"]]
    [parameter] = api["request"]["data"]["properties"].values()

    assert body("batch")["infer_type"] == "batch"
    assert config["mapping_type"] == "file"
    assert parameter == {"type": "file"}
    check_settings(config["envs"], 30)  # nobody routes: no drain


@pytest.mark.parametrize("name", ["service", "batch"])
def test_the_port_is_the_one_that_the_platform_takes_for_granted(name: str) -> None:
    assert model(name)["envs"]["PORT"] == "8080"
