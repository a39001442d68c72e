"""A model of torchvision whose weights lie on another server: the one that DOWNLOAD_URL names."""

import os

from torchvision import models as zoo

from app.models.classification import TorchvisionClassifier


class SqueezeNet(TorchvisionClassifier):
    """The classifier as it is; only the address of its weights is another."""

    def __init__(self) -> None:
        super().__init__("squeezenet1_1")
        # An enum's member refuses to be changed; the tests have no route to torchvision's server.
        for entry in zoo.get_model_weights("squeezenet1_1"):
            object.__setattr__(entry.value, "url", os.environ["DOWNLOAD_URL"])
