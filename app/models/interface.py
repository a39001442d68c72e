"""What a model is to the engine. Runs in the engine process.

A model is constructed without work, loads once, and then turns batches into answers. It never
sees HTTP: the HTTP workers decode by ``input_spec``, the runner stacks, the model computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from app.images import InputSpec


@dataclass(frozen=True)
class Weights:
    """Where a model's weights come from.

    Args:
        content: bytes of the file that the supervisor holds open, or None if there is none.
        filename: its name, which says the format (.pth or .safetensors).
        choice: the WEIGHTS setting: an entry of a torchvision weights enum, or ``random``.
    """

    content: bytes | None
    filename: str
    choice: str


class Model(Protocol):
    """What the engine serves.

    Attributes:
        name: as shown to clients.
        result_key: the member of the answer that holds the results, such as ``predictions``.
        input_spec: how HTTP workers decode; may depend on the choice of weights, set by ``load``.
        version: 12 hex digits of the weights' SHA-256, or ``random-SEED``; set by ``load``.
    """

    name: str
    result_key: str
    input_spec: InputSpec
    version: str

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network on the device and fill it.

        Raises:
            app.models.weights.WeightsError: the file is not usable; the sentence says why.
        """

    def predict(self, batch: torch.Tensor) -> Any:
        """Run a uint8 batch of shape (N, C, H, W) on the device; called in inference_mode."""

    def postprocess(self, outputs: Any) -> Sequence[Any]:
        """Return one JSON value per image, in order."""
