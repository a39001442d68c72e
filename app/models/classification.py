"""torchvision's classification models with the preset transforms of their weights."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models import WeightsEnum

from app.input_spec import InputSpec
from app.models.interface import Query, Weights
from app.models.ranking import likeliest, top_k
from app.models.registry import UnknownModel, WrongSetting
from app.models.weights import WeightsError, fill, load_state_dict, version_of

SEED = 0


class TorchvisionClassifier:
    """``MODEL=torchvision/NAME``.

    Args:
        name: as ``torchvision.models.list_models()`` lists it.

    Raises:
        UnknownModel: torchvision has no such model, or it is none that classifies images.
    """

    result_key = "predictions"

    def __init__(self, name: str) -> None:
        if name not in zoo.list_models(module=zoo):
            raise UnknownModel(
                f"MODEL=torchvision/{name}: torchvision has no classification model of that name"
            )
        self.name = name
        self.version = ""
        self._entries: Any = zoo.get_model_weights(name)
        self._use_preset(self._entries.DEFAULT)
        self._network: nn.Module | None = None

    def _use_preset(self, entry: WeightsEnum) -> None:
        preset = entry.transforms()
        self.labels: list[str] = entry.meta["categories"]
        self.input_spec = InputSpec(
            mode="RGB",
            resize=preset.resize_size[0],
            crop=(preset.crop_size[0], preset.crop_size[0]),
            interpolation=preset.interpolation.value,
            options=(top_k(self.labels),),
        )
        self._mean, self._std = preset.mean, preset.std

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network, fill it and move it to the device.

        Raises:
            WeightsError: no download, or a file that does not fit.
            WrongSetting: no such entry.
        """
        if weights.content is not None:
            network = zoo.get_model(self.name, weights=None)
            fill(network, load_state_dict(weights.content, weights.filename), weights.filename)
            self.version = version_of(weights.content)
        elif weights.choice == "random":
            torch.manual_seed(SEED)
            network = zoo.get_model(self.name, weights=None)
            self.version = f"random-{SEED}"
        else:
            network = self._from_torchvision(weights.choice)
        network.eval().requires_grad_(False)
        self._network = network.to(device=device, memory_format=torch.channels_last)
        # Normalising pixels of 0..255 in one step: (x / 255 - mean) / std.
        self._shift = 255 * torch.tensor(self._mean, device=device).view(3, 1, 1)
        self._scale = 1 / (255 * torch.tensor(self._std, device=device).view(3, 1, 1))

    def _from_torchvision(self, choice: str) -> nn.Module:
        if choice not in self._entries.__members__:
            known = ", ".join(dict.fromkeys([*self._entries.__members__, "DEFAULT"]))
            raise WrongSetting(f"WEIGHTS={choice}: {self.name} has {known} and random")
        entry = self._entries[choice]
        self._use_preset(entry)
        try:
            # A progress bar belongs on a terminal; in a log it would be noise.
            network: nn.Module = zoo.get_model(
                self.name, weights=entry, progress=sys.stderr.isatty()
            )
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(f"could not get {entry.url}: {error}") from error
        cached = Path(torch.hub.get_dir(), "checkpoints", Path(entry.url).name)
        self.version = version_of(cached.read_bytes())
        return network

    def predict(self, batch: Tensor) -> Tensor:
        """Return the classes' probabilities for uint8 images of shape (N, 3, H, W)."""
        if self._network is None:
            raise RuntimeError("predict before load")
        pixels = batch.float().sub_(self._shift).mul_(self._scale)
        return torch.softmax(self._network(pixels).float(), dim=1)

    def postprocess(
        self, outputs: Tensor, queries: Sequence[Query]
    ) -> Sequence[list[dict[str, object]]]:
        """Return the ``top_k`` likeliest classes of each image, the likeliest first."""
        return likeliest(outputs, self.labels, queries)
