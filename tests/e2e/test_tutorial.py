"""docs/tutorial.md, done as it says."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.server import ROOT

TEXT = (ROOT / "docs" / "tutorial.md").read_text()


def block(kind: str, number: int = 0) -> str:
    """Return a fenced block of the page."""
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)[number]


def test_the_class_of_the_tutorial_answers_what_the_tutorial_shows(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "sharpness.py").write_text(block("python"))
    assert 25 <= len(block("python").splitlines()) <= 40
    [model] = re.findall(r"MODEL=(\S+) make serve", block("sh"))
    server = start(MODEL=tmp_path / model).wait_ready()
    [image] = re.findall(r"images=@(\S+)", block("sh", 1))
    reply = server.post((ROOT / image).read_bytes(), "/", "image/jpeg").json()
    shown = json.loads(block("json"))
    assert [one["label"] for one in reply["predictions"]] == [
        one["label"] for one in shown["predictions"]
    ]
    for one, other in zip(reply["predictions"], shown["predictions"], strict=True):
        assert one == {**other, "score": pytest.approx(other["score"], abs=1e-3)}


def test_every_member_of_model_json_is_in_its_page() -> None:
    from app.models.model_json import MEMBERS, parse

    page = (ROOT / "docs" / "reference" / "model-json.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ", page, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == set(MEMBERS)
    [example] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert parse(example.encode()).labels == ("cat", "dog", "tapir")
