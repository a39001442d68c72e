"""The document-layout model with faults, for the real server."""

import os
import time
from pathlib import Path
from typing import Any

import torch

from examples.doclayout import DocLayout


class Drifts(DocLayout):
    """Spoils its own weights once the file GATE exists."""

    @torch.inference_mode()
    def _run(self, batch: list[torch.Tensor]) -> Any:
        if Path(os.environ["GATE"]).exists():
            for parameter in self._network.parameters():
                parameter.mul_(1.5)
        return super()._run(batch)


class Unhurried(DocLayout):
    """Takes a quarter of a second more a batch, so that requests wait."""

    def _run(self, batch: list[torch.Tensor]) -> Any:
        time.sleep(0.25)
        return super()._run(batch)
