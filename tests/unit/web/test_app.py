"""The application of one worker, without a server: no engine, no supervisor."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.engine.client import EngineClient
from app.settings import Settings
from app.web.app import create_app


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    settings = Settings.read({"STATE_DIR": str(tmp_path), "AUTH_TOKEN": "hush"})
    return create_app(settings, EngineClient(settings)).test_client()


def test_a_slash_at_the_end_of_a_probe_asks_for_no_token(client: FlaskClient) -> None:
    assert client.get("/live").status_code == 200
    assert client.get("/live/").status_code == 200
    assert client.head("/live/").status_code == 200
    assert client.post("/deep-health/").status_code == 401
    assert client.get("/").status_code == client.get("/status/").status_code == 401
