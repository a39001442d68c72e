"""Every model that torchvision lists: served with torchvision's own numbers, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models as zoo

from app.models import registry
from app.models.interface import Weights
from app.models.registry import UnknownModel, WrongSetting
from app.models.zoo import load
from tests import models_page
from tests.models_page import PAGE, page
from tests.torchvision_reference import FAMILY_OF, TOLERANCE, compare

# One a family runs with `make test`, two detectors for their two kinds; `make test-all` runs all.
QUICK = (
    "shufflenet_v2_x0_5", "quantized_shufflenet_v2_x0_5", "ssdlite320_mobilenet_v3_large",
    "fasterrcnn_mobilenet_v3_large_320_fpn", "lraspp_mobilenet_v3_large",
)  # fmt: skip
REFUSED = [*zoo.list_models(module=zoo.video), *zoo.list_models(module=zoo.optical_flow)]


def test_every_listed_model_is_served_or_refused() -> None:
    assert sorted([*FAMILY_OF, *REFUSED]) == sorted(zoo.list_models())


# torchvision's builders and PyTorch's quantisation announce changes of their own.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILY_OF],
)
def test_its_answer_is_torchvisions(name: str) -> None:
    comparison = compare(name)
    assert comparison.difference <= TOLERANCE, comparison


@pytest.mark.parametrize("name", [name for name in FAMILY_OF if name.startswith("vit_")])
def test_a_vision_transformer_without_weights_of_torchvision_takes_its_presets_images(
    name: str,
) -> None:
    with torch.device("meta"):
        network: Any = load(name, Weights(content=None, filename="", choice="random")).network
    assert registry.create(f"torchvision/{name}").input_spec.crop == (network.image_size,) * 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("r3d_18", "classifies video clips"),
        ("raft_small", "compares two frames"),
        ("resnet51", "no model of that name; near it are resnet"),
        ("", "no model of that name"),
    ],
)
def test_what_cannot_be_served_stops_the_start_with_a_sentence(name: str, words: str) -> None:
    with pytest.raises(UnknownModel, match=words) as caught:
        registry.create(f"torchvision/{name}")
    assert f"MODEL=torchvision/{name}: " in str(caught.value)
    assert isinstance(caught.value, WrongSetting)


def test_the_page_of_models_lists_them_all_as_they_are() -> None:
    rows = [line.split(" | ")[:3] for line in page({}).splitlines() if line.startswith("| `")]
    written = [line.split(" | ")[:3] for line in PAGE.read_text().splitlines() if "| `" in line]
    assert rows == written, "make models"


def test_the_page_says_of_every_model_that_it_was_compared_within_the_tolerance() -> None:
    text = PAGE.read_text()
    for line in text.splitlines():
        if line.startswith("| `"):
            *_, compared, difference = line.strip("| ").split(" | ")
            assert int(compared.split()[0]) > 0, line
            assert 0 <= float(difference) <= TOLERANCE, line
    assert f"\n{len(FAMILY_OF)} models, {len(FAMILY_OF)} of them compared.\n" in text


def test_a_comparison_that_crashes_takes_the_place_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_page, "RESULTS", tmp_path / "models.json")
    monkeypatch.setattr(models_page, "PAGE", tmp_path / "models.md")
    monkeypatch.setattr(models_page, "page", lambda results: str(sorted(results["resnet51"])))
    models_page.RESULTS.write_text('{"resnet51": {"what": "1000 scores", "difference": 0.0}}')
    assert models_page.main(["resnet51"]) == 1
    assert models_page.PAGE.read_text() == "['crashed']"
    assert "resnet51" in json.loads(models_page.RESULTS.read_text())["resnet51"]["crashed"]


def test_the_page_counts_no_comparison_that_crashed() -> None:
    text = page({"alexnet": {"crashed": "KeyError"}, "vgg11": {"what": "9", "difference": 1e-7}})
    assert f"\n{len(FAMILY_OF)} models, 1 of them compared.\n" in text
    [row] = [line for line in text.splitlines() if line.startswith("| `alexnet`")]
    assert row.endswith("| the comparison crashed | |")
