"""Exported programs and classes of one's own on the real server: files, directories, respawns."""

import os
import signal
from pathlib import Path

import torch
from torchvision import models

from tests.conftest import Start
from tests.e2e.test_health import answers, reason
from tests.programs import described, pt2, torchscript
from tests.server import Server, png, wait_for

GREEN = png((0, 255, 0), size=20)


def best(server: Server) -> object:
    return server.post(GREEN, "/predict?top_k=1").json()["predictions"][0]["label"]


def test_a_program_is_served_by_its_path_alone_and_a_respawn_keeps_its_labels(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "colours.pt2").write_bytes(pt2(dynamic=torch.export.Dim("n")))
    (tmp_path / "model.json").write_bytes(described())
    server = start(MODEL_PATH=tmp_path / "colours.pt2", AUTH_TOKEN="secret")
    token = {"Authorization": "secret"}
    server.wait_ready()

    def label() -> object:
        reply = server.request("POST", "/?top_k=1", GREEN, Content_Type="image/png", **token)
        return reply.json()["predictions"][0]["label"]

    assert label() == "green"
    (tmp_path / "new").write_bytes(described(labels=["rot", "grün", "blau"]))
    (tmp_path / "new").replace(tmp_path / "model.json")
    [engine] = [one["pid"] for one in server.get("/status", **token).json()["engines"]]
    os.kill(engine, signal.SIGKILL)
    assert label() == "green", "labels are those that serve, not those that lie there by now"
    assert server.request("POST", "/admin/reload", **token).status == 200
    assert label() == "grün"


def test_a_directory_is_enough_and_a_wrong_model_json_may_be_mended(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    server = start(MODEL="exported", MODEL_PATH=tmp_path / "models")
    wait_for(lambda: answers(server), "the HTTP side")
    wait_for(lambda: "the directory has no file of" in reason(server), "the cause")
    (tmp_path / "models" / "model.json").write_bytes(described(colour="red"))
    (tmp_path / "models" / "colours.pt").write_bytes(torchscript())
    wait_for(lambda: 'model.json has no member "colour"' in reason(server), "the other cause")
    (tmp_path / "models" / "model.json").write_bytes(described())
    server.wait_ready()
    assert best(server) == "green"


def test_a_state_dict_of_other_classes_is_served_with_labels_txt(
    start: Start, tmp_path: Path
) -> None:
    network = models.squeezenet1_1(num_classes=3)
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    server = start(MODEL="torchvision/squeezenet1_1", MODEL_PATH=tmp_path / "mine.pt")
    wait_for(lambda: answers(server), "the HTTP side")
    wait_for(lambda: "labels.txt has 2 lines and mine.pt has 3 classes" in reason(server), "it")
    (tmp_path / "labels.txt").write_text("cat\ndog\ntapir\n")
    server.wait_ready()
    found = server.post(png(size=300)).json()["predictions"]
    assert {one["label"] for one in found} == {"cat", "dog", "tapir"}


def test_a_program_for_another_model_stops_the_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "m.pth").write_bytes(b"")
    server = start(MODEL="exported", MODEL_PATH=tmp_path / "m.pth")
    assert server.wait() == 1
    assert "MODEL_PATH is m.pth; allowed is" in server.events("start_refused")[0]["message"]
