"""What a model returned: as JSON for the wire, as numbers for the deep check."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

import torch

from app import errors

MOST_NUMBERS = 4096  # of a tensor with more, every so-many-th counts

# Of one image: its JSON, or why it cannot be answered as asked.
Result = bytes | errors.ClientError
Numbers = list[list[float]]


def to_result(result: object) -> Result:
    """Return what a worker gets for one image.

    Raises:
        app.errors.ModelError: it is not JSON.
    """
    if isinstance(result, errors.ClientError):
        check_portable(result)
        return result
    return _to_json(result)


def check_portable(error: errors.ServingError) -> None:
    """Make sure that an error which a model raised or returned can travel.

    Raises:
        app.errors.ModelError: what it says is not JSON.
    """
    _to_json([error.message, error.details])  # both travel to the client


def _to_json(result: object) -> bytes:
    try:
        return json.dumps(result, allow_nan=False, default=_refuse).encode()
    except TypeError:
        words = "a member's name is no text"
    except ValueError as error:
        words = "a number is not finite" if "range" in str(error) else "it contains itself"
    except RecursionError:
        words = "it is nested too deeply"
    raise errors.ModelError(f"the model's result is not JSON: {words}")


def _refuse(value: object) -> NoReturn:
    raise errors.ModelError(f"the model's result is not JSON: it holds a {type(value).__name__}")


def _tensors(outputs: Any) -> Iterator[torch.Tensor]:
    """Yield every tensor in a model's outputs, whatever holds them."""
    if isinstance(outputs, torch.Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        for value in outputs.values():
            yield from _tensors(value)
    elif isinstance(outputs, list | tuple):
        for value in outputs:
            yield from _tensors(value)


def is_finite(outputs: Any) -> bool:
    """Return whether every number in a model's outputs is finite."""
    floats = (tensor for tensor in _tensors(outputs) if tensor.is_floating_point())
    return all(bool(tensor.isfinite().all()) for tensor in floats)


def numbers(outputs: Any) -> Numbers:
    """Return the numbers in a model's outputs, a list for each tensor; of many, a fixed choice."""
    if isinstance(outputs, torch.Tensor):
        flat = outputs.detach().flatten()
        return [flat[:: 1 + len(flat) // MOST_NUMBERS].float().tolist()]
    if isinstance(outputs, dict):
        return [each for value in outputs.values() for each in numbers(value)]
    if isinstance(outputs, list | tuple):
        return [each for value in outputs for each in numbers(value)]
    return [[float(outputs)]] if isinstance(outputs, int | float) else []
