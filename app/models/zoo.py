"""torchvision's models by name: their networks, filled from a file, its own weights or at random.

Runs in the engine process; each family of models builds on it.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models import WeightsEnum

from app.models import networks
from app.models.interface import Weights
from app.models.labels import parse
from app.models.registry import WrongSetting
from app.models.weights import WeightsError, fill, load_state_dict, version_of

SEED = 0


@dataclass(frozen=True)
class Loaded:
    """A network that is ready to compute, on the CPU.

    Args:
        network: filled, and in eval mode.
        version: 12 hex digits of the weights' SHA-256, or ``random-SEED``.
        entry: of torchvision's weights enum, whose preset counts.
        labels: of its classes.
    """

    network: nn.Module
    version: str
    entry: WeightsEnum
    labels: list[str]


class Normalize:
    """Pixels of 0..255 to what a network takes, in torchvision's own steps.

    One step fewer would round otherwise, and deep networks make much of the last bit.

    Args:
        preset: of the weights, with ``mean`` and ``std``.
        device: where the batches are.
    """

    def __init__(self, preset: Any, device: torch.device) -> None:
        self._mean, self._std = (
            torch.tensor(values, device=device).view(3, 1, 1)
            for values in (preset.mean, preset.std)
        )

    def __call__(self, batch: Tensor) -> Tensor:
        """Return uint8 images of shape (N, 3, H, W) as floats."""
        return batch.float().div_(255).sub_(self._mean).div_(self._std)


def default_entry(name: str) -> WeightsEnum:
    """Return the entry whose preset and labels count where no other is chosen."""
    entries: Any = zoo.get_model_weights(name)
    entry: WeightsEnum = entries.DEFAULT
    return entry


def load(name: str, weights: Weights, **arguments: Any) -> Loaded:
    """Return the network that torchvision lists under a name.

    Args:
        name: as ``torchvision.models.list_models()`` lists it.
        weights: where its weights come from.
        arguments: for torchvision's builder, where it builds without weights of its own.

    Raises:
        WeightsError: no download, or a file that does not fit.
        WrongSetting: WEIGHTS names no entry, or goes not with MODEL_PATH.
    """
    if weights.content is None and weights.choice != "random":
        loaded = _from_torchvision(name, weights.choice, arguments)
    else:
        loaded = _from_file(name, weights, arguments)
    loaded.network.eval().requires_grad_(False)
    return loaded


def _from_file(name: str, weights: Weights, arguments: dict[str, Any]) -> Loaded:
    default = default_entry(name)
    entry = default if weights.content is None else _chosen(name, weights.choice)
    labels: list[str] = entry.meta["categories"]
    if weights.beside is not None:
        labels = parse(weights.beside)
        arguments = {**arguments, "num_classes": len(labels)}
    torch.manual_seed(SEED)
    if weights.content is None:
        network = networks.build(name, entry, **arguments)
        return Loaded(network, f"random-{SEED}", entry, labels)
    state = networks.answering(load_state_dict(weights.content, weights.filename))
    network = networks.build(name, entry, state, **arguments)
    classes = _other_classes(network, state, len(labels))
    if classes and weights.beside is not None:
        raise WeightsError(
            f"labels.txt has {len(labels)} lines and {weights.filename} has {classes} classes"
        )
    if classes:
        raise WeightsError(
            f"{weights.filename} has {classes} classes and torchvision's {name} has {len(labels)}; "
            f"a labels.txt beside it, with the name of one class a line, says what they are"
        )
    fill(network, state, weights.filename, f"MODEL=torchvision/{name}")
    choice = None if entry == default else entry.name.encode()
    return Loaded(network, version_of(weights.content, weights.beside, choice), entry, labels)


def _chosen(name: str, choice: str) -> WeightsEnum:
    entries: Any = zoo.get_model_weights(name)
    known = ", ".join(dict.fromkeys([*entries.__members__, "DEFAULT"]))
    if choice == "random":
        raise WrongSetting(
            f"WEIGHTS=random: MODEL_PATH is set, whose weights are {name}'s; beside it go {known}"
        )
    if choice not in entries.__members__:
        raise WrongSetting(f"WEIGHTS={choice}: {name} has {known} and random")
    entry: WeightsEnum = entries[choice]
    return entry


def _other_classes(network: nn.Module, state: Mapping[str, Tensor], classes: int) -> int | None:
    """Return how many classes a state dict is for, where that is all that does not fit."""
    for name, wanted in network.state_dict().items():
        had = state.get(name)
        if had is None or had.shape == wanted.shape or not had.dim():
            continue
        if len(wanted) == classes and had.shape[1:] == wanted.shape[1:]:
            return len(had)
    return None


def _from_torchvision(name: str, choice: str, arguments: dict[str, Any]) -> Loaded:
    entry: Any = _chosen(name, choice)
    try:
        # A progress bar belongs on a terminal; in a log it would be noise.
        network = zoo.get_model(name, weights=entry, progress=sys.stderr.isatty(), **arguments)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(f"could not get {entry.url}: {error}") from error
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(entry.url).name)
    return Loaded(network, version_of(cached.read_bytes()), entry, entry.meta["categories"])
