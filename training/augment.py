"""Distorts a batch of MNIST digits into what people photograph; runs on tensors."""

import torch
from torch import Tensor
from torch.nn import functional


def augment(digits: Tensor) -> Tensor:
    """Return distorted copies of light digits on black.

    Args:
        digits: float32 of shape (N, 1, H, W) in 0..1.

    Returns:
        the same shape in 0..255 with whole values, as a decoded file would have them.
    """
    digits = _printed(_softened(_placed(_thickened(digits))))
    return (digits.clamp(0, 1) * 255).round()


def _uniform(like: Tensor, low: float, high: float) -> Tensor:
    """Return one random number per image, shaped to broadcast over its pixels."""
    return torch.empty(len(like), 1, 1, 1).uniform_(low, high)


def _chosen(like: Tensor, share: float) -> Tensor:
    """Return 1 for a random share of the images and 0 for the others."""
    return (_uniform(like, 0, 1) < share).float()


def _thickened(digits: Tensor) -> Tensor:
    """Make strokes thicker for a third of the images and thinner for a fifth."""
    thick = functional.max_pool2d(digits, 3, stride=1, padding=1)
    thin = -functional.max_pool2d(-digits, 3, stride=1, padding=1)
    kind = _uniform(digits, 0, 1)
    up = (kind < 0.35).float() * _uniform(digits, 0.2, 1.0)
    down = (kind > 0.8).float() * _uniform(digits, 0.1, 0.6)
    return digits + up * (thick - digits) + down * (thin - digits)


def _placed(digits: Tensor) -> Tensor:
    """Turn, slant, scale and move each image."""
    count = len(digits)
    # One strength per image keeps many of them close to the originals.
    strength = torch.rand(count)

    def spread(limit: float) -> Tensor:
        return strength * torch.empty(count).uniform_(-limit, limit)

    angle, slant = torch.deg2rad(spread(22)), spread(0.2)
    size = torch.where(torch.rand(count) < 0.6, 1 + spread(0.15), 1 - strength * 0.35)
    stretch = 1 + spread(0.1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = 1 / (size * stretch), stretch / size
    rows = (
        torch.stack([cos * x, (slant * cos - sin) * x, spread(0.26)], dim=1),
        torch.stack([sin * y, (slant * sin + cos) * y, spread(0.26)], dim=1),
    )
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(digits.shape), align_corners=False)
    return functional.grid_sample(digits, grid, align_corners=False)


def _softened(digits: Tensor) -> Tensor:
    """Blur a third of the images."""
    blurred = functional.avg_pool2d(digits, 3, stride=1, padding=1, count_include_pad=False)
    return digits + _chosen(digits, 0.33) * _uniform(digits, 0.2, 1) * (blurred - digits)


def _printed(digits: Tensor) -> Tensor:
    """Give two thirds of the images ink and paper of any grey, uneven light and noise."""
    height, width = digits.shape[-2:]
    poor = _chosen(digits, 0.67)
    contrast = 1 - poor * _uniform(digits, 0, 0.75)
    paper = (1 - contrast) * _uniform(digits, 0, 1)
    down = torch.linspace(-1, 1, height)[:, None] * _uniform(digits, -0.13, 0.13)
    across = torch.linspace(-1, 1, width) * _uniform(digits, -0.13, 0.13)
    grey = paper + contrast * digits
    # Light multiplies: bright paper shows it, black does not.
    dark_ink = _chosen(digits, 0.5)
    grey = grey + dark_ink * (1 - 2 * grey)
    lit = grey * (1 + poor * (down + across))
    return lit + poor * _uniform(digits, 0, 0.05) * torch.randn_like(digits)
