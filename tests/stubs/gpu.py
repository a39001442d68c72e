"""Models that do on a real GPU what the tests of faults elsewhere only say."""

import torch

from app.models.interface import Weights
from tests.stubs.models import Echo


class Asserts(Echo):
    """Reads beyond a table for red images: a device-side assertion, which breaks the context."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Put the table on the device."""
        self.table = torch.zeros(200, device=device)

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Look the first pixel's red up."""
        pixels = batch[:, :, 0, 0]
        return pixels.float() + self.table[pixels[:, 0].long()][:, None]


class Hungry(Echo):
    """Wants a quarter of the device's memory for each green image: four never fit."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Ask how much there is."""
        _, self.whole = torch.cuda.mem_get_info(device)
        self.device = device

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Take it, and give it back."""
        pixels = batch[:, :, 0, 0]
        greens = int((pixels[:, 1] == 255).sum())  # not the load's own images
        taken = [torch.empty(self.whole // 4, dtype=torch.uint8, device=self.device)
                 for _ in range(greens)]  # fmt: skip
        del taken
        return pixels.float()
