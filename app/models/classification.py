"""torchvision's classification models with the preset transforms of their weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from app.input_spec import InputSpec
from app.models import zoo
from app.models.interface import Query, Weights
from app.models.ranking import likeliest, top_k
from app.models.registry import WrongSetting


class TorchvisionClassifier:
    """A classifier of ``torchvision.models``.

    Args:
        name: as ``torchvision.models.list_models()`` lists it.
    """

    result_key = "predictions"

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = ""
        entry = zoo.default_entry(name)
        self._use_preset(entry, entry.meta["categories"])
        self._network: nn.Module | None = None

    def _use_preset(self, entry: WeightsEnum, labels: list[str]) -> None:
        preset = entry.transforms()
        self.labels = labels
        self.input_spec = InputSpec(
            mode="RGB",
            resize=preset.resize_size[0],
            crop=(preset.crop_size[0], preset.crop_size[0]),
            interpolation=preset.interpolation.value,
            options=(top_k(self.labels),),
        )

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network, fill it and move it to the device.

        Raises:
            WeightsError: no download, or a file that does not fit.
            WrongSetting: no such entry.
        """
        self._load(device, weights)

    def _load(self, device: torch.device, weights: Weights, **arguments: Any) -> None:
        loaded = zoo.load(self.name, weights, **arguments)
        self.version = loaded.version
        self._use_preset(loaded.entry, loaded.labels)
        self._network = loaded.network.to(memory_format=torch.channels_last).to(device)
        self._normalize = zoo.Normalize(loaded.entry.transforms(), device)

    def predict(self, batch: Tensor) -> Tensor:
        """Return the classes' probabilities for uint8 images of shape (N, 3, H, W)."""
        if self._network is None:
            raise RuntimeError("predict before load")
        return torch.softmax(self._network(self._normalize(batch)).float(), dim=1)

    def postprocess(
        self, outputs: Tensor, queries: Sequence[Query]
    ) -> Sequence[list[dict[str, object]]]:
        """Return the ``top_k`` likeliest classes of each image, the likeliest first."""
        return likeliest(outputs, self.labels, queries)


class QuantizedClassifier(TorchvisionClassifier):
    """A classifier of ``torchvision.models.quantization``: 8-bit arithmetic, on a CPU."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network and fill it.

        Raises:
            WeightsError: no download.
            WrongSetting: no such entry, a file, no CPU, or one that PyTorch has no such
                arithmetic for.
        """
        if weights.content is not None:
            raise WrongSetting(
                f"MODEL=torchvision/{self.name} has weights of 8 bits with their scales, which are "
                "no plain tensors and come from no MODEL_PATH; unset it, or export such a network "
                "of your own and serve it with MODEL=exported"
            )
        if device.type != "cpu":
            raise WrongSetting(f"MODEL=torchvision/{self.name} computes on CPUs alone: DEVICE=cpu")
        backend: str = zoo.default_entry(self.name).meta["backend"]
        if backend not in torch.backends.quantized.supported_engines:
            raise WrongSetting(
                f"MODEL=torchvision/{self.name} needs PyTorch's {backend}, "
                "which this machine's processor has not"
            )
        torch.backends.quantized.engine = backend
        self._load(device, weights, quantize=True)
