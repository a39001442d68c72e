"""Models that answer in each form that the page draws: ``MODEL=tests.stubs.answers:Regions``.

What they answer fits an image of 400 by 300 pixels, whatever is in it.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from PIL import Image, ImageDraw

from app.input_spec import InputSpec, Option
from app.models.interface import Query
from tests.stubs.models import Echo

SIZE = 400, 300


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


class Fixed(Echo):
    """Answers the same to every image."""

    answer: ClassVar[Any]

    def postprocess(self, outputs: torch.Tensor, queries: Sequence[Query]) -> list[Any]:
        """Return the answer for each image; an object says how large the image was."""
        if self.result_key:
            return [self.answer] * len(queries)
        return [{**self.answer, "width": asked.width, "height": asked.height} for asked in queries]


class Predictions(Fixed):
    """A classifier."""

    result_key = "predictions"
    answer: ClassVar = [
        {"class_id": 282, "label": "tiger cat", "score": 0.4},
        {"class_id": 285, "label": "Egyptian cat", "score": 0.36},
        {"class_id": 281, "label": "tabby", "score": 0.17},
        {"class_id": 287, "label": "lynx", "score": 0.02},
        {"class_id": 728, "label": "plastic bag", "score": 0.01},
    ]


def _mask() -> dict[str, Any]:
    """Return a filled ellipse, white on black, as large as its box, and where that lies."""
    mask = Image.new("1", (120, 180))
    ImageDraw.Draw(mask).ellipse((0, 0, 119, 179), fill=1)
    return {"png": _png(mask), "left": 40, "top": 60}


class Regions(Fixed):
    """A box with a mask, a person with keypoints, and two polygons in reading order."""

    result_key = None
    regions: ClassVar = [
        {"label": "cat", "class_id": 1, "score": 0.91, "box": [40, 60, 160, 240], "mask": _mask()},
        {
            "label": "person", "class_id": 2, "score": 0.88, "box": [200, 20, 280, 280],
            "keypoints": [
                {"name": "nose", "x": 240, "y": 60, "score": 9.0},
                {"name": "left_shoulder", "x": 260, "y": 110, "score": 8.0},
                {"name": "right_shoulder", "x": 220, "y": 110, "score": 8.0},
            ],
        },
        {
            "label": "text", "class_id": 4, "score": 0.8, "box": [300, 160, 390, 200], "order": 2,
            "polygon": [[300, 160], [390, 165], [388, 200], [300, 195]],
        },
        {
            "label": "title", "class_id": 3, "score": 0.7, "box": [320, 20, 390, 60], "order": 1,
            "polygon": [[320, 20], [390, 25], [388, 60], [320, 55]],
        },
    ]  # fmt: skip
    answer: ClassVar = {"regions": regions}


class Masks(Regions):
    """The same, and the masks have to be asked for."""

    input_spec = InputSpec(
        mode="RGB", resize=(8, 8), options=(Option("masks", "choice", choices=("png", "rle")),)
    )


def _class_map() -> str:
    """Return a square of class 12 on background, as ids with a palette."""
    ids = Image.new("P", SIZE)
    ids.putpalette([*bytes(36), 64, 0, 128])
    ImageDraw.Draw(ids).rectangle((100, 50, 300, 250), fill=12)
    return _png(ids)


class Segmentation(Fixed):
    """A class map."""

    result_key = None
    segmentation: ClassVar = {
        "png": _class_map(),
        "classes": [
            {"class_id": 0, "label": "__background__", "share": 0.6633},
            {"class_id": 12, "label": "dog", "share": 0.3367},
        ],
    }
    answer: ClassVar = {"segmentation": segmentation}
