"""Reads MNIST's own file format and shapes images as the server would."""

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.models.mnist import SIDE

Pixels = NDArray[np.uint8]

_HEADER_BYTES = 4
_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> Pixels:
    """Return the array in an idx file of bytes, which may be gzipped.

    Raises:
        ValueError: the file is not an idx file of bytes, or is cut short.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    zero, kind, dimensions = struct.unpack(">HBB", content[:_HEADER_BYTES])
    if zero != 0 or kind != _UNSIGNED_BYTE:
        raise ValueError(f"{path.name} is not an idx file of bytes")
    end = _HEADER_BYTES + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[_HEADER_BYTES:end])
    return np.frombuffer(content, np.uint8, offset=end).reshape(shape).copy()


def find_idx(folder: Path, part: str) -> Path:
    """Return the file of a part such as ``t10k-images``, whatever its ending is.

    Raises:
        FileNotFoundError: the folder has no such file.
    """
    found = sorted(folder.glob(f"{part}[-.]idx*"))
    if not found:
        raise FileNotFoundError(f"no {part}-idx* file in {folder}")
    return found[0]


def as_served(images: Pixels) -> Pixels:
    """Return square grey images of shape (N, H, H) as the server gives them to the model.

    Returns:
        shape (N, 1, 32, 32), resized by Pillow as ``Mnist.input_spec`` says.
    """
    size = (SIDE, SIDE)
    resized = [Image.fromarray(i).resize(size, Image.Resampling.BILINEAR) for i in images]
    return np.stack([np.asarray(i) for i in resized])[:, None]
