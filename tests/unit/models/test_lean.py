"""Detectors' images: the same numbers as torchvision's own transform, without the floats."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from app.models.lean import LeanTransform

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def image(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("smallest", "largest", "fixed"), [(800, 1333, None), (320, 640, None), (320, 320, (320, 320))]
)
@pytest.mark.parametrize(
    ("height", "width"),
    [(3000, 4000), (1999, 1501), (641, 643), (640, 640), (639, 2000), (200, 300), (7, 140),
     (1601, 4003), (4001, 900)],
)  # fmt: skip
def test_it_gives_what_torchvision_gives(
    height: int, width: int, smallest: int, largest: int, fixed: tuple[int, int] | None
) -> None:
    pixels = image(height, width)
    theirs = GeneralizedRCNNTransform(smallest, largest, MEAN, STD, 32, fixed).eval()
    ours = LeanTransform(smallest, largest, MEAN, STD, 32, fixed).eval()
    wanted, _ = theirs([pixels / 255])
    found, _ = ours([pixels])
    assert found.image_sizes == wanted.image_sizes
    assert found.tensors.equal(wanted.tensors), "to the bit: boxes move by more than inputs do"


@pytest.fixture
def _memory_full_of_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # fills what is allocated with NaN
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_memory_full_of_nan")
@pytest.mark.parametrize("height", [*range(640, 5000, 61), 6000, 8192])
def test_every_row_that_is_read_was_written(height: int) -> None:
    transform = LeanTransform(320, 320, MEAN, STD, 32, (320, 320)).eval()
    found, _ = transform([image(height, 33)])
    assert found.tensors.isfinite().all()


def test_of_a_large_photo_most_is_never_made_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    transform = LeanTransform(320, 320, MEAN, STD, 32, (320, 320)).eval()
    plain = transform._normalized

    def counted(pixels: Tensor) -> Tensor:
        made.append(pixels.shape[1])
        return plain(pixels)

    monkeypatch.setattr(transform, "_normalized", counted)
    transform([image(3000, 4000)])
    [rows] = made
    assert rows <= 2 * 320
