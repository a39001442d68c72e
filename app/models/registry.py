"""From the MODEL setting to a model. Imports no torch itself, so the supervisor may ask it too."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.models.interface import Model

_WEIGHTS = Path(__file__).parent / "weights"
_MODULES = {
    "mnist": "app.models.mnist:Mnist",
    "torchvision": "app.models.families:create",
    "exported": "app.models.exported:Exported",
}
_OWN = "app.models.own:OwnModel"
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


def source_path(model: str) -> Path | None:
    """Return the file that a user's own class is written in, where MODEL names one."""
    place = model.rpartition(":")[0]
    return Path(place) if place.endswith(".py") else None


def preload(name: str) -> None:
    """Import what a model of ours needs, before the fork; a user's module is left to the engine."""
    importlib.import_module(_place(name)[0].partition(":")[0])


def create(name: str, source: bytes | None = None) -> "Model":
    """Return the model that MODEL names, not yet loaded.

    Args:
        name: ``mnist``, ``torchvision/NAME``, ``exported``, ``path/to/file.py:Class`` or
            ``package.module:Class``.
        source: the content of that file, where it is held; else it is read.

    Raises:
        WrongSetting: there is none, or it cannot be served; the sentence says why.
    """
    place, arguments = _place(name)
    if source is not None:
        arguments = [*arguments, source]
    module_name, _, class_name = place.partition(":")
    model: Model = getattr(importlib.import_module(module_name), class_name)(*arguments)
    return model


def _place(name: str) -> tuple[str, list[Any]]:
    """Return where the model's class is, and what it is constructed with."""
    if ":" in name:
        return _OWN, [name]
    family, _, member = name.partition("/")
    return _MODULES[family], [member] if member else []
