"""torchvision's networks as its builders make them for weights of its own, but without those.

Asked for a network without weights, the builders make another one: with batch norms that learn,
another scaling of the pixels, heads that only training needs. A file's tensors would fit and
answer something else. Runs in the engine process.
"""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models import WeightsEnum
from torchvision.ops.misc import FrozenBatchNorm2d

# Detectors whose backbones are built with frozen batch norms, and the entry that adds nothing to
# a variance (torchvision's overwrite_eps).
_FROZEN: Mapping[str, str | None] = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": None,
    "fasterrcnn_mobilenet_v3_large_fpn": None,
    "fasterrcnn_resnet50_fpn": "COCO_V1",
    "fcos_resnet50_fpn": None,
    "keypointrcnn_resnet50_fpn": "COCO_V1",
    "maskrcnn_resnet50_fpn": "COCO_V1",
    "retinanet_resnet50_fpn": "COCO_V1",
}
_FROZEN_EPS = 1e-5
_RESCALES = ("googlenet", "inception_v3")
_AUXILIARY = ("aux_classifier.", "aux1.", "aux2.", "AuxLogits.")
_COUNTER = "num_batches_tracked"


def build(
    name: str, entry: WeightsEnum, tensors: Collection[str] = (), **arguments: Any
) -> nn.Module:
    """Return a network with random weights, for those of a file.

    Args:
        name: as ``torchvision.models.list_models()`` lists it.
        entry: of its weights enum, which the network is built for.
        tensors: names in the state dict that is to fill it.
        arguments: for torchvision's builder.
    """
    if name.startswith("vit_"):
        # The builders take it from the weights, and 224 where there are none.
        arguments["image_size"] = entry.meta["min_size"][0]
    if name.removeprefix("quantized_") in _RESCALES:
        arguments |= {"transform_input": True, "aux_logits": False, "init_weights": False}
    network: Any = zoo.get_model(name, weights=None, **arguments)
    # Only batch norms that learn count batches: such a network was trained from nothing.
    learns = any(tensor.startswith("backbone.") and _COUNTER in tensor for tensor in tensors)
    if name in _FROZEN and not learns:
        _freeze(network.backbone.body, 0.0 if entry.name == _FROZEN[name] else _FROZEN_EPS)
    return network  # type: ignore[no-any-return]


def answering(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the heads that take part in training alone."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(_AUXILIARY)}


def _freeze(module: nn.Module, eps: float) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps))
        else:
            _freeze(child, eps)
