"""Weights files in, tensors in a module out; every failure is one sentence for the operator.

Runs in the engine process while a model loads. Only tensors are read: a pickle that wants to
run code is refused.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model")
_NAMES_SHOWN = 3
_CAUSE_LENGTH = 160
CONVERT = (
    "load it where you trust it and save tensors only: "
    "torch.save(model.state_dict(), 'weights.pth')"
)


class WeightsError(Exception):
    """The weights file is not usable; the message is one sentence that says why."""


def version_of(content: bytes, *others: bytes | None) -> str:
    """Return 12 hex digits that name what decides an answer.

    Args:
        content: bytes of the weights file; alone, the version is the start of its SHA-256.
        others: what counts as well, each in its place; None where there is none.
    """
    digest = hashlib.sha256(content)
    if any(other is not None for other in others):
        parts = (None if other is None else hashlib.sha256(other).hexdigest() for other in others)
        digest = hashlib.sha256(" ".join([digest.hexdigest(), *map(str, parts)]).encode())
    return digest.hexdigest()[:12]


def load_state_dict(content: bytes, filename: str) -> dict[str, Tensor]:
    """Return the tensors of a weights file, on the CPU, in the file's own types.

    Args:
        content: bytes of the whole file.
        filename: its name; ``.safetensors``, ``.pth`` or ``.pt`` says the format.

    Raises:
        WeightsError: the format is not known, the file is damaged, or it holds more than tensors.
    """
    if filename.endswith(".safetensors"):
        return _load_safetensors(content, filename)
    if filename.endswith((".pth", ".pt")):
        return _load_pth(content, filename)
    raise WeightsError(
        f"{filename}: a state dict is named *.safetensors, *.pth or *.pt; a program is served by "
        "MODEL=exported"
    )


def fill(
    module: nn.Module, state: Mapping[str, Tensor], filename: str, model: str = "the model"
) -> None:
    """Copy the tensors into the module; names and shapes must be exactly the module's.

    Args:
        module: network to fill, on any device; its own types are kept.
        state: what ``load_state_dict`` returned.
        filename: for the message.
        model: for the message, as whoever set it would know it.

    Raises:
        WeightsError: tensors are missing, left over or of another shape.
    """
    wanted = module.state_dict()
    # Batch counters matter to training only, and many converters drop them.
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in wanted]
    misshapen = [
        f"{k} is {tuple(state[k].shape)} instead of {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in state and state[k].shape != v.shape
    ]
    problems = [
        f"{len(names)} {label} ({_first(names)})"
        for names, label in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (misshapen, "of another shape"),
        )
        if names
    ]
    if problems:
        raise WeightsError(f"{filename} does not fit {model}: tensors {', '.join(problems)}")
    wanted.update(state)  # into the module's own, which also says its version
    module.load_state_dict(wanted)


def _load_safetensors(content: bytes, filename: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    # KeyError: a type that torch has no name for.
    except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise WeightsError(damaged(filename, error)) from error


def _load_pth(content: bytes, filename: str) -> dict[str, Tensor]:
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except RuntimeError as error:
        if "TorchScript" not in str(error):
            raise WeightsError(damaged(filename, error)) from error
        raise WeightsError(
            f"{filename} is a TorchScript program, no state dict; MODEL=exported serves it"
        ) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(_refused(filename, error)) from error
    # Damaged archives surface as almost any error of the zip reader or the unpickler.
    except Exception as error:
        raise WeightsError(damaged(filename, error)) from error
    return _tensors_of(_unwrap(loaded), filename)


def _unwrap(loaded: Any) -> Any:
    """Return the state dict inside a training checkpoint, or the object itself."""
    if isinstance(loaded, dict):
        for key in _WRAPPERS:
            if isinstance(loaded.get(key), dict):
                return loaded[key]
    return loaded


def _tensors_of(loaded: Any, filename: str) -> dict[str, Tensor]:
    if not isinstance(loaded, dict):
        raise WeightsError(
            f"{filename} holds a {type(loaded).__name__} instead of a state dict; {CONVERT}"
        )
    others = [str(k) for k, v in loaded.items() if not (isinstance(k, str) and _is_tensor(v))]
    if others:
        raise WeightsError(
            f"{filename} holds {len(others)} entries that are no tensors "
            f"({_first(others)}); {CONVERT}"
        )
    return dict(loaded)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _refused(filename: str, error: Exception) -> str:
    # PyTorch words a refused class or function this way; other texts mean damaged bytes.
    if "GLOBAL" in str(error):
        return f"{filename} is a pickle that holds more than tensors, which is not run; {CONVERT}"
    return damaged(filename, error)


def damaged(filename: str, error: Exception, otherwise: str = "") -> str:
    """Return the sentence for a file whose bytes are not what they should be.

    Args:
        filename: the file.
        error: what its reader raised.
        otherwise: what else it may be, such as ``, or too new``.
    """
    return f"{filename} is truncated or damaged{otherwise}: {_cause(error)}"


def _cause(error: Exception) -> str:
    """Return the first line of an error's text, cut to a length that a log line can bear."""
    if isinstance(error, EOFError):  # torch.load's has no text
        return "it ends too early"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if len(lines[0]) > _CAUSE_LENGTH:
        return lines[0][:_CAUSE_LENGTH] + "…"
    return lines[0].rstrip(". ")


def _first(names: list[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
