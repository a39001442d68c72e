"""The answer of a segmenter: a palette PNG of class ids, and the share of each class."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from app.errors import InvalidParameter
from app.models.budget import BATCH_PIXELS
from app.models.interface import Query
from app.models.segmentation import PALETTE, TorchvisionSegmenter


def test_the_map_is_as_large_as_the_posted_image_and_the_shares_are_its_pixels() -> None:
    model = TorchvisionSegmenter("lraspp_mobilenet_v3_large")
    outputs = torch.zeros(2, 21, 4, 8)
    outputs[0, 15, :, :2] = 1  # a person on the left quarter
    outputs[1, 0] = 1
    answers = model.postprocess(outputs, [Query(80, 40, {}), Query(3, 5, {})])
    first = answers[0]
    assert (first["width"], first["height"]) == (80, 40)
    assert first["segmentation"]["classes"] == [
        {"class_id": 0, "label": "__background__", "share": 0.75},
        {"class_id": 15, "label": "person", "share": 0.25},
    ]
    image = Image.open(io.BytesIO(base64.b64decode(first["segmentation"]["png"])))
    assert (image.mode, image.size) == ("P", (80, 40))
    ids = np.asarray(image)
    assert (ids[:, :20] == 15).all()
    assert (ids[:, 20:] == 0).all()
    assert image.convert("RGB").getpixel((0, 0)) == (192, 128, 128), "PASCAL VOC's person"
    assert [entry["share"] for entry in answers[1]["segmentation"]["classes"]] == [1.0]


def test_the_palette_is_the_one_of_pascal_voc() -> None:
    assert PALETTE[: 3 * 4] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    assert len(PALETTE) == 3 * 256


def test_every_pixel_counts_in_the_shares() -> None:
    model = TorchvisionSegmenter("fcn_resnet50")
    torch.manual_seed(0)
    [answer] = model.postprocess(torch.rand(1, 21, 30, 40), [Query(317, 211, {})])
    shares = [entry["share"] for entry in answer["segmentation"]["classes"]]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert shares == sorted(shares, reverse=True)


def test_a_batch_draws_no_more_than_it_may_and_an_image_alone_is_answered() -> None:
    model = TorchvisionSegmenter("fcn_resnet50")
    large = Query(1, BATCH_PIXELS // 2 + 1, {})
    with pytest.raises(InvalidParameter, match="in one batch"):
        model.postprocess(torch.rand(2, 21, 3, 4), [large, large])
    [answer] = model.postprocess(torch.rand(1, 21, 3, 4), [large])
    assert answer["height"] == large.height
