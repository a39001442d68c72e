"""The bundled model, as slow as a big one and without its work: four of them fit on one machine."""

import time

from torch import Tensor

from app.models.mnist import Mnist

BATCH_SECONDS = 0.12


class Unhurried(Mnist):
    """``MODEL=autoscaling.model:Unhurried``."""

    def predict(self, batch: Tensor) -> Tensor:
        """Take longer than it needs, as if a device were computing."""
        time.sleep(BATCH_SECONDS)
        return super().predict(batch)
