"""Log lines: one JSON object an event, from our events and from libraries alike."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from app import logs

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    before, hook = root.handlers[:], sys.excepthook
    yield
    root.handlers[:], sys.excepthook = before, hook
    logging.captureWarnings(capture=False)


def lines(capsys: Capture) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_event_carries_its_fields_and_who_said_it(capsys: Capture) -> None:
    logs.configure("INFO", "json", "engine")
    logs.event("stage", stage="ready", cause=None)
    [line] = lines(capsys)
    assert line["event"] == "stage"
    assert (line["process"], line["level"], line["stage"]) == ("engine", "info", "ready")
    assert str(line["time"]).endswith("Z")
    assert "cause" not in line


def test_a_traceback_stays_on_its_line(capsys: Capture) -> None:
    logs.configure("INFO", "json", "worker")
    try:
        raise ValueError("inside")
    except ValueError as error:
        logs.event("internal_error", level=logging.ERROR, error=error)
    [line] = lines(capsys)
    assert "ValueError: inside" in str(line["traceback"])


def test_a_library_speaks_the_same_language(capsys: Capture) -> None:
    logs.configure("INFO", "json", "arbiter")
    logging.getLogger("gunicorn.error").warning("Worker %s is gone", 7)
    [line] = lines(capsys)
    assert (line["logger"], line["message"]) == ("gunicorn.error", "Worker 7 is gone")


def test_the_level_is_kept(capsys: Capture) -> None:
    logs.configure("WARNING", "json", "worker")
    logs.event("request")
    assert lines(capsys) == []


def test_text_is_for_a_person(capsys: Capture) -> None:
    logs.configure("INFO", "text", "worker")
    logs.event("request", status=200)
    out = capsys.readouterr().out
    assert "worker" in out
    assert "request  status=200" in out
