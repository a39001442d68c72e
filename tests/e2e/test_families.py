"""One model of each family of torchvision, on the real server."""

import base64
import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import models as zoo

from tests import torchvision_reference as reference
from tests.conftest import Start
from tests.e2e.test_bad_input import error_of
from tests.e2e.test_serving import multipart
from tests.hostile import good_jpeg
from tests.server import wait_for

PHOTO, TALL = reference.photo(), good_jpeg(120, 200, seed=1)


def test_a_classifier_gives_as_many_classes_as_each_request_wants(start: Start) -> None:
    server = start(MODEL="torchvision/shufflenet_v2_x0_5", WEIGHTS="random").wait_ready()
    every = server.post(PHOTO, "/?top_k=1000", "image/jpeg").json()["predictions"]
    assert len(every) == 1000
    assert server.post(PHOTO, "/", "image/jpeg").json()["predictions"] == every[:5]
    assert server.post(PHOTO, "/?top_k=1", "image/jpeg").json()["predictions"] == every[:1]
    refused = server.post(PHOTO, "/?top_k=1001", "image/jpeg")
    assert error_of(refused) == (400, "invalid_parameter")


def test_a_quantised_classifier_answers(start: Start) -> None:
    server = start(MODEL="torchvision/quantized_shufflenet_v2_x0_5", WEIGHTS="random").wait_ready()
    assert len(server.post(PHOTO, "/", "image/jpeg").json()["predictions"]) == 5


@pytest.mark.filterwarnings("ignore")
def test_a_detector_finds_what_torchvision_finds_on_images_of_any_shape(
    start: Start, tmp_path: Path
) -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    network = reference.build(name)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    server = start(MODEL=f"torchvision/{name}", MODEL_PATH=tmp_path / "w.pth", MAX_BATCH=2)
    server.wait_ready()
    answer = server.post(PHOTO, "/?score_threshold=0", "image/jpeg").json()
    preset = zoo.get_model_weights(name).DEFAULT.transforms()
    with torch.inference_mode():
        [wanted] = network([preset(reference.opened(PHOTO))])
    boxes = torch.tensor([region["box"] for region in answer["regions"]])
    assert len(boxes) > 0
    assert torch.allclose(boxes, wanted["boxes"], atol=1e-4)
    body, kind = multipart(PHOTO, TALL)
    results = server.post(body, "/predict?score_threshold=0.9", kind).json()["results"]
    assert [(r["width"], r["height"]) for r in results] == [(300, 200), (120, 200)]
    assert all(region["score"] >= 0.9 for r in results for region in r["regions"])
    refused = server.post(PHOTO, "/?masks=rle", "image/jpeg")
    assert error_of(refused) == (400, "invalid_parameter")
    assert server.post(PHOTO, "/deep-health", "image/jpeg").json()["status"] == "healthy"


def test_a_segmenter_answers_a_map_of_the_posted_image(start: Start) -> None:
    model = "torchvision/lraspp_mobilenet_v3_large"
    server = start(MODEL=model, WEIGHTS="random", MAX_BATCH=2).wait_ready()
    answer = server.post(PHOTO, "/", "image/jpeg").json()
    png = base64.b64decode(answer["segmentation"]["png"])
    assert Image.open(io.BytesIO(png)).size == (answer["width"], answer["height"]) == (300, 200)
    long = good_jpeg(310, 100)
    assert error_of(server.post(long, "/", "image/jpeg")) == (413, "image_too_large")


def test_a_model_of_videos_stops_the_start(start: Start) -> None:
    server = start(MODEL="torchvision/r3d_18")
    assert server.wait() == 1
    wait_for(lambda: "classifies video clips" in server.log.read_text(), "the sentence")
