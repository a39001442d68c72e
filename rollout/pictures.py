"""Digits as small PNGs, from the test images that lie in the repository."""

import gzip
from pathlib import Path

from PIL import Image

from tests.server import ROOT

_DATA = ROOT / "tests" / "data" / "mnist"
_SIDE = 28


def write(folder: Path, count: int) -> Path:
    """Write the first so many, each named after its digit; the first one is a seven."""
    folder.mkdir()
    with gzip.open(_DATA / "t10k-images-idx3-ubyte.gz") as images:
        pixels = images.read()[16 : 16 + count * _SIDE * _SIDE]
    with gzip.open(_DATA / "t10k-labels-idx1-ubyte.gz") as labels:
        digits = labels.read()[8 : 8 + count]
    for number, digit in enumerate(digits):
        rows = pixels[number * _SIDE * _SIDE : (number + 1) * _SIDE * _SIDE]
        Image.frombytes("L", (_SIDE, _SIDE), rows).save(folder / f"{digit}.png")
    return folder
