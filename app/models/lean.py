"""torchvision's transform of detectors, without touching what it does not use."""

import torch
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms.functional import convert_image_dtype


class LeanTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """The same numbers in a fraction of the time and the memory.

    Bilinear resizing reads two rows of an image for one of the result, so the others are not made
    floats; a photo of 48 megapixels would be 580 MB three times over. Masks stay as small as the
    network makes them: a hundred of them, each as large as a photo, would take gigabytes.
    """

    def normalize(self, image: Tensor) -> Tensor:
        """Return the image as it is, uint8 of shape (3, H, W): ``resize`` normalises."""
        return image

    def resize(self, image: Tensor, target: None = None) -> tuple[Tensor, None]:
        """Return one uint8 image as floats, normalised, and as large as the network wants it."""
        rows = _rows_read(image.shape[1], self._height(image))
        if 2 * len(rows) < image.shape[1]:
            rows = rows.to(image.device)
            floats = image.new_empty(image.shape, dtype=torch.float)
            floats[:, rows] = self._normalized(image[:, rows])
        else:
            floats = self._normalized(image)
        resized, _ = super().resize(floats, target)
        return resized, target

    def _normalized(self, pixels: Tensor) -> Tensor:
        normalized: Tensor = super().normalize(convert_image_dtype(pixels, torch.float))
        return normalized

    def _height(self, image: Tensor) -> int:
        if self.fixed_size is not None:
            return int(self.fixed_size[1])
        height, width = image.shape[1:]
        scale = min(self.min_size[-1] / min(height, width), self.max_size / max(height, width))
        return max(1, int(height * scale))

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Return boxes and keypoints in pixels of the images as they came; masks as they are."""
        grids = [found.pop("masks", None) for found in result]
        results: list[dict[str, Tensor]] = super().postprocess(
            result, image_shapes, original_image_sizes
        )
        for found, grid in zip(results, grids, strict=True):
            if grid is not None:
                found["masks"] = grid
        return results


def _rows_read(before: int, after: int) -> Tensor:
    """Return which rows bilinear resizing reads: two for each of the result.

    Where a place is so near to a row that rounding decides, those on both sides of it.
    """
    doubt = max(0.01, before * 2**-21)  # of a row; torch computes the places in float32
    places = (torch.arange(after, dtype=torch.float64) + 0.5) * (before / after) - 0.5
    lower = torch.cat([(places - doubt).floor(), (places + doubt).floor()])
    rows: Tensor = torch.cat([lower, lower + 1]).clamp(0, before - 1).long()
    each_once: Tensor = torch.unique(rows)
    return each_once
