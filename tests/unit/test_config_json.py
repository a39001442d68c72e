"""config.json keeps ModelArts' rules; an end-to-end test holds its schemas against real answers."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from app.settings import Settings

CONFIG = json.loads((Path(__file__).parents[2] / "config.json").read_text())
API = CONFIG["apis"][0]
PROBES = ["health", "readiness_health", "startup_health"]


def test_top_level_has_what_an_image_model_may_have() -> None:
    required = {"model_algorithm", "model_type", "apis"}
    allowed = required | {"swr_location", "metrics", *PROBES}  # no runtime, no dependencies

    assert required <= CONFIG.keys() <= allowed
    assert CONFIG["model_type"] == "Image"


def test_algorithm_is_a_name_that_the_platform_takes() -> None:
    assert re.fullmatch(r"[A-Za-z][^&!'\"<>=]{0,35}", CONFIG["model_algorithm"])


def test_metrics_are_fractions_of_at_most_17_decimals() -> None:
    for name, value in CONFIG.get("metrics", {}).items():
        assert name in {"f1", "recall", "precision", "accuracy"}
        assert 0 <= value <= 1
        assert len(repr(value).partition(".")[2]) <= 17


def test_there_is_one_route_for_each_url_and_method() -> None:
    routes = [(api["url"], api["method"]) for api in CONFIG["apis"]]

    assert ("/", "post") in routes
    assert len(set(routes)) == len(routes)


@pytest.mark.parametrize("api", CONFIG["apis"], ids=lambda api: api["url"])
def test_api_has_what_real_time_and_batch_need(api: dict) -> None:
    assert api.keys() == {"protocol", "url", "method", "request", "response"}
    assert api["protocol"] in {"http", "https"}
    assert api["url"].startswith("/")
    assert api["method"] in {"get", "post", "put", "delete"}
    for part in (api["request"], api["response"]):
        assert part.keys() == {"Content-type", "data"}  # the lower-case t is the platform's
        assert part["Content-type"] in {"application/json", "multipart/form-data"}
        assert part["data"]["type"] == "object"
        assert set(part["data"]["required"]) <= part["data"]["properties"].keys()


def test_batch_by_file_finds_exactly_one_parameter_of_type_file() -> None:
    properties = API["request"]["data"]["properties"]

    assert API["request"]["Content-type"] == "multipart/form-data"
    assert properties == {"images": {"type": "file"}}


def test_response_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(API["response"]["data"])


@pytest.mark.parametrize("answer", [{"mnist_result": 7}, {"mnist_result": [7, 3]}])
def test_response_schema_takes_what_the_server_answers(answer: dict) -> None:
    jsonschema.validate(answer, API["response"]["data"])


@pytest.mark.parametrize(
    "answer",
    [{}, {"mnist_result": "7"}, {"mnist_result": 10}, {"mnist_result": [7, -1]}, {"error": {}}],
)
def test_response_schema_refuses_anything_else(answer: dict) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer, API["response"]["data"])


@pytest.mark.parametrize("name", PROBES)
def test_probe_keeps_the_rules(name: str) -> None:
    probe = CONFIG[name]
    numbers = {"initial_delay_seconds", "period_seconds", "timeout_seconds", "failure_threshold"}

    assert probe.keys() == {"check_method", "protocol", "url", *numbers}
    assert probe["check_method"] == "HTTP"
    assert probe["protocol"] == "http"
    assert probe["url"] == "/health"
    for number in numbers:  # strings, as the platform stores them
        assert re.fullmatch(r"[1-9]\d*", probe[number]), number
    assert int(probe["timeout_seconds"]) <= int(probe["period_seconds"])


def _patience(name: str) -> int:
    return int(CONFIG[name]["period_seconds"]) * int(CONFIG[name]["failure_threshold"])


def test_liveness_outlasts_every_time_that_health_may_say_no() -> None:
    # `health` is the liveness block: the platform restarts the container when it gives up.
    assert _patience("health") >= 60


def test_readiness_gives_up_first() -> None:
    assert _patience("readiness_health") < _patience("health")


def test_startup_waits_for_the_slowest_load() -> None:
    assert _patience("startup_health") >= Settings.read({}).load_seconds
