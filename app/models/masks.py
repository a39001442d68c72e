"""Masks of regions in three forms: COCO's run lengths, a polygon, a PNG.

Mask R-CNN gives a small grid of probabilities for each box. It is stretched over its box alone:
most of the image is outside.
"""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks

from app import errors
from app.models.contour import outline

Raster = npt.NDArray[np.bool_]
THRESHOLD = 0.5
# Pixels inside the boxes of one image, all regions together.
MAX_DRAWN = 64_000_000
POLYGON = 200_000  # pixels that are drawn in the time of one outline
_PIECE = 1 << 20  # pixels looked at together for run lengths
_PADDING = 1


def cost(form: str, grids: Tensor, boxes: Tensor) -> int:
    """Return how many pixels ``draw`` has to draw; outlines count as some."""
    if form == "polygon":
        return POLYGON * len(boxes)
    scale = 1 + 2 * _PADDING / grids.shape[-1]
    return sum(map(_area, expand_boxes(boxes, scale).to(torch.int64).tolist()))


def draw(
    form: str, grids: Tensor, boxes: Tensor, width: int, height: int
) -> Iterator[dict[str, Any]]:
    """Yield the members that a region gets for its mask.

    Args:
        form: ``rle``, ``polygon`` or ``png``.
        grids: probabilities, (N, 1, M, M), on the CPU.
        boxes: (N, 4), x1 y1 x2 y2, in pixels of the image.
        width: of the image.
        height: of the image.

    Raises:
        app.errors.InvalidParameter: the masks have too many pixels.
    """
    padded, scale = expand_masks(grids, padding=_PADDING)
    corners = expand_boxes(boxes, scale).to(torch.int64).tolist()
    if form == "polygon":
        for grid, box in zip(padded, corners, strict=True):
            yield {"polygon": _polygon(grid[0], box, width, height)}
        return
    area = sum(map(_area, corners))
    if area > MAX_DRAWN:
        raise errors.InvalidParameter(
            f"masks={form}: the {len(corners)} regions have {area} pixels and {MAX_DRAWN} are "
            "drawn; ask for masks=polygon, or raise score_threshold",
            parameter="masks",
        )
    for grid, box in zip(padded, corners, strict=True):
        raster, left, top = _raster(grid, box, width, height)
        if form == "rle":
            yield {"mask": run_lengths(raster, left, top, width, height)}
        else:
            yield {"mask": {"png": _png(raster), "left": left, "top": top}}


def _area(corners: list[int]) -> int:
    x1, y1, x2, y2 = corners
    return (x2 - x1 + 1) * (y2 - y1 + 1)


def _raster(grid: Tensor, box: list[int], width: int, height: int) -> tuple[Raster, int, int]:
    """Return the mask inside its box and the image, and where its first pixel lies.

    The same steps as torchvision's ``paste_mask_in_image``, which makes whole images.
    """
    x1, y1, x2, y2 = box
    size = (max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1))
    stretched = torch.nn.functional.interpolate(
        grid[None], size=size, mode="bilinear", align_corners=False
    )[0, 0]
    left, top = max(x1, 0), max(y1, 0)
    inside = stretched[top - y1 : max(min(y2 + 1, height) - y1, 0),
                       left - x1 : max(min(x2 + 1, width) - x1, 0)]  # fmt: skip
    return (inside >= THRESHOLD).numpy(), left, top


def _polygon(grid: Tensor, box: list[int], width: int, height: int) -> list[list[float]]:
    """Return the outline of the largest part, straight from the grid: it has all there is."""
    x1, y1, x2, y2 = box
    rows, columns = grid.shape
    step_x, step_y = max(x2 - x1 + 1, 1) / columns, max(y2 - y1 + 1, 1) / rows
    return [
        [round(min(max(x1 + (x + 0.5) * step_x, 0.0), width), 2),
         round(min(max(y1 + (y + 0.5) * step_y, 0.0), height), 2)]
        for x, y in outline(grid.tolist(), THRESHOLD)
    ]  # fmt: skip


def _png(raster: Raster) -> str:
    stream = io.BytesIO()
    if not raster.size:  # a box at the very edge; there is no PNG without a pixel
        raster = np.zeros((1, 1), np.bool_)
    Image.fromarray(raster).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def run_lengths(raster: Raster, left: int, top: int, width: int, height: int) -> dict[str, Any]:
    """Return a mask as COCO's compressed run lengths, as pycocotools writes and reads them.

    Args:
        raster: the part of the mask that is not empty.
        left: column of its first pixel in the whole.
        top: row of its first pixel in the whole.
        width: of the whole.
        height: of the whole.
    """
    changes = [np.empty(0, np.int64), *_changes(raster)]
    columns, rows = np.divmod(np.concatenate(changes), raster.shape[0] + 1)
    where = (columns + left) * height + rows + top
    begins, ends = where[::2], where[1::2]
    # A run that reaches the foot of its column may go on at the head of the next.
    joined = begins[1:] == ends[:-1]
    begins = begins[np.concatenate(([True], ~joined))] if len(begins) else begins
    ends = ends[np.concatenate((~joined, [True]))] if len(ends) else ends
    edges = np.empty(2 * len(begins) + 2, np.int64)
    edges[0], edges[-1] = 0, width * height
    edges[1:-1:2], edges[2:-1:2] = begins, ends
    counts = np.diff(edges)
    if counts[-1] == 0 and len(counts) > 1:
        counts = counts[:-1]
    return {"size": [height, width], "counts": _compressed(counts)}


def _changes(raster: Raster) -> Iterator[npt.NDArray[np.int64]]:
    """Yield where, column by column, runs begin and end in turn; a column has a row more."""
    rows, columns = raster.shape
    step = max(1, _PIECE // (rows + 1))
    for first in range(0, columns, step):
        piece = raster[:, first : first + step].T
        # With an empty row above and below every run begins and ends.
        framed = np.zeros((len(piece), rows + 2), np.bool_)
        framed[:, 1:-1] = piece
        yield np.flatnonzero(framed[:, 1:] != framed[:, :-1]) + first * (rows + 1)


def _compressed(counts: npt.NDArray[np.int64]) -> str:
    """Return counts as COCO writes them: differences to the last but one, in digits of 5 bits.

    A digit's sixth bit says that another follows; 48 is added to make it a character.
    """
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    digits = np.zeros((len(rest), 13), np.uint8)
    used = np.zeros(digits.shape, bool)
    more = np.ones(len(rest), bool)
    for place in range(digits.shape[1]):
        if not more.any():
            break
        digit = rest & 0x1F
        rest >>= 5
        used[:, place] = more
        # The last digit's highest bit is the sign.
        more = more & (rest != np.where(digit & 0x10, -1, 0))
        digits[:, place] = digit + 32 * more + 48
    return digits[used].tobytes().decode("ascii")
