"""The document-layout example, held against transformers called directly.

The network is tiny and nobody trained it: what it finds means nothing, but is the same in both.
"""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import PPDocLayoutV3ForObjectDetection, PPDocLayoutV3ImageProcessor

from app import errors
from app.engine.deep_check import DeepCheck
from app.engine.runner import Pixels, Runner
from app.models.interface import Query, Weights
from app.models.registry import WrongSetting
from app.models.weights import WeightsError
from examples.doclayout import CONFIG, PREPROCESSOR, DocLayout, _points
from tests import doclayout
from tests.conftest import Start
from tests.doclayout import draw_page, png
from tests.e2e.test_bad_input import error_of
from tests.e2e.test_serving import multipart
from tests.metrics import Scrape
from tests.server import Load, Server, serve, wait_for

pytestmark = pytest.mark.examples
MODEL = "examples.doclayout:DocLayout"
TOLERANCE = 1e-4
PAGES = {"portrait": draw_page(), "large": draw_page(1240, 1754), "wide": draw_page(900, 300)}


class Reference:
    """transformers, called as its own documentation calls it."""

    def __init__(self, folder: Path) -> None:
        self.processor: Any = PPDocLayoutV3ImageProcessor.from_pretrained(folder)
        self.network: Any = PPDocLayoutV3ForObjectDetection.from_pretrained(folder)

    @torch.inference_mode()
    def outputs(self, *pages: Image.Image) -> Any:
        """Return what the network says."""
        return self.network(**self.processor(images=list(pages), return_tensors="pt"))

    def found(self, page: Image.Image, threshold: float = 0.5) -> dict[str, Any]:
        """Return what is found on a page."""
        [found] = self.processor.post_process_object_detection(
            self.outputs(page), threshold=threshold, target_sizes=[page.size[::-1]]
        )
        return dict(found)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return doclayout.save_checkpoint(
        tmp_path_factory.mktemp("hub") / "tiny", doclayout.tiny(), side=320
    )


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Reference:
    return Reference(checkpoint.parent)


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doclayout")
    with serve(folder, MODEL=MODEL, MODEL_PATH=checkpoint, WORKERS=1) as server:
        yield server.wait_ready()


