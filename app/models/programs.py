"""Files that bring their own network: torch.export's ``.pt2`` and TorchScript's ``.pt``.

Runs in the engine process. Such a file is a program in PyTorch's operators. PyTorch's own loader
of ``.pt2`` would also unpickle whatever it finds, evaluate texts as Python and look up any name in
``torch``: all three are kept from it here.
"""

import contextlib
import io
import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import passes

from app.models.weights import CONVERT, WeightsError, damaged

EXPORT = "torch.export.save(torch.export.export(model, (images,)), 'model.pt2')"
_ONLY_TENSORS = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}
# Sizes such as `Mul(Integer(2), Symbol('s77', positive=True))` or `2*s77`: sympy would evaluate
# anything else as Python.
_SIZE = re.compile(
    r"(?:Symbol\('[a-z]+\d+'|[a-z]+=(?:True|False)|[a-z]+\d+|[A-Z][A-Za-z]*|\d+(?:\.\d+)?"
    r"|[\s+\-*/(),<>=!&|~%])*"
)
_ARITHMETIC = (
    "abs add and_ eq floordiv ge getitem gt index le lshift lt mod mul ne neg not_ or_ pos pow "
    "rshift sub truediv xor"
)
_OPERATOR = re.compile(
    r"torch\.ops\.[a-z]\w*\.(?!__)\w+(\.[a-z]\w*)?|torch\.sym_\w+|math\.[a-z]\w*|"
    rf"_operator\.({'|'.join(_ARITHMETIC.split())})"
)


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
    return (_exported if filename.endswith(".pt2") else _torchscript)(content, filename, device)


def _exported(content: bytes, filename: str, device: torch.device) -> Program:
    _refuse_python(content, filename)
    try:
        with _environment(_ONLY_TENSORS):
            program = torch.export.load(io.BytesIO(content))
        program = passes.move_to_device_pass(program, str(device))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{filename} holds a pickle of more than tensors, which is not run; save it where you "
            f"trust it with {EXPORT}"
        ) from error
    except Exception as error:
        raise WeightsError(damaged(filename, error)) from error
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


def _refuse_python(content: bytes, filename: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if len(names) != len(set(names)):
                raise ValueError("two parts have one name")  # PyTorch might read the other one
            parts = [json.loads(archive.read(name)) for name in names if name.endswith(".json")]
    except Exception as error:
        raise WeightsError(damaged(filename, error)) from error
    for part in parts:
        for found in _python_in(part):
            raise WeightsError(
                f"{filename} asks for {found[:80]!r}, which is no operator of PyTorch and no size, "
                "and is not run"
            )


def _python_in(value: Any) -> Iterator[str]:
    """Yield the texts that the loader would take for Python or for any name in ``torch``."""
    if isinstance(value, dict):
        size, target = value.get("expr_str", ""), value.get("target", "")
        if not (isinstance(size, str) and _SIZE.fullmatch(size)):
            yield str(size)
        calls = "inputs" in value and "target" in value
        if calls and not (isinstance(target, str) and _OPERATOR.fullmatch(target)):
            yield str(target)
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from _python_in(inner)


def _torchscript(content: bytes, filename: str, device: torch.device) -> Program:
    if not _has_torchscript(content):
        raise WeightsError(
            f"{filename} is no TorchScript program; a state dict goes with the MODEL that it fills,"
            f" and a pickle, which is not run, is converted with {EXPORT}, or {CONVERT}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is deprecated; whoever has such a file knows
            module: nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(content), map_location=device
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
