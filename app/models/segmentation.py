"""torchvision's models for semantic segmentation: a class for every pixel of the image."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from app.input_spec import InputSpec
from app.models import zoo
from app.models.budget import check_batch
from app.models.interface import Query, Weights

# Longer images would take more than twice as long as the sample that the warm-up measures.
MAX_ASPECT = 3.0


class TorchvisionSegmenter:
    """A model of ``torchvision.models.segmentation``.

    Args:
        name: as ``torchvision.models.list_models()`` lists it.
    """

    result_key = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = ""
        self._use_preset(zoo.default_entry(name))
        self._network: nn.Module | None = None

    def _use_preset(self, entry: WeightsEnum) -> None:
        preset = entry.transforms()
        self.labels: list[str] = entry.meta["categories"]
        self.input_spec = InputSpec(
            mode="RGB",
            resize=preset.resize_size[0],
            interpolation=preset.interpolation.value,
            max_aspect=MAX_ASPECT,
        )

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network, fill it and move it to the device.

        Raises:
            WeightsError: no download, or a file that does not fit.
            WrongSetting: no such entry.
        """
        # Without weights of its own, torchvision would download those of the backbone.
        loaded = zoo.load(self.name, weights, weights_backbone=None)
        self.version = loaded.version
        self._use_preset(loaded.entry)
        self.labels = loaded.labels
        self._network = loaded.network.to(device)
        self._normalize = zoo.Normalize(loaded.entry.transforms(), device)

    def predict(self, batch: Tensor) -> Tensor:
        """Return the classes' scores of every pixel, (N, classes, H, W), for (N, 3, H, W)."""
        if self._network is None:
            raise RuntimeError("predict before load")
        outputs: dict[str, Tensor] = self._network(self._normalize(batch))
        return outputs["out"]

    def postprocess(self, outputs: Tensor, queries: Sequence[Query]) -> Sequence[dict[str, Any]]:
        """Return each image's class map, as large as it was posted."""
        check_batch(query.width * query.height for query in queries)
        maps = outputs.argmax(dim=1).to(torch.uint8).cpu().numpy()
        return [self._answer(ids, query) for ids, query in zip(maps, queries, strict=True)]

    def _answer(self, ids: npt.NDArray[np.uint8], query: Query) -> dict[str, Any]:
        size = (query.width, query.height)
        image = Image.fromarray(ids).resize(size, Image.Resampling.NEAREST)
        counts = np.array(image.histogram())
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist()
        image.putpalette(PALETTE[: 3 * len(self.labels)])
        stream = io.BytesIO()
        image.save(stream, "PNG", compress_level=1)  # the batch waits; such maps are small anyhow
        shares = (counts / counts.sum()).tolist()
        classes = [
            {"class_id": c, "label": self.labels[c], "share": round(shares[c], 6)} for c in order
        ]
        png = base64.b64encode(stream.getvalue()).decode()
        return {"segmentation": {"png": png, "classes": classes}, "width": size[0],
                "height": size[1]}  # fmt: skip


def _palette() -> list[int]:
    """Return the colours of PASCAL VOC: the bits of a class id, dealt to red, green and blue."""
    return [
        sum((class_id >> (3 * place + channel) & 1) << (7 - place) for place in range(3))
        for class_id in range(256)
        for channel in range(3)
    ]


PALETTE = _palette()
