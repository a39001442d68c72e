"""A model whose CPU has a half precision, in which it says the same and comes sooner."""

import time

import torch

from app.engine import runner
from tests.stubs.models import Echo

runner.HALF["cpu"] = torch.bfloat16


class Halved(Echo):
    """Takes its time only in float32."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Echo, in half precision at once."""
        if not torch.is_autocast_enabled("cpu"):
            time.sleep(0.02)
        return super().predict(batch)
