"""The geometry of torchvision's resize and centre crop, and the memory that they take. Pure."""

import math

from app.input_spec import InputSpec

Size = tuple[int, int]  # width, height
# How far neighbours count in Pillow's filters, in pixels, where an image is not made smaller.
_REACH = {"nearest": 0, "bilinear": 1, "bicubic": 2, "lanczos": 3}


def resized_size(size: Size, resize: int | tuple[int, int] | None) -> Size:
    """Return the size after torchvision's Resize, rounding included."""
    width, height = size
    if resize is None:
        return size
    if not isinstance(resize, int):
        return resize[1], resize[0]
    if width <= height:
        return resize, int(resize * height / width)
    return int(resize * width / height), resize


def crop_box(size: Size, crop: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return torchvision's centre crop as Pillow's box; Pillow fills what is outside with 0."""
    width, height = size
    # torchvision rounds half to even when it cuts and down when it pads.
    left, top = (
        -((wanted - have) // 2) if wanted > have else round((have - wanted) / 2)
        for wanted, have in ((crop[1], width), (crop[0], height))
    )
    return left, top, left + crop[1], top + crop[0]


def working_bytes(size: Size, spec: InputSpec) -> int:
    """Return what an image takes on its way into the model's form, besides its own pixels.

    The whole resized image is made, whatever is cropped from it: to resize only what is kept
    gives other bits, as Pillow holds the edges of such a part in float32.

    Args:
        size: of the upright image.
        spec: the model's input.
    """
    resized = resized_size(size, spec.resize)
    total = 4 * math.prod(spec.crop or resized) * (2 if spec.crop else 1)  # cropped, and as array
    if resized == size:
        return total
    # Pillow resizes one side after the other, in an order of its own, and weighs the neighbours.
    between = max(resized[0] * size[1], size[0] * resized[1])
    total += 4 * (between + math.prod(resized))
    for before, after in zip(size, resized, strict=True):
        reach = _REACH[spec.interpolation] * max(1.0, before / after)
        total += 8 * after * (2 * math.ceil(reach) + 2)
    return total
