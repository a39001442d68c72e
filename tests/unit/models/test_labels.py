"""Classes of one's own for torchvision's architectures: labels.txt beside the state dict."""

import io

import pytest
import torch
from torchvision import models

from app.engine.runner import Runner
from app.models import registry
from app.models.interface import Weights
from app.models.labels import parse
from app.models.weights import WeightsError

THREE = b"cat\ndog\ntapir\n"


def weights(name: str, classes: int, beside: bytes | None) -> Weights:
    network = models.get_model(name, weights=None, num_classes=classes)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return Weights(buffer.getvalue(), "mine.pth", "DEFAULT", beside)


@pytest.mark.parametrize(
    "name",
    ["squeezenet1_1", "mobilenet_v3_small", "lraspp_mobilenet_v3_large",
     "ssdlite320_mobilenet_v3_large"],
)  # fmt: skip
def test_a_state_dict_of_other_classes_is_served_with_its_labels(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: 1 / 0)
    made = Runner(registry.create(f"torchvision/{name}"), "cpu", 1)
    backbone = {} if "net1" in name or "v3_small" in name else {"weights_backbone": None}
    network = models.get_model(name, weights=None, num_classes=3, **backbone)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    made.load(Weights(buffer.getvalue(), "mine.pth", "DEFAULT", THREE))
    assert made.model.labels == ["cat", "dog", "tapir"]  # type: ignore[attr-defined]
    made.self_test()


def test_top_k_goes_to_the_number_of_classes() -> None:
    model = registry.create("torchvision/squeezenet1_1")
    model.load(torch.device("cpu"), weights("squeezenet1_1", 3, THREE))
    [option] = model.input_spec.options
    assert (option.name, option.default, option.high) == ("top_k", 5, 3)


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        (b"cat\ndog\n", "labels.txt has 2 lines and mine.pth has 3 classes"),
        (
            None,
            "mine.pth has 3 classes and torchvision's mobilenet_v3_small has 1000; a labels.txt",
        ),
    ],
)
def test_a_number_of_lines_that_does_not_fit_is_told(beside: bytes | None, words: str) -> None:
    model = registry.create("torchvision/mobilenet_v3_small")
    with pytest.raises(WeightsError) as caught:
        model.load(torch.device("cpu"), weights("mobilenet_v3_small", 3, beside))
    assert words in str(caught.value)


def test_lines_are_labels_whatever_ends_them() -> None:
    assert parse("\ufeffcat\r\n 狗 \r\n\r\n".encode()) == ["cat", "狗"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\n \n", "is empty"), (b"cat\n\ndog", "nothing in line 2"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_file_that_is_no_list_of_labels_is_told(content: bytes, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        parse(content)