@pytest.fixture
def runner(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    return load(checkpoint, monkeypatch)


def load(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Return the model, loaded as an engine loads it."""
    monkeypatch.setenv("MODEL_PATH", str(checkpoint))
    runner = Runner(DocLayout(), "cpu", 4)
    runner.load(Weights(checkpoint.read_bytes(), checkpoint.name, "DEFAULT"))
    return runner


def pixels(page: Image.Image, threshold: float = 0.5) -> Pixels:
    """Return a page as it comes to the engine."""
    query = Query(page.width, page.height, {"score_threshold": threshold})
    return Pixels((page.height, page.width, 3), np.array(page).tobytes(), query)


def assert_same(answer: dict[str, Any], page: Image.Image, found: dict[str, Any]) -> None:
    """Hold an answer against what transformers found, to 1e-4 of the page's longer side."""
    assert (answer["width"], answer["height"]) == page.size
    regions = answer["regions"]
    labels = [doclayout.LABELS[number] for number in found["labels"].tolist()]
    assert [region["label"] for region in regions] == labels
    assert [region["class_id"] for region in regions] == found["labels"].tolist()
    assert [region["order"] for region in regions] == list(range(1, 1 + len(labels)))
    scores = [region["score"] for region in regions]
    assert scores == pytest.approx(found["scores"].tolist(), abs=TOLERANCE)
    near = TOLERANCE * max(page.size)
    for region, box, polygon in zip(
        regions, found["boxes"].tolist(), found["polygon_points"], strict=True
    ):
        assert region["box"] == pytest.approx(box, abs=near)
        assert len(region["polygon"]) == len(polygon)
        assert np.allclose(region["polygon"], np.asarray(polygon), rtol=0, atol=near)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_a_page_is_answered_as_transformers_answers_it(
    server: Server, reference: Reference, name: str, threshold: float
) -> None:
    page = PAGES[name]
    found = reference.found(page, threshold)
    assert len(found["labels"])
    reply = server.post(png(page), f"/analyze?score_threshold={threshold}")
    assert reply.status == 200, reply.body
    assert_same(reply.json(), page, found)


def test_what_is_compared_has_polygons_and_scores_that_differ(reference: Reference) -> None:
    found = reference.found(PAGES["portrait"])
    assert max(len(polygon) for polygon in found["polygon_points"]) > 4
    assert found["scores"].std() > 0.01
    assert len(set(found["labels"].tolist())) > 1
    others = reference.found(draw_page(seal="blue"))
    assert others["scores"].tolist() != pytest.approx(found["scores"].tolist(), abs=TOLERANCE)


def test_many_pages_are_results_in_order(server: Server, reference: Reference) -> None:
    body, kind = multipart(*map(png, PAGES.values()))
    results = server.post(body, "/analyze", kind).json()["results"]
    assert len(results) == len(PAGES)
    for answer, page in zip(results, PAGES.values(), strict=True):
        assert_same(answer, page, reference.found(page))


def test_a_photo_that_was_turned_is_answered_upright(server: Server, reference: Reference) -> None:
    page, stream = PAGES["portrait"], BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # how to turn the stored picture upright: by 90 degrees, clockwise
    page.transpose(Image.Transpose.ROTATE_90).save(stream, "PNG", exif=exif)
    assert_same(server.post(stream.getvalue(), "/analyze").json(), page, reference.found(page))


def test_the_other_routes_answer_the_same(server: Server) -> None:
    answers = [server.post(png(PAGES["wide"]), path).body for path in ("/analyze", "/predict", "/")]
    assert answers[0] == answers[1] == answers[2]


def test_requests_share_a_batch_each_with_its_own_page_and_threshold(
    start: Start, checkpoint: Path, reference: Reference
) -> None:
    server = start(
        MODEL="tests.stubs.doclayout:Unhurried", MODEL_PATH=checkpoint, WORKERS=1
    ).wait_ready()
    wanted = [(page, threshold) for page in PAGES.values() for threshold in (0.5, 0.3)] * 2

    def ask(page: Image.Image, threshold: float) -> Any:
        return server.post(png(page), f"/analyze?score_threshold={threshold}").json()

    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = list(pool.map(ask, *zip(*wanted, strict=True)))
    for answer, (page, threshold) in zip(answers, wanted, strict=True):
        assert_same(answer, page, reference.found(page, threshold))
    wait_for(lambda: Scrape(server)("batch_size_sum") == len(wanted), "the engine's last counts")
    assert Scrape(server)("batch_size_count") < len(wanted)  # type: ignore[operator]


def test_the_outputs_of_a_batch_are_those_of_transformers(
    runner: Runner, reference: Reference
) -> None:
    with torch.inference_mode():
        outputs = runner.model.predict([
            torch.from_numpy(np.array(page)).permute(2, 0, 1) for page in PAGES.values()
        ])  # fmt: skip
    expected = reference.outputs(*PAGES.values())
    for name, values in outputs.items():
        assert torch.allclose(values, expected[name], rtol=0, atol=TOLERANCE), name


def test_a_threshold_under_the_lowest_is_a_400_that_says_what_is_allowed(server: Server) -> None:
    reply = server.post(png(PAGES["wide"]), "/analyze?score_threshold=0.01")
    assert error_of(reply) == (400, "invalid_parameter")
    assert "from 0.05 to 1" in reply.json()["error"]["message"]


def test_a_page_of_one_pixel_is_answered(server: Server) -> None:
    answer = server.post(png(Image.new("RGB", (1, 1))), "/analyze?score_threshold=0.05").json()
    assert (answer["width"], answer["height"]) == (1, 1)
    assert all(len(region["polygon"]) == 4 for region in answer["regions"])


def test_where_transformers_has_no_polygon_the_box_is_one() -> None:
    assert _points(None, [1.0, 2.0, 3.00001, 4.0]) == [[1, 2], [3, 2], [3, 4], [1, 4]]


def test_the_deep_check_asks_the_running_model(
    start: Start, checkpoint: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    server = start(
        MODEL="tests.stubs.doclayout:Drifts", MODEL_PATH=checkpoint, GATE=gate, WORKERS=1,
        DEEP_CHECK_SECONDS=0.5, DEEP_CHECK_FAILURES=0,
    ).wait_ready()  # fmt: skip
    looked = server.post(png(PAGES["portrait"]), "/deep-health").json()
    assert looked["status"] == "healthy"
    assert looked["result"]["regions"]
    wait_for(lambda: Scrape(server)("deep_check_age_seconds"), "a check")
    assert server.get("/deep-health").json()["status"] == "healthy"
    gate.touch()
    wait_for(lambda: server.get("/ready").status == 503, "the verdict")
    assert server.get("/health").json()["reason"] == "deep_check"
    assert server.get("/deep-health").status == 503


@pytest.mark.parametrize(
    "part",
    ["model.backbone", "model.encoder", "model.enc_score_head", "model.mask_query_head",
     "model.decoder_global_pointer", "model.decoder.bbox_embed"],
)  # fmt: skip
def test_the_deep_check_notices_when_a_part_of_the_network_changes(
    runner: Runner, part: str
) -> None:
    check = DeepCheck(runner.golden, 30)
    check.record(0)
    check.run(30)
    assert check.finding is not None
    assert check.finding.healthy, "the same model says the same"
    network = runner.model._network
    with torch.no_grad():
        for parameter in network.get_submodule(part).parameters():
            parameter.mul_(1.5)
    check.run(60)
    assert not check.finding.healthy


def test_the_metrics_of_the_autoscaler_see_its_route(start: Start, checkpoint: Path) -> None:
    server = start(
        MODEL="tests.stubs.doclayout:Unhurried", MODEL_PATH=checkpoint, MAX_BATCH=1
    ).wait_ready()
    idle = Scrape(server)
    assert idle("queue_length") == idle("requests_in_progress") == 0
    page = png(PAGES["portrait"])
    with Load(server, clients=6, image=lambda _: page, path="/analyze") as load:
        load.wait_answers(4)
        busy = wait_for(
            lambda: (scrape := Scrape(server))("queue_length") and scrape, "requests that wait"
        )
        assert busy("requests_in_progress") > 1
    assert load.failures == []
    asked = len(load.answers)
    scrape = Scrape(server)
    # The route by which deploy/prometheus/rules.yaml knows predictions, for the 95th percentile.
    assert scrape("http_request_duration_seconds_count", route="/predict") == asked
    assert scrape("http_requests_total", route="/predict", method="POST", status=200) == asked
    slow = scrape("http_request_duration_seconds_bucket", route="/predict", le="0.25")
    assert slow < asked  # type: ignore[operator]
    wait_for(lambda: Scrape(server)("batch_size_sum") == asked, "the engine's last counts")


def cause(server: Server) -> str:
    """Return why the server has no model."""
    failed = [event["cause"] for event in server.events("stage") if event["stage"] == "failed"]
    return failed[0] if failed else ""


def test_without_the_hub_it_says_what_it_needs_and_where_to_put_it(
    start: Start, tmp_path: Path
) -> None:
    nobody = "http://127.0.0.1:9"  # the port of discard
    server = start(MODEL=MODEL, HF_ENDPOINT=nobody, HF_HOME=tmp_path / "hub", WORKERS=1)
    said = wait_for(lambda: cause(server), "the cause")
    assert said.startswith("could not get PaddlePaddle/PP-DocLayoutV3_safetensors from the Hugging")
    assert "MODEL_PATH=FOLDER/model.safetensors" in said
    assert "\n" not in said
    wait_for(lambda: said in server.get("/health").json()["reason"], "health to say it")


def test_a_model_that_the_hub_has_not_is_a_wrong_setting() -> None:
    with pytest.raises(WrongSetting, match="WEIGHTS=COCO_V1: pp-doclayout-v3 has DEFAULT alone"):
        DocLayout().load(torch.device("cpu"), Weights(None, "", "COCO_V1"))


@pytest.mark.parametrize("name", [CONFIG, PREPROCESSOR])
def test_a_folder_without_all_files_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    copy = shutil.copytree(checkpoint.parent, tmp_path / "copy")
    (copy / name).unlink()
    with pytest.raises(WeightsError, match=f"there is no {name} in"):
        load(copy / checkpoint.name, monkeypatch)


def test_a_config_of_another_model_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(checkpoint.parent, tmp_path / "copy")
    config = json.loads((copy / CONFIG).read_text())
    (copy / CONFIG).write_text(json.dumps({**config, "model_type": "rt_detr"}))
    with pytest.raises(WeightsError, match=r"config\.json is of a rt_detr"):
        load(copy / checkpoint.name, monkeypatch)


@pytest.mark.parametrize(("change", "words"), [("cut", "1 tensors are missing"), ("bent", "shape")])
def test_tensors_that_do_not_fit_are_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, words: str
) -> None:
    copy = shutil.copytree(checkpoint.parent, tmp_path / "copy")
    tensors = load_file(checkpoint)
    name = "model.decoder_global_pointer.dense.weight"
    kept = tensors.pop(name)
    if change == "bent":
        tensors[name] = kept[:1].clone()
    save_file(tensors, copy / checkpoint.name, {"format": "pt"})
    with pytest.raises(WeightsError, match=f"model.safetensors does not fit .*{words}"):
        load(copy / checkpoint.name, monkeypatch)


def test_weights_of_half_precision_are_run_in_full(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(checkpoint.parent, tmp_path / "copy")
    halves = {name: tensor.half() for name, tensor in load_file(checkpoint).items()}
    save_file(halves, copy / checkpoint.name, {"format": "pt"})
    runner = load(copy / checkpoint.name, monkeypatch)
    assert {p.dtype for p in runner.model._network.parameters()} == {torch.float32}
    assert runner.run([pixels(PAGES["wide"])])


def test_outputs_that_are_not_finite_are_an_error(runner: Runner) -> None:
    with torch.no_grad():
        next(runner.model._network.parameters()).fill_(torch.nan)
    with pytest.raises(errors.ModelError):
        runner.run([pixels(PAGES["portrait"])])


@pytest.mark.slow
def test_the_full_configuration_answers_as_transformers_does(start: Start, tmp_path: Path) -> None:
    weights = doclayout.save_checkpoint(tmp_path / "full", doclayout.full(), side=800)
    page = PAGES["large"]
    reference = Reference(weights.parent)
    # Untrained, it scores all 300 places nearly the same: ask for the ten best.
    best = sorted(reference.found(page, 0.05)["scores"].tolist(), reverse=True)
    threshold = (best[9] + best[10]) / 2
    found = reference.found(page, threshold)
    assert len(found["labels"]) == 10
    server = start(
        MODEL=MODEL, MODEL_PATH=weights, WORKERS=1, MAX_BATCH=1, HANG_SECONDS=60,
        REQUEST_TIMEOUT_SECONDS=120, GRACEFUL_SECONDS=125,
    )  # fmt: skip
    wait_for(server.healthy, "a load of two minutes or less on a busy machine", 240)
    reply = server.post(png(page), f"/analyze?score_threshold={threshold}")
    assert reply.status == 200, reply.body
    assert_same(reply.json(), page, found)
