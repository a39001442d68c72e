"""What /deep-health says beside the verdict, and before an engine has reported."""

import json
from pathlib import Path

import pytest

from app.engine.client import EngineClient
from app.lifecycle import Health
from app.settings import Settings
from app.web.app import create_app
from app.web.deep_health import _report


def test_the_verdict_keeps_its_name_whatever_a_model_calls_its_results() -> None:
    text = _report([], 0.012, {"status": [7], "seconds": 3}).get_data(as_text=True)
    assert text.startswith('{"status":"healthy","inference_time":"0.012s"')
    assert json.loads(text)["seconds"] == 3


@pytest.mark.parametrize(
    ("health", "status", "details"),
    [
        (Health(True, "ready"), 200, "it has just passed its self-test"),
        (Health(False, "loading", "loading"), 503, "loading"),
    ],
)
def test_an_engine_that_has_not_reported_yet_is_judged_as_by_health(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, health: Health, status: int, details: str
) -> None:
    settings = Settings.read({"STATE_DIR": str(tmp_path)})
    engine = EngineClient(settings)
    monkeypatch.setattr(engine, "health", lambda: health)
    reply = create_app(settings, engine).test_client().get("/deep-health")
    assert reply.status_code == status
    assert reply.get_json()["checks"][0]["details"] == details
