"""Masks in their three forms, against pycocotools and against torchvision's whole images."""

import base64
import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from torchvision.models.detection.roi_heads import paste_masks_in_image

from app.errors import InvalidParameter
from app.models.contour import area, outline
from app.models.masks import draw, run_lengths

WIDTH, HEIGHT = 61, 47
BOXES = torch.tensor([
    [3.2, 4.9, 30.0, 40.7], [0.0, 0.0, 61.0, 47.0], [55.5, 40.0, 61.0, 47.0], [7.0, 7.0, 7.4, 7.2],
    [61.0, 20.0, 61.0, 20.0],
])  # fmt: skip


@pytest.fixture
def grids() -> torch.Tensor:
    """Smooth blobs, and the last two full: as a network makes them."""
    torch.manual_seed(3)
    coarse = torch.rand(len(BOXES), 1, 5, 5)
    smooth = torch.nn.functional.interpolate(coarse, size=(28, 28), mode="bicubic").clamp(0, 1)
    smooth[-2:] = 1
    return smooth


def pasted(grids: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return torchvision's masks, each as large as the image."""
    whole = paste_masks_in_image(grids, BOXES, (HEIGHT, WIDTH))
    return (whole[:, 0] >= 0.5).numpy()


def test_run_lengths_are_torchvisions_masks_in_cocos_own_words(grids: torch.Tensor) -> None:
    wanted = pasted(grids)
    drawn = list(draw("rle", grids, BOXES, WIDTH, HEIGHT))
    assert wanted.any(axis=(1, 2))[:4].all()
    for member, mask in zip(drawn, wanted, strict=True):
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert member["mask"] == {"size": [HEIGHT, WIDTH], "counts": theirs["counts"].decode()}


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (40, 30), (700, 900)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_run_lengths_of_any_pattern_are_those_of_pycocotools(
    size: tuple[int, int], share: float
) -> None:
    rng = np.random.default_rng(1)
    part = rng.random(size) < share
    for left, top, more in ((0, 0, 0), (2, 0, 3), (0, 4, 5), (300, 200, 100)):
        whole = np.zeros((top + size[0] + more, left + size[1] + more), np.uint8)
        whole[top : top + size[0], left : left + size[1]] = part
        ours = run_lengths(part, left, top, whole.shape[1], whole.shape[0])
        theirs = coco.encode(np.asfortranarray(whole))
        assert ours == {"size": theirs["size"], "counts": theirs["counts"].decode()}


def test_a_png_laid_at_its_place_is_torchvisions_mask(grids: torch.Tensor) -> None:
    drawn = draw("png", grids, BOXES, WIDTH, HEIGHT)
    for member, wanted in zip(drawn, pasted(grids), strict=True):
        mask = member["mask"]
        image = Image.open(io.BytesIO(base64.b64decode(mask["png"])))
        whole = Image.new("1", (WIDTH, HEIGHT))
        whole.paste(image, (mask["left"], mask["top"]))
        assert np.array_equal(np.asarray(whole), wanted)


def test_a_polygon_encloses_the_mask(grids: torch.Tensor) -> None:
    grids[:2] = blob()
    drawn = list(draw("polygon", grids, BOXES, WIDTH, HEIGHT))
    for member, wanted in zip(drawn[:2], pasted(grids)[:2], strict=True):
        points = np.array(member["polygon"])
        assert (points >= 0).all()
        assert (points <= [WIDTH, HEIGHT]).all()
        assert area(member["polygon"]) == pytest.approx(wanted.sum(), rel=0.03)
        middle = points.mean(axis=0)
        ys, xs = np.nonzero(wanted)
        assert middle == pytest.approx([xs.mean() + 0.5, ys.mean() + 0.5], abs=0.5)
    assert drawn[4]["polygon"], "even a box without a pixel has an outline"


def blob() -> torch.Tensor:
    """Return a round thing in the middle of a grid."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    return (1 - ((y - 13.5) ** 2 + (x - 13.5) ** 2).sqrt() / 20)[None]


def test_the_largest_part_is_outlined_and_a_saddle_is_one_or_two_parts() -> None:
    island = [[0.0] * 7 for _ in range(7)]
    island[1][1] = 1.0
    for row in (3, 4, 5):
        island[row][3:6] = [1.0] * 3
    points = outline(island, 0.5)
    assert {x for x, _ in points} == {2.5, 3.0, 4.0, 5.0, 5.5}
    assert area(points) == pytest.approx(8.5)
    saddle = [[0.0] * 4 for _ in range(4)]
    saddle[1][1] = saddle[2][2] = 1.0
    assert area(outline(saddle, 0.51)) < 0.6
    assert area(outline(saddle, 0.49)) > 1.2
    assert outline([[0.0] * 3] * 3, 0.5) == []


def test_a_mask_that_is_nowhere_sure_has_no_outline_and_no_pixels() -> None:
    none = torch.full((1, 1, 28, 28), 0.4)
    [polygon] = draw("polygon", none, BOXES[:1], WIDTH, HEIGHT)
    assert polygon == {"polygon": []}
    [mask] = draw("rle", none, BOXES[:1], WIDTH, HEIGHT)
    assert coco.area({**mask["mask"], "counts": mask["mask"]["counts"].encode()}) == 0


def test_more_than_a_batch_may_spend_is_refused_with_a_way_out() -> None:
    boxes = torch.tensor([[0.0, 0.0, 8000.0, 6000.0]] * 2)
    grids = torch.ones(2, 1, 28, 28)
    for form in ("rle", "png"):
        with pytest.raises(InvalidParameter, match="masks=polygon, or raise score_threshold"):
            list(draw(form, grids, boxes, 8000, 6000))
    assert len(list(draw("polygon", grids, boxes, 8000, 6000))) == 2


def test_run_lengths_of_a_large_mask_take_little_memory() -> None:
    y, x = np.ogrid[:3000, :3000]
    disc = (y - 1500) ** 2 + (x - 1500) ** 2 < 1400**2
    tracemalloc.start()
    lengths = run_lengths(disc, 0, 0, 3000, 3000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < disc.nbytes
    theirs = coco.encode(np.asfortranarray(disc.astype(np.uint8)))
    assert lengths == {"size": theirs["size"], "counts": theirs["counts"].decode()}


def test_an_outline_looks_at_the_cells_that_it_crosses_alone() -> None:
    class Counted(list[float]):
        read = 0

        def __getitem__(self, index: Any) -> Any:
            Counted.read += 1
            return super().__getitem__(index)

    grid = [Counted([0.0] * 100) for _ in range(100)]
    grid[50][50:53] = [1.0] * 3
    assert len(outline(grid, 0.5)) == 8
    assert Counted.read < 100
