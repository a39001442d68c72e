"""What Pillow calls an image's mode: from whatever a file holds to the one that a model wants."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


_OVERSHOOT = 0.001  # a resize leaves it


class UnknownRange(Exception):
    """Values of which black and white are not known; the sentence is for the client."""


def converted(image: Image.Image, mode: str) -> Image.Image:
    """Return the image in ``mode`` as a person would expect to see it on white paper.

    Raises:
        UnknownRange: nobody can know what is black in it, and what is white.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    elif image.has_transparency_data:
        # Through RGBA: Pillow applies a palette's or a colour key's transparency only there.
        layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(layer, mask=layer)
    elif image.mode not in ("RGB", "L", "1"):
        image = image.convert("RGB")  # CMYK, YCbCr, LAB, HSV: none of them converts to L well
    return image if image.mode == mode else image.convert(mode)


def _to_8_bits(values: npt.NDArray[Any]) -> Pixels:
    """Return grey values as 8 bits: integers lose the low byte of 16, floats are times 255.

    Nothing else has a known black and white: stretched from its own minimum to its maximum, a
    scene would be as bright as what else is in the picture makes it.

    Raises:
        UnknownRange: integers outside 0 to 65535, floats outside 0 to 1, NaN.
    """
    low, high = values.min(), values.max()
    if values.dtype.kind != "f":
        if low >= 0 and high <= 0xFFFF:
            return (values >> 8).astype(np.uint8)
    elif low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:  # never with NaN
        scaled: Pixels = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
        return scaled
    raise UnknownRange(
        f"The image's values go from {low:.9g} to {high:.9g}, of which black and white are not "
        "known: send integers from 0 to 65535, or floats from 0 to 1."
    )
