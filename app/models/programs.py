"""Files that bring their own network: torch.export's ``.pt2`` and TorchScript's ``.pt``.

Runs in the engine process. Such a file is a program in PyTorch's operators; ``archives`` keeps
from PyTorch's loaders whatever else they would run, and no pickle of more than tensors is read.
"""

import contextlib
import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import passes

from app.models import archives
from app.models.weights import CONVERT, WeightsError, damaged

EXPORT = "torch.export.save(torch.export.export(model, (images,)), 'model.pt2')"
_ONLY_TENSORS = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}


@dataclass(frozen=True)
class Program:
    """A program on its device.

    Args:
        call: float images of shape (N, C, H, W) in, whatever it returns out.
        shape: of its input; None for what may vary.
        least, most: images at one time; None for no bound.
        dtype: of its input.
    """

    call: Callable[[Tensor], Any]
    shape: tuple[int | None, ...] = (None,) * 4
    least: int = 1
    most: int | None = None
    dtype: torch.dtype = torch.float32


def load(content: bytes, filename: str, device: torch.device) -> Program:
    """Return the program in a file.

    Args:
        content: bytes of the whole file.
        filename: ``*.pt2`` or ``*.pt``.
        device: where it is to compute.

    Raises:
        WeightsError: it is damaged, no program, or holds more than one.
    """
    check_kind(content, filename)
    return (_exported if filename.endswith(".pt2") else _torchscript)(content, filename, device)


def check_kind(content: bytes, filename: str) -> None:
    """Refuse a ``.pt`` that is no program at all.

    Raises:
        WeightsError: says what such a file goes with.
    """
    if not filename.endswith(".pt2") and not _has_torchscript(content):
        raise WeightsError(
            f"{filename} is no TorchScript program; a state dict goes with the MODEL that it fills,"
            f" and a pickle, which is not run, is converted with {EXPORT}, or {CONVERT}"
        )


def _exported(content: bytes, filename: str, device: torch.device) -> Program:
    archive = archives.exported(content, filename)
    try:
        with _environment(_ONLY_TENSORS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of buffers that nobody else has
            program = torch.export.load(io.BytesIO(archive))
        program = passes.move_to_device_pass(program, str(device))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{filename} holds a pickle of more than tensors, which is not run; save it where you "
            f"trust it with {EXPORT}"
        ) from error
    except Exception as error:
        otherwise = f", or was exported by a PyTorch too far from {torch.__version__}"
        raise WeightsError(damaged(filename, error, otherwise)) from error
    names = program.graph_signature.user_inputs
    inputs = [node.meta.get("val") for node in program.graph.nodes if node.name in names]
    if len(names) != 1 or not isinstance(inputs[0], Tensor):
        raise WeightsError(f"{filename} takes {len(names)} inputs; one tensor of images is wanted")
    if inputs[0].dim() != 4 or not inputs[0].is_floating_point():
        raise WeightsError(
            f"{filename} takes a {inputs[0].dtype} of {inputs[0].dim()} dimensions; "
            "numbers of shape (images, channels, height, width) are wanted"
        )
    shape = tuple(side if isinstance(side, int) else None for side in inputs[0].shape)
    least, most = _bounds(program, inputs[0].shape[0])
    # Its guards are Python in text: the shape is checked by us instead.
    return Program(program.module(check_guards=False), shape, least, most, inputs[0].dtype)


def _bounds(program: torch.export.ExportedProgram, images: Any) -> tuple[int, int | None]:
    if isinstance(images, int):
        return images, images
    bounds = program.range_constraints.get(images.node.expr)
    if bounds is None:
        return 1, None
    least, most = (int(b) if b.is_Integer else None for b in (bounds.lower, bounds.upper))
    return max(1, least or 1), most


def _torchscript(content: bytes, filename: str, device: torch.device) -> Program:
    archive = archives.torchscript(content, filename)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is deprecated; whoever has such a file knows
            # On a GPU each new batch size would be compiled anew, while its requests wait.
            torch.jit.set_fusion_strategy([("DYNAMIC", 1)])
            module: nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(archive), map_location=device
            )
    except Exception as error:
        raise WeightsError(damaged(filename, error)) from error
    return Program(module.eval())


def _has_torchscript(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


@contextlib.contextmanager
def _environment(variables: dict[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
