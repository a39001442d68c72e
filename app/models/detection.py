"""torchvision's detectors: boxes, with masks or keypoints where the model finds them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from app import errors
from app.input_spec import InputSpec, Option
from app.models import masks, zoo
from app.models.budget import check_batch
from app.models.interface import Query, Weights
from app.models.lean import LeanTransform

SCORE_THRESHOLD = 0.5
# Thinner ones would shrink to nothing when the longer side is brought to the model's.
MAX_ASPECT = 20.0
_DECIMALS = 4  # of a pixel


class TorchvisionDetector:
    """A model of ``torchvision.models.detection``.

    Args:
        name: as ``torchvision.models.list_models()`` lists it.
    """

    result_key = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = ""
        self._use_entry(zoo.default_entry(name), masks=False)
        self._network: nn.Module | None = None

    def _use_entry(self, entry: WeightsEnum, *, masks: bool) -> None:
        self.labels: list[str] = entry.meta["categories"]
        self.keypoint_names: list[str] = entry.meta.get("keypoint_names", [])
        options = [Option("score_threshold", "number", SCORE_THRESHOLD)]
        if masks:
            options.append(Option("masks", "choice", choices=("rle", "polygon", "png")))
        self.input_spec = InputSpec(
            mode="RGB", batch="list", max_aspect=MAX_ASPECT, options=tuple(options)
        )

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network, fill it and move it to the device.

        Raises:
            WeightsError: no download, or a file that does not fit.
            WrongSetting: no such entry.
        """
        # Without weights of its own, torchvision would download those of the backbone.
        loaded = zoo.load(self.name, weights, weights_backbone=None)
        network: Any = loaded.network
        own = network.transform
        network.transform = LeanTransform(
            own.min_size, own.max_size, own.image_mean, own.image_std,
            own.size_divisible, own.fixed_size,
        ).eval()  # fmt: skip
        finds_masks = hasattr(network, "roi_heads") and network.roi_heads.has_mask()
        self.version = loaded.version
        self._use_entry(loaded.entry, masks=finds_masks)
        self.labels = loaded.labels
        self._network = network.to(device)

    def predict(self, batch: list[Tensor]) -> list[dict[str, Tensor]]:
        """Return what torchvision finds on uint8 images of shape (3, H, W), the surest first."""
        if self._network is None:
            raise RuntimeError("predict before load")
        found: list[dict[str, Tensor]] = self._network(batch)
        return found

    def probe(self, batch: list[Tensor]) -> Any:
        """Return what the heads say of fixed places: how much is found may change by a hair."""
        network: Any = self._network
        images, _ = network.transform(batch)
        features = network.backbone(images.tensors)
        levels = list(features.values())
        if hasattr(network, "head"):
            return network.head(levels)
        heads = network.roi_heads
        boxes = [
            torch.tensor([[0, 0, width, height], [0, 0, width // 2, height // 2]]).to(levels[0])
            for height, width in images.image_sizes
        ]
        pooled = heads.box_roi_pool(features, boxes, images.image_sizes)
        return [network.rpn.head(levels), heads.box_predictor(heads.box_head(pooled))]

    def postprocess(
        self, outputs: list[dict[str, Tensor]], queries: Sequence[Query]
    ) -> Sequence[dict[str, Any] | errors.InvalidParameter]:
        """Return the regions of each image in pixels of the image as posted, or why not."""
        sure = [_sure(found, query) for found, query in zip(outputs, queries, strict=True)]
        check_batch(_cost(kept, query) for kept, query in zip(sure, queries, strict=True))
        return [self._answer(kept, query) for kept, query in zip(sure, queries, strict=True)]

    def _answer(
        self, kept: dict[str, Tensor], query: Query
    ) -> dict[str, Any] | errors.InvalidParameter:
        try:
            return self._regions(kept, query)
        except errors.InvalidParameter as error:
            return error

    def _regions(self, kept: dict[str, Tensor], query: Query) -> dict[str, Any]:
        rows = zip(
            kept["labels"].tolist(), kept["scores"].tolist(), kept["boxes"].tolist(), strict=True
        )
        regions: list[dict[str, Any]] = [
            {"label": self.labels[c], "class_id": c, "score": round(score, 6),
             "box": [round(edge, _DECIMALS) for edge in box]}
            for c, score, box in rows
        ]  # fmt: skip
        if "keypoints" in kept:
            scores = kept["keypoints_scores"].tolist()
            for region, points, sure in zip(
                regions, kept["keypoints"].tolist(), scores, strict=True
            ):
                region["keypoints"] = self._keypoints(points, sure)
        if form := query.options.get("masks"):
            drawn = masks.draw(form, kept["masks"], kept["boxes"], query.width, query.height)
            for region, mask in zip(regions, drawn, strict=True):
                region.update(mask)
        return {"regions": regions, "width": query.width, "height": query.height}

    def _keypoints(self, points: list[list[float]], scores: list[float]) -> list[dict[str, Any]]:
        return [
            {"name": name, "x": round(x, _DECIMALS), "y": round(y, _DECIMALS),
             "score": round(score, _DECIMALS)}
            for name, (x, y, _), score in zip(self.keypoint_names, points, scores, strict=True)
        ]  # fmt: skip


def _sure(found: dict[str, Tensor], query: Query) -> dict[str, Tensor]:
    # torchvision sorts by score, but for classes that it treats apart.
    kept = found["scores"] >= query.options["score_threshold"]
    return {name: tensor[kept].cpu() for name, tensor in found.items()}


def _cost(kept: dict[str, Tensor], query: Query) -> int:
    form = query.options.get("masks")
    return masks.cost(form, kept["masks"], kept["boxes"]) if form else 0
