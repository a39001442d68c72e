"""From the MODEL setting to a model. Imports no torch itself, so the supervisor may ask it too."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.models.interface import Model

_WEIGHTS = Path(__file__).parent / "weights"
_MODULES = {
    "mnist": "app.models.mnist:Mnist",
    "torchvision": "app.models.families:create",
}
_BUNDLED = {"mnist": _WEIGHTS / "mnist.safetensors"}


class WrongSetting(Exception):
    """A variable's value can never work here; the sentence names it. It stops the start."""


class UnknownModel(WrongSetting):
    """MODEL names nothing that can be served."""


def weights_path(model: str, model_path: str | None) -> Path | None:
    """Return the weights file to open: MODEL_PATH, or the one that comes with the model.

    None where the model brings its own, as torchvision's do from its cache.
    """
    return Path(model_path) if model_path else _BUNDLED.get(model)


def preload(name: str) -> None:
    """Import what a model of ours needs, before the fork; a user's module is left to the engine."""
    family = name.partition("/")[0]
    if family in _MODULES:
        importlib.import_module(_MODULES[family].partition(":")[0])


def create(name: str) -> "Model":
    """Return the model that MODEL names, not yet loaded.

    Args:
        name: ``mnist``, ``torchvision/NAME`` or ``package.module:Class``.

    Raises:
        UnknownModel: there is none; the sentence says why.
    """
    family, _, member = name.partition("/")
    if family in _MODULES:
        return _construct(_MODULES[family], *([member] if member else []))
    return _construct(name)


def _construct(path: str, *arguments: str) -> "Model":
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise UnknownModel(f"MODEL={path}: {error}") from error
    model: Model = found(*arguments)
    return model
