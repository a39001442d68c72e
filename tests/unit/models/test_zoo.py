"""torchvision's networks from a file: built as for weights of torchvision, by the entry chosen."""

import io
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from app.models import networks, registry
from app.models.interface import Weights
from app.models.registry import WrongSetting
from app.models.zoo import load
from tests.torchvision_reference import as_for_weights

CPU = torch.device("cpu")


def pth(network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


def weights(network: nn.Module, choice: str = "DEFAULT", beside: bytes | None = None) -> Weights:
    return Weights(pth(network), "mine.pth", choice, beside)


def layers(network: nn.Module) -> list[tuple[str, str, float | None]]:
    """Return the kinds of a network's layers that answer, with what they add to a variance."""
    return [
        (name, type(layer).__name__, getattr(layer, "eps", None))
        for name, layer in network.named_modules()
        if not f"{name}.".startswith(("aux_classifier.", "AuxLogits."))
    ]


ENTRIES = [
    f"{name}:{entry.name}"
    for package in (zoo.detection, zoo.segmentation)
    for name in zoo.list_models(module=package)
    for entry in zoo.get_model_weights(name)
]


@pytest.mark.parametrize("place", ENTRIES)
def test_a_network_has_the_layers_that_torchvision_builds_for_its_weights(place: str) -> None:
    name, _, choice = place.partition(":")
    entry: Any = zoo.get_model_weights(name)[choice]
    with torch.device("meta"):
        wanted = as_for_weights(name, entry)
        found = networks.build(name, entry, weights_backbone=None)
    assert layers(found) == layers(wanted)
    assert found.state_dict().keys() == networks.answering(wanted.state_dict()).keys()


def test_a_detector_that_was_trained_from_nothing_keeps_its_batch_norms() -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    network: Any = zoo.get_model(name, weights=None, weights_backbone=None)
    found: Any = load(name, weights(network), weights_backbone=None).network
    assert type(found.backbone.body["0"][1]) is nn.BatchNorm2d


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.filterwarnings("ignore")
def test_a_file_of_torchvisions_layout_answers_as_torchvision(name: str) -> None:
    entry = zoo.get_model_weights(name).DEFAULT
    network: Any = as_for_weights(name, entry)
    loaded: Any = load(name, weights(network)).network
    images = torch.rand(1, 3, 96, 96)
    torch.testing.assert_close(loaded(images), network.eval()(images))


@pytest.mark.filterwarnings("ignore")
def test_heads_that_only_training_needs_are_passed_over() -> None:
    name = "deeplabv3_mobilenet_v3_large"
    network = as_for_weights(name, zoo.get_model_weights(name).DEFAULT)
    assert any(key.startswith("aux_classifier.") for key in network.state_dict())
    load(name, weights(network), weights_backbone=None)
    with_heads = zoo.googlenet(aux_logits=True, init_weights=False)
    assert any(key.startswith("aux1.") for key in with_heads.state_dict())
    load("googlenet", weights(with_heads))


def test_weights_chooses_the_entry_whose_images_a_file_gets() -> None:
    content = weights(zoo.mobilenet_v3_large()).content
    model, other = (registry.create("torchvision/mobilenet_v3_large") for _ in range(2))
    model.load(CPU, Weights(content, "m.pth", "IMAGENET1K_V1"))
    other.load(CPU, Weights(content, "m.pth", "DEFAULT"))
    assert (model.input_spec.resize, other.input_spec.resize) == (256, 232)
    assert model.version != other.version


def test_the_entry_chosen_has_the_size_of_a_vision_transformer() -> None:
    with torch.device("meta"):
        network: Any = networks.build("vit_b_16", zoo.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1)
    assert network.image_size == 384


@pytest.mark.parametrize(
    ("choice", "words"),
    [("NONSENSE", "WEIGHTS=NONSENSE: squeezenet1_1 has IMAGENET1K_V1, DEFAULT and random"),
     ("random", "WEIGHTS=random: MODEL_PATH is set")],
)  # fmt: skip
def test_a_wrong_choice_stops_the_start_beside_a_file_too(choice: str, words: str) -> None:
    with pytest.raises(WrongSetting, match=words):
        load("squeezenet1_1", weights(zoo.squeezenet1_1(), choice))


def test_labels_count_in_the_version() -> None:
    network = zoo.squeezenet1_1(num_classes=2)
    one, other = (
        load("squeezenet1_1", weights(network, beside=labels)).version
        for labels in (b"cat\ndog", b"dog\ncat")
    )
    assert one != other


def test_a_file_for_a_quantised_network_stops_the_start_with_what_helps() -> None:
    model = registry.create("torchvision/quantized_shufflenet_v2_x0_5")
    with pytest.raises(WrongSetting, match="come from no MODEL_PATH; unset it, or export"):
        model.load(CPU, weights(nn.Linear(1, 1)))
