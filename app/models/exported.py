"""``MODEL=exported``: the program that MODEL_PATH names, and ``model.json`` beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app import files
from app.input_spec import InputSpec
from app.models import model_json, programs, ranking
from app.models.interface import Query, Weights
from app.models.members import WrongMember
from app.models.model_json import CHANNELS, Description
from app.models.programs import Program
from app.models.registry import WrongSetting
from app.models.weights import WeightsError, version_of

_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda outputs: torch.softmax(outputs, dim=1),
    "sigmoid": torch.sigmoid,
    "as_is": lambda outputs: outputs,
}
ANY_SIDE = 256  # tried where the program takes any


class Exported:
    """A program from torch.export or TorchScript."""

    def __init__(self) -> None:
        """Hold nothing yet; ``load`` does the work."""
        self.name = "exported"
        self.version = ""
        self.result_key = "predictions"
        self.input_spec = InputSpec()
        self._program: Program | None = None
        self._description: Description | None = None

    def load(self, device: torch.device, weights: Weights) -> None:
        """Load the program onto the device, and try it.

        Raises:
            WrongSetting: MODEL_PATH is unset, or no program's.
            WeightsError: the program or its model.json is not usable, or one does not fit the
                other; another file under the name may be.
        """
        if weights.content is None or not files.is_program(weights.filename):
            given = weights.filename or "unset"
            raise WrongSetting(
                f"MODEL=exported serves a program, and MODEL_PATH is {given}; allowed is *.pt2 "
                "of torch.export or *.pt of TorchScript"
            )
        programs.check_kind(weights.content, weights.filename)
        if weights.beside is None:
            raise WeightsError(
                f"{weights.filename} needs a model.json beside it, for its labels and transforms"
            )
        try:
            said = model_json.parse(weights.beside)
        except WrongMember as error:
            raise WeightsError(str(error)) from None
        program = programs.load(weights.content, weights.filename, device)
        mean, std = (
            torch.tensor(numbers, device=device).view(-1, 1, 1) for numbers in (said.mean, said.std)
        )
        # Normalising pixels of 0..255 in one step: (x / 255 - mean) / std.
        self._shift, self._scale = 255 * mean, 1 / (255 * std)
        self._description, self._program = said, program
        self._try(device, weights.filename)
        self.name = Path(weights.filename).stem
        self.version = version_of(weights.content, weights.beside)
        self.result_key = "predictions" if said.labels else "values"
        options = (ranking.top_k(said.labels),) if said.labels else ()
        self.input_spec = replace(said.spec, options=options)

    def _try(self, device: torch.device, filename: str) -> None:
        """Have the program answer one image, and compare with what model.json says."""
        said, program = self._loaded()
        spec = said.spec
        size = spec.crop or (spec.resize if isinstance(spec.resize, tuple) else None)
        given = (CHANNELS[spec.mode], *(size or (None, None)))
        for side, taken in zip(given, program.shape[1:], strict=True):
            if taken is not None and side != taken:
                raise WeightsError(
                    f"model.json makes images of {_sides(given)} and {filename} takes "
                    f"{_sides(program.shape[1:])} (channels × height × width)"
                )
        sides = [side or ANY_SIDE for side in given]
        image = torch.zeros((1, *sides), dtype=torch.uint8, device=device)
        try:
            with torch.inference_mode():
                outputs = self._outputs(image)
        except (RuntimeError, TypeError, AssertionError) as error:
            first = str(error).strip().splitlines() or [type(error).__name__]
            hint = "; DEVICE=cpu may run it" if device.type != "cpu" else ""
            raise WeightsError(
                f"{filename} fails on an image of {_sides(tuple(sides))}: {first[-1][:160]}{hint}"
            ) from error
        if not isinstance(outputs, Tensor) or outputs.dim() == 0 or len(outputs) != 1:
            raise WeightsError(f"{filename} returns no tensor with a result for each image")
        if said.labels and outputs.shape != (1, len(said.labels)):
            raise WeightsError(
                f"model.json has {len(said.labels)} labels and {filename} returns a tensor of "
                f"shape {tuple(outputs.shape)} for an image"
            )

    def _loaded(self) -> tuple[Description, Program]:
        if self._description is None or self._program is None:
            raise RuntimeError("predict before load")
        return self._description, self._program

    def _outputs(self, batch: Tensor) -> Any:
        _, program = self._loaded()
        pixels = batch.float().sub_(self._shift).mul_(self._scale).to(program.dtype)
        parts = []
        for part in torch.split(pixels, program.most or len(pixels)):
            missing = max(0, program.least - len(part))
            full = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing else part
            outputs = program.call(full.contiguous())
            if isinstance(outputs, list | tuple) and len(outputs) == 1:
                outputs = outputs[0]
            if not isinstance(outputs, Tensor):
                return outputs
            parts.append(outputs[: len(part)])
        return torch.cat(parts)

    def predict(self, batch: Tensor) -> Tensor:
        """Return scores, or the program's numbers, for uint8 images of shape (N, C, H, W)."""
        said, _ = self._loaded()
        outputs: Tensor = self._outputs(batch).float()
        return _SCORES[said.scores](outputs) if said.labels else outputs

    def postprocess(self, outputs: Tensor, queries: Sequence[Query]) -> Sequence[Any]:
        """Return the likeliest labels of each image, or its numbers."""
        said, _ = self._loaded()
        if said.labels:
            return ranking.likeliest(outputs, said.labels, queries)
        values: list[Any] = outputs.tolist()
        return values


def _sides(sides: Sequence[int | None]) -> str:
    return " × ".join("any" if side is None else str(side) for side in sides)
