"""What a model is to the engine. Runs in the engine process.

A model is constructed without work, loads once, and then turns batches into answers. It never
sees HTTP: the HTTP workers decode by ``input_spec``, the runner stacks, the model computes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from app.input_spec import InputSpec


@dataclass(frozen=True)
class Weights:
    """Where a model's weights come from.

    Args:
        content: bytes of the file that the supervisor holds open, or None if there is none.
        filename: its name, which says the format (.pth, .safetensors, .pt2 or .pt).
        choice: the WEIGHTS setting: an entry of a torchvision weights enum, or ``random``.
        beside: bytes of the file beside it (app.files.beside), or None if there is none.
    """

    content: bytes | None
    filename: str
    choice: str
    beside: bytes | None = None


@dataclass(frozen=True)
class Query:
    """What the client asked about one image.

    Args:
        width, height: of the image as posted, upright; the model may have got it smaller.
        options: a value for each of ``input_spec.options``.
    """

    width: int
    height: int
    options: Mapping[str, Any]


class Model(Protocol):
    """What the engine serves.

    A model may also have ``probe(batch)``: what the deep check compares instead of what
    ``predict`` returns, where the number of its outputs depends on the image.

    Attributes:
        name: as shown to clients.
        input_spec: how HTTP workers decode, which parameters and routes there are; may depend on
            the choice of weights, set by ``load``.
        version: 12 hex digits of the SHA-256 of what decides an answer, or ``random-SEED``; set by
                ``load``.
    """

    name: str
    input_spec: InputSpec
    version: str

    @property
    def result_key(self) -> str | None:
        """The member of the answer that holds the results, such as ``predictions``.

        None where a result is an object and the answer itself.
        """

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network on the device and fill it.

        Raises:
            app.models.weights.WeightsError: the file is not usable; the sentence says why.
        """

    def predict(self, batch: Any) -> Any:
        """Run a batch on the device; called in inference_mode.

        Args:
            batch: a uint8 tensor of shape (N, C, H, W), or for ``batch="list"`` a list of N
                tensors of shape (C, H, W).
        """

    def postprocess(self, outputs: Any, queries: Sequence[Query]) -> Sequence[Any]:
        """Return one JSON value per image, in order.

        For an image that cannot be answered as asked, it is an ``app.errors.ClientError``, such as
        ``InvalidParameter(words, parameter=name)``.

        Args:
            outputs: what ``predict`` returned.
            queries: one per image.

        Raises:
            app.errors.ClientError: the same; then each half of the batch runs again, until it is
                known of which image it was said.
        """
