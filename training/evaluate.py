"""Measures a digit model on the MNIST test set in the three forms that are promised."""

from collections.abc import Iterator

import torch

from app.models.mnist import Mnist
from training.mnist_data import Pixels, as_served
from training.photos import photos

_BATCH = 500


def accuracy(model: Mnist, images: Pixels, labels: Pixels) -> float:
    """Return the share of square grey images that the served model answers rightly.

    Args:
        model: loaded model.
        images: shape (N, H, H), as in a file that a user posts.
        labels: shape (N,).
    """
    batch = torch.from_numpy(as_served(images))
    with torch.inference_mode():
        parts = [model.predict(part) for part in torch.split(batch, _BATCH)]
    answers = [digit for part in parts for digit in model.postprocess(part, ())]
    return sum(int(a == b) for a, b in zip(answers, labels, strict=True)) / len(labels)


def forms(images: Pixels) -> Iterator[tuple[str, Pixels]]:
    """Yield the name and the images of each form: as in MNIST, inverted and photo-like."""
    yield "test set", images
    yield "inverted", 255 - images
    yield "photo-like", photos(images)
