"""torchvision's models by name: their networks, filled from a file, its own weights or at random.

Runs in the engine process; each family of models builds on it.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision import models as zoo
from torchvision.models import WeightsEnum

from app.models.interface import Weights
from app.models.registry import WrongSetting
from app.models.weights import WeightsError, fill, load_state_dict, version_of

SEED = 0


@dataclass(frozen=True)
class Loaded:
    """A network that is ready to compute, on the CPU.

    Args:
        network: filled, and in eval mode.
        version: 12 hex digits of the weights' SHA-256, or ``random-SEED``.
        entry: of torchvision's weights enum, whose preset and labels count.
    """

    network: nn.Module
    version: str
    entry: WeightsEnum


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
        WrongSetting: WEIGHTS names no entry.
    """
    if weights.content is None and weights.choice != "random":
        loaded = _from_torchvision(name, weights.choice, arguments)
    else:
        torch.manual_seed(SEED)
        network = zoo.get_model(name, weights=None, **arguments)
        version = f"random-{SEED}"
        if weights.content is not None:
            fill(network, load_state_dict(weights.content, weights.filename), weights.filename)
            version = version_of(weights.content)
        loaded = Loaded(network, version, default_entry(name))
    loaded.network.eval().requires_grad_(False)
    return loaded


def _from_torchvision(name: str, choice: str, arguments: dict[str, Any]) -> Loaded:
    entries: Any = zoo.get_model_weights(name)
    if choice not in entries.__members__:
        known = ", ".join(dict.fromkeys([*entries.__members__, "DEFAULT"]))
        raise WrongSetting(f"WEIGHTS={choice}: {name} has {known} and random")
    entry = entries[choice]
    try:
        # A progress bar belongs on a terminal; in a log it would be noise.
        network = zoo.get_model(name, weights=entry, progress=sys.stderr.isatty(), **arguments)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(f"could not get {entry.url}: {error}") from error
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(entry.url).name)
    return Loaded(network, version_of(cached.read_bytes()), entry)
