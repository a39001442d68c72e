"""The digit model, going wrong while it serves, as the file GATE says.

``nan`` and ``drift`` spoil its weights, ``slow`` makes it slow; a fresh engine has none of that.
"""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import torch

from app.engine import gpu
from app.models.interface import Weights
from app.models.mnist import Mnist


def _order() -> str:
    gate = Path(os.environ["GATE"])
    return gate.read_text() if gate.exists() else ""


class Degrades(Mnist):
    """Does to its own weights what the file says."""

    @torch.inference_mode()
    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Go wrong, then answer."""
        order = _order()
        if order == "slow":
            time.sleep(1.5)
        for parameter in self._network.parameters() if self._network else ():
            if order == "nan":
                parameter.fill_(torch.nan)
            elif order == "drift":
                parameter.mul_(1.5)
        return super().predict(batch)


class OnGpu(Mnist):
    """Says that it runs on a GPU whose NVML tells how many megabytes are free: what GATE says."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Load, and put NVML in its place."""
        super().load(device, weights)
        total = 16000 * gpu.MIB

        def memory(_: object) -> Any:
            free = int(_order()) * gpu.MIB
            return SimpleNamespace(total=total, free=free, used=total - free)

        pynvml.nvmlInit = lambda: None
        pynvml.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
        pynvml.nvmlDeviceGetName = lambda handle: "Some GPU"
        pynvml.nvmlDeviceGetMemoryInfo = memory
        pynvml.nvmlDeviceGetUtilizationRates = lambda handle: SimpleNamespace(gpu=25)
        pynvml.nvmlDeviceGetTemperature = lambda handle, sensor: 40
        # A CPU has no name for CUDA; the rest is as it would be on a GPU.
        from app.engine import runner

        runner.Runner.gpu_uuid = lambda self: "0-1"  # type: ignore[method-assign]


class NeverSound(Mnist):
    """Answers what is no number from its load on."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Return NaN for an image that is not of one grey, as those of the self-test are."""
        scores = super().predict(batch)
        return scores * torch.nan if batch.float().std() > 0 else scores


class Unhurried(Degrades):
    """Takes a quarter of a second a batch, so that requests wait."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Sleep, then go wrong if told to, and answer."""
        time.sleep(0.25)
        return super().predict(batch)
