"""Bytes of an image file in, a uint8 array out. Runs in the HTTP workers' decoder threads.

The array is what torchvision's own transform would see after its resize and crop, before the
conversion to float: those last steps run on the device, for the whole batch.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True)
class InputSpec:
    """How an HTTP worker turns a file into the model's input; travels in the engine's HELLO.

    Args:
        mode: ``RGB`` gives arrays of shape (H, W, 3), ``L`` (H, W, 1).
        resize: pixels of the shorter side (one number, as torchvision's Resize takes it), an
            exact (height, width), or None to keep the size.
        crop: (height, width) of the centre crop, or None.
        interpolation: Pillow's filter.
    """

    mode: Literal["RGB", "L"] = "RGB"
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"

    def to_json(self) -> dict[str, Any]:
        """Return the members for HELLO."""
        return asdict(self)

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Self:
        """Return the spec that ``to_json`` wrote (JSON has lists where we have tuples)."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in members.items()})
