"""On PYTHONPATH: native threads that decode an image while the pipe GATE exists do not return."""

import contextlib
import os

from PIL import ImageFile

_load = ImageFile.ImageFile.load


def _stuck(self):
    # Until somebody writes: a loop with a sleep uses so much CPU that it is no thread stood still.
    with contextlib.suppress(FileNotFoundError):
        os.close(os.open(os.environ["GATE"], os.O_RDONLY))
    return _load(self)


if "GATE" in os.environ:
    ImageFile.ImageFile.load = _stuck
