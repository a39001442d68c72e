"""The bundled model with a load of a few seconds, so that a signal can fall into it."""

import time

import torch

from app.models.interface import Weights
from app.models.mnist import Mnist

LOAD_SECONDS = 4.0


class Deliberate(Mnist):
    """``MODEL=rollout.model:Deliberate``."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Take longer than it needs."""
        time.sleep(LOAD_SECONDS)
        super().load(device, weights)
