"""Handwritten digits: a photo of one digit in, a number from 0 to 9 out.

Runs in the engine process. The network sees how much each pixel differs from the paper, so
that ink may be darker or lighter than the paper and the light may be poor.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.regnet import BlockParams, RegNet

from app.input_spec import InputSpec
from app.models.interface import Query, Weights
from app.models.weights import WeightsError, fill, load_state_dict, version_of

SIDE = 32
CLASSES = 10
_RANDOM_SEED = 0


def foreground(batch: Tensor) -> Tensor:
    """Return how far each pixel is from its image's background, as a share of the farthest.

    The background is the median of the border. A negative gives the same result as its
    positive, bit for bit, and so does every other contrast but for rounding.

    Args:
        batch: shape (N, 1, H, W), any real type.

    Returns:
        float32 of the same shape in 0..1; all zeros for an image of one colour.
    """
    pixels = batch.float()
    edges = (pixels[..., 0, :], pixels[..., -1, :], pixels[..., 1:-1, 0], pixels[..., 1:-1, -1])
    border = torch.cat(edges, dim=-1).sort(dim=-1).values
    # torch.median takes the lower of the two middle values, which a negative would swap.
    count = border.shape[-1]
    median = (border[..., (count - 1) // 2] + border[..., count // 2]) / 2
    distance = (pixels - median[..., None, None]).abs()
    # The floor keeps an image of one colour from being divided by zero.
    farthest = distance.amax(dim=(-2, -1), keepdim=True).clamp_min(1e-6)
    return distance / farthest


def build_network() -> nn.Module:
    """Return the untrained network: torchvision's RegNet, small, for one channel."""
    params = BlockParams(
        depths=[1, 1, 2, 1],
        widths=[32, 64, 96, 128],
        group_widths=[32, 64, 96, 128],
        bottleneck_multipliers=[1.0] * 4,
        strides=[1, 2, 2, 2],
    )
    network: nn.Module = RegNet(params, num_classes=CLASSES, stem_width=32)
    # RegNet's own stem takes three channels; a grey image has one.
    stem = nn.Conv2d(1, 32, kernel_size=3, stride=2, padding=1, bias=False)
    network.set_submodule("stem.0", stem)
    return network


class Mnist:
    """The digit model that is served unless another one is chosen."""

    name = "mnist"
    result_key = "mnist_result"
    input_spec = InputSpec(mode="L", resize=SIDE, crop=(SIDE, SIDE), interpolation="bilinear")
    version = ""

    def __init__(self) -> None:
        """Hold nothing yet; ``load`` does the work."""
        self._network: nn.Module | None = None

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network on the device and fill it.

        Raises:
            WeightsError: there is no file, or it is not usable; the sentence says why.
        """
        if weights.content is None and weights.choice != "random":
            raise WeightsError("mnist needs a weights file, and there is none")
        torch.manual_seed(_RANDOM_SEED)
        network = build_network()
        if weights.content is None:
            self.version = f"random-{_RANDOM_SEED}"
        else:
            state = load_state_dict(weights.content, weights.filename)
            fill(network, state, weights.filename, "MODEL=mnist")
            self.version = version_of(weights.content)
        network.eval().requires_grad_(False)
        self._network = network.to(memory_format=torch.channels_last).to(device)

    def predict(self, batch: Tensor) -> Tensor:
        """Return the scores of the ten digits, (N, 10), for a uint8 batch of (N, 1, 32, 32)."""
        if self._network is None:
            raise RuntimeError("predict before load")
        pixels = foreground(batch).contiguous(memory_format=torch.channels_last)
        scores: Tensor = self._network(pixels)
        return scores

    def postprocess(self, outputs: Tensor, queries: Sequence[Query]) -> Sequence[int]:  # noqa: ARG002
        """Return the likeliest digit of each image, in order."""
        digits: list[int] = outputs.argmax(dim=1).tolist()
        return digits
