"""Makes an MNIST digit look like a photo of ink on paper; the same photo for the same index."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]

SIDE = 112
_SEED = 1998


def photo(digit: Pixels, index: int) -> Pixels:
    """Return a photo-like image of one digit.

    The digit is dark on light grey, moved by up to 3 of 28 pixels, turned by up to 15 degrees,
    thicker for every other index, unevenly lit and a little noisy.

    Args:
        digit: shape (28, 28), light on dark, as in MNIST.
        index: seeds everything that is random here.

    Returns:
        shape (112, 112).
    """
    rng = np.random.default_rng([_SEED, index])
    image = Image.fromarray(digit)
    if index % 2:
        image = image.filter(ImageFilter.MaxFilter(3))
    ink = np.asarray(_placed(image, rng), np.float32) / 255
    paper_grey, ink_grey = rng.uniform(150, 230), rng.uniform(20, 90)
    grey = paper_grey + (ink_grey - paper_grey) * ink
    lit = grey * _light(rng)
    noisy = lit + rng.normal(0, rng.uniform(2, 6), lit.shape)
    return noisy.clip(0, 255).round().astype(np.uint8)


def photos(digits: Pixels) -> Pixels:
    """Return the photo of each digit of shape (N, 28, 28); index is its position."""
    return np.stack([photo(digit, index) for index, digit in enumerate(digits)])


def _placed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the digit enlarged, turned and moved."""
    scale = SIDE / image.width
    shift = rng.uniform(-3, 3, 2) * scale
    large = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return large.rotate(
        rng.uniform(-15, 15),
        resample=Image.Resampling.BILINEAR,
        translate=(round(shift[0]), round(shift[1])),
    )


def _light(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a factor for each pixel: light that falls off across the paper."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.15)
    across = np.linspace(-1, 1, SIDE, dtype=np.float32)
    ramp = np.cos(angle) * across[None, :] + np.sin(angle) * across[:, None]
    return np.asarray(1 + strength * ramp, np.float32)
