"""Which class serves which of torchvision's models. Runs in the engine process and the nursery."""

import difflib
from collections.abc import Callable
from typing import Any

from torchvision import models as zoo

from app.models.classification import QuantizedClassifier, TorchvisionClassifier
from app.models.detection import TorchvisionDetector
from app.models.interface import Model
from app.models.registry import UnknownModel
from app.models.segmentation import TorchvisionSegmenter

FAMILIES: tuple[tuple[Any, Callable[[str], Model]], ...] = (
    (zoo, TorchvisionClassifier),
    (zoo.quantization, QuantizedClassifier),
    (zoo.detection, TorchvisionDetector),
    (zoo.segmentation, TorchvisionSegmenter),
)
# The packages of torchvision whose models take no single images, and what they take.
OTHER_INPUTS = ((zoo.video, "classifies video clips"), (zoo.optical_flow, "compares two frames"))


def create(name: str = "") -> Model:
    """Return the model that ``MODEL=torchvision/NAME`` means, not yet loaded.

    Args:
        name: as ``torchvision.models.list_models()`` lists it.

    Raises:
        UnknownModel: there is none, or it takes something else than one image.
    """
    for package, family in FAMILIES:
        if name in zoo.list_models(module=package):
            return family(name)
    for package, words in OTHER_INPUTS:
        if name in zoo.list_models(module=package):
            raise UnknownModel(
                f"MODEL=torchvision/{name}: this model {words}, and the server takes single images"
            )
    near = difflib.get_close_matches(name, zoo.list_models(), n=3)
    hint = f"; near it are {', '.join(near)}" if near else ""
    raise UnknownModel(f"MODEL=torchvision/{name}: torchvision has no model of that name{hint}")
