"""torchvision's classification models with the preset transforms of their weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from app.input_spec import InputSpec, Option
from app.models import zoo
from app.models.interface import Query, Weights
from app.models.registry import WrongSetting

TOP = 5


class TorchvisionClassifier:
    """A classifier of ``torchvision.models``.

    Args:
        name: as ``torchvision.models.list_models()`` lists it.
    """

    result_key = "predictions"

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = ""
        self._use_preset(zoo.default_entry(name))
        self._network: nn.Module | None = None

    def _use_preset(self, entry: WeightsEnum) -> None:
        preset = entry.transforms()
        self.labels: list[str] = entry.meta["categories"]
        self.input_spec = InputSpec(
            mode="RGB",
            resize=preset.resize_size[0],
            crop=(preset.crop_size[0], preset.crop_size[0]),
            interpolation=preset.interpolation.value,
            options=(Option("top_k", "integer", TOP, low=1, high=len(self.labels)),),
        )
        self._mean, self._std = preset.mean, preset.std

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
        self._use_preset(loaded.entry)
        self._network = loaded.network.to(memory_format=torch.channels_last).to(device)
        # Normalising pixels of 0..255 in one step: (x / 255 - mean) / std.
        self._shift = 255 * torch.tensor(self._mean, device=device).view(3, 1, 1)
        self._scale = 1 / (255 * torch.tensor(self._std, device=device).view(3, 1, 1))

    def normalise(self, batch: Tensor) -> Tensor:
        """Return uint8 images as the network takes them."""
        return batch.float().sub_(self._shift).mul_(self._scale)

    def predict(self, batch: Tensor) -> Tensor:
        """Return the classes' probabilities for uint8 images of shape (N, 3, H, W)."""
        if self._network is None:
            raise RuntimeError("predict before load")
        return torch.softmax(self._network(self.normalise(batch)).float(), dim=1)

    def postprocess(
        self, outputs: Tensor, queries: Sequence[Query]
    ) -> Sequence[list[dict[str, object]]]:
        """Return the ``top_k`` likeliest classes of each image, the likeliest first."""
        wanted = [query.options["top_k"] for query in queries]
        scores, classes = outputs.topk(max(wanted))
        return [
            [
                {"class_id": c, "label": self.labels[c], "score": round(s, 6)}
                for c, s in zip(ids[:k], values[:k], strict=True)
            ]
            for ids, values, k in zip(classes.tolist(), scores.tolist(), wanted, strict=True)
        ]


class QuantizedClassifier(TorchvisionClassifier):
    """A classifier of ``torchvision.models.quantization``: 8-bit arithmetic, on a CPU."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network and fill it.

        Raises:
            WeightsError: no download, or a file that does not fit.
            WrongSetting: no such entry, no CPU, or one that PyTorch has no such arithmetic for.
        """
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

    def normalise(self, batch: Tensor) -> Tensor:
        """Return uint8 images as the network takes them.

        In torchvision's own steps: another rounding would make other 8-bit numbers.
        """
        pixels = batch.float().div_(255)
        mean, std = (pixels.new_tensor(each).view(3, 1, 1) for each in (self._mean, self._std))
        return pixels.sub_(mean).div_(std)
