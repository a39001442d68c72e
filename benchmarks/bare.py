"""The bare loop: decode and forward with no server around them. One process of its own.

``python -m benchmarks.bare VARIANT MODEL WEIGHTS DEVICE THREADS FOLDER`` loads the model, says so,
and then answers each line ``{"batch": 4, "seconds": 3}`` on its standard input with one on its
standard output; it ends when its input does. The process stays, so that rounds with the server
can alternate without a load between them.

Images are decoded with the server's own decoder, threads and weights are the engine's. Copying
pixels between processes, JSON and HTTP are what is missing.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from app import images
from app.engine.runner import resolve_device
from app.models import registry
from app.models.interface import Weights

MAX_PIXELS = 50_000_000
WARM_BATCHES = 2


class BareLoop:
    """The loop in one of its variants (see README.md).

    Args:
        variant: ``plain``, ``strong`` or ``pooled``.
        model: the MODEL setting.
        choice: the WEIGHTS setting.
        device: the DEVICE setting.
        threads: of torch; the engine's number.
    """

    def __init__(self, variant: str, model: str, choice: str, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = resolve_device(device)
        self._plain = variant == "plain"
        self._pool = ThreadPoolExecutor(threads) if variant == "pooled" else None
        self._model = registry.create(model)
        path = registry.weights_path(model, None)
        content, name = (path.read_bytes(), path.name) if path else (None, "")
        self._model.load(self._device, Weights(content, name, choice))
        if self._plain:  # as most people write it: nobody thinks of the memory format
            for part in vars(self._model).values():
                if isinstance(part, nn.Module):
                    part.to(memory_format=torch.contiguous_format)

    def run(self, files: Iterator[bytes], batch: int, seconds: float) -> dict[str, float]:
        """Loop for so long; return the images and the seconds that they took."""
        for _ in range(WARM_BATCHES):
            self._once(list(islice(files, batch)))
        done, decoding = 0, 0.0
        began = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            decoding += self._once(list(islice(files, batch))) - now
            done += batch
        return {"images": done, "seconds": now - began, "decoding": decoding}

    @torch.inference_mode()
    def _once(self, files: list[bytes]) -> float:
        """Answer one batch; return when its decoding ended."""
        arrays = list(self._decoded(files))
        decoded = time.monotonic()
        pixels = torch.from_numpy(np.stack(arrays)).to(self._device).permute(0, 3, 1, 2)
        # (H, W, C) permuted is channels_last already; `plain` copies it to (C, H, W).
        outputs: Tensor = self._model.predict(pixels.contiguous() if self._plain else pixels)
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        del outputs
        return decoded

    def _decoded(self, files: list[bytes]) -> Iterable[images.Pixels]:
        return self._pool.map(self._decode, files) if self._pool else map(self._decode, files)

    def _decode(self, content: bytes) -> images.Pixels:
        return images.decode(content, self._model.input_spec, MAX_PIXELS)


def main() -> None:
    """Answer orders until there are no more."""
    variant, model, choice, device, threads, folder = sys.argv[1:]
    loop = BareLoop(variant, model, choice, device, int(threads))
    files = cycle([path.read_bytes() for path in sorted(Path(folder).iterdir())])
    _say({"event": "loaded"})
    for line in sys.stdin:
        order = json.loads(line)
        _say(loop.run(files, order["batch"], order["seconds"]))


def _say(members: dict[str, Any]) -> None:
    print(json.dumps(members), flush=True)


if __name__ == "__main__":
    main()
