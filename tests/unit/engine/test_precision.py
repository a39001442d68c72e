"""Half precision is taken where it says the same and comes sooner, and nowhere else."""

import pytest
import torch

from app import errors
from app.engine import precision, runner
from app.engine.runner import Runner
from app.models.interface import Weights
from tests.stubs.models import Echo


class Model:
    """A runner whose answers and times are told."""

    def __init__(self, half: str | None = "float16") -> None:
        self.precision, self.half = "float32", half
        self.outputs = {"float32": [0.1, 0.9], "float16": [0.1001, 0.8999]}
        self.seconds = {"float32": 1.0, "float16": 0.5}
        self.alone = {"float32": 0.1, "float16": 0.1}
        self.error: errors.ServingError | None = None

    def golden(self, seed: int) -> tuple[list[list[float]], float]:
        """Answer."""
        if self.error and self.precision == self.half:
            raise self.error
        values = [value + seed for value in self.outputs[self.precision]]
        return [values], self.alone[self.precision]

    def full_batch_seconds(self) -> float:
        """Say how long it takes."""
        return self.seconds[self.precision]


def test_it_is_taken_where_it_says_the_same_and_comes_sooner() -> None:
    model = Model()
    precision.choose(model)
    assert model.precision == "float16"


def test_one_that_says_something_else_is_not_taken() -> None:
    model = Model()
    model.outputs["float16"] = [0.9, 0.1]
    precision.choose(model)
    assert model.precision == "float32"


def test_one_that_is_hardly_sooner_is_not_taken() -> None:
    model = Model()
    model.seconds["float16"] = 0.97
    precision.choose(model)
    assert model.precision == "float32"


def test_one_that_is_slower_for_a_single_image_is_not_taken() -> None:
    model = Model()
    model.alone["float16"] = 0.13
    precision.choose(model)
    assert model.precision == "float32"


def test_one_that_fails_is_not_taken() -> None:
    model = Model()
    model.error = errors.ModelError("the model raised RuntimeError")
    precision.choose(model)
    assert model.precision == "float32"


def test_a_device_without_it_is_not_tried() -> None:
    model = Model(half=None)
    model.golden = model.full_batch_seconds = None  # type: ignore[assignment]
    precision.choose(model)
    assert model.precision == "float32"


class Multiplies(Echo):
    """Says in which type its one product was computed."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        pixels = batch[:, :, 0, 0].float()
        self.computed = (pixels @ torch.eye(3)).dtype
        return pixels @ torch.eye(3)


def test_the_runner_computes_in_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runner.HALF, "cpu", torch.bfloat16)
    model = Multiplies()
    made = Runner(model, "cpu", 4)
    made.load(Weights(None, "", "random"))
    assert (made.precision, made.half) == ("float32", "bfloat16")
    for chosen, computed in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        made.precision = chosen
        made.run([made.sample()])
        assert model.computed is computed
