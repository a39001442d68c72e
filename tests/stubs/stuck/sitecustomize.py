"""On PYTHONPATH: native threads that decode an image while the file GATE exists do not return."""

import os
import time

from PIL import ImageFile

_load = ImageFile.ImageFile.load


def _stuck(self):
    while os.path.exists(os.environ["GATE"]):
        time.sleep(0.05)
    return _load(self)


if "GATE" in os.environ:
    ImageFile.ImageFile.load = _stuck
