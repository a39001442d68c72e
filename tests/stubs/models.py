"""Tiny models that misbehave on purpose, for the real server: ``MODEL=tests.stubs.models:Slow``.

A marked image is one whose first pixel is pure red (255, 0, 0).
"""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from app import errors
from app.input_spec import InputSpec, Option
from app.models.interface import Query, Weights
from app.models.weights import WeightsError

MARK = (255, 0, 0)


class Echo:
    """Answers the image's first pixel: proves that answers are not mixed up."""

    name = "echo"
    result_key = "pixel"
    input_spec = InputSpec(mode="RGB", resize=(8, 8))
    version = "stub"

    def load(self, device: torch.device, weights: Weights) -> None:
        """Nothing to load."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the first pixel of each image."""
        return batch[:, :, 0, 0]

    def postprocess(self, outputs: torch.Tensor, queries: Sequence[Query]) -> list[Any]:
        """Return lists of three numbers."""
        return outputs.tolist()


class Varied(Echo):
    """Takes images as large as they are; answers what it saw and what was asked.

    A marked image has an output that is not finite.
    """

    name = "varied"
    result_key = None
    input_spec = InputSpec(
        batch="list", max_aspect=10, routes=("/analyze",),
        options=(
            Option("count", "integer", 5, low=1, high=9),
            Option("threshold", "number", 0.5),
            Option("form", "choice", choices=("long", "short")),
        ),
    )  # fmt: skip

    def predict(self, batch: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Return each image's first pixel and shape; take long enough for others to queue."""
        time.sleep(0.05)
        return [
            {"pixel": image[:, 0, 0], "shape": torch.tensor(image.shape), "nan": image.sum() / 0}
            if (image[:, 0, 0] == torch.tensor(MARK)).all()
            else {"pixel": image[:, 0, 0], "shape": torch.tensor(image.shape)}
            for image in batch
        ]

    def postprocess(
        self, outputs: list[dict[str, torch.Tensor]], queries: Sequence[Query]
    ) -> list[Any]:
        """Return objects."""
        return [
            {
                **{name: tensor.tolist() for name, tensor in output.items()},
                "width": query.width, "height": query.height, "options": dict(query.options),
                "batch": len(outputs),
            }
            for output, query in zip(outputs, queries, strict=True)
        ]  # fmt: skip


def _marked(batch: torch.Tensor) -> bool:
    return any(tuple(pixel) == MARK for pixel in batch[:, :, 0, 0].tolist())


class Slow(Echo):
    """Takes 0.3 seconds a batch."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Sleep, then echo."""
        time.sleep(0.3)
        return super().predict(batch)


class Gated(Echo):
    """Holds a marked image until the file GATE exists; GATE.entered tells that it does."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Wait for the gate, then echo."""
        gate = os.environ["GATE"]
        if _marked(batch):
            Path(f"{gate}.entered").touch()
            while not os.path.exists(gate):
                time.sleep(0.01)
        return super().predict(batch)


class Exits(Slow):
    """Ends its process when it sees a marked image."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Exit, or echo slowly."""
        if _marked(batch):
            os._exit(3)
        return super().predict(batch)


class Prints(Echo):
    """Writes to standard output in every way there is, when it sees a marked image."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Write, and echo."""
        if _marked(batch):
            print("from Python")
            print("from Python, around ours", file=sys.__stdout__, flush=True)
            os.write(1, b"from native code\n")
            subprocess.run(["echo", "from a child"], check=True)
        return super().predict(batch)


class Forks(Echo):
    """Leaves a child behind, as a loader of data does, when it ends its process.

    That is when it sees a marked image and there is no file GATE, which it makes.
    """

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Fork and exit, or echo."""
        gate = Path(os.environ["GATE"])
        if _marked(batch) and not gate.exists():
            gate.touch()
            if os.fork() == 0:
                time.sleep(120)
                os._exit(0)
            os._exit(3)
        return super().predict(batch)


class Hangs(Echo):
    """Never returns from a marked image."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Hang, or echo."""
        if _marked(batch):
            time.sleep(3600)
        return super().predict(batch)


class Refuses(Slow):
    """Says of a marked image that it cannot be answered as asked."""

    def postprocess(self, outputs: torch.Tensor, queries: Sequence[Query]) -> list[Any]:
        """Return an error among the results."""
        refusal = errors.InvalidParameter("not a red one", parameter="colour")
        return [refusal if tuple(pixel) == MARK else pixel for pixel in outputs.tolist()]


class RefusesAll(Refuses):
    """Raises it, and does not say of which image."""

    def postprocess(self, outputs: torch.Tensor, queries: Sequence[Query]) -> list[Any]:
        """Raise the first error."""
        results = super().postprocess(outputs, queries)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results


class Raises(Slow):
    """Raises on a marked image."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Raise, or echo."""
        if _marked(batch):
            raise RuntimeError("a secret of the model")
        return super().predict(batch)


class Hungry(Slow):
    """Has the memory for one coloured image at a time, and not for a marked one."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Run out of memory, or echo."""
        coloured = not bool((batch[:, 0] == batch[:, 1]).all())
        if (coloured and len(batch) > 1) or _marked(batch):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().predict(batch)


class Poisons(Slow):
    """Breaks its device on a marked image: nothing works in this process after that."""

    broken = False

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Break, or echo."""
        self.broken = self.broken or _marked(batch)
        if self.broken:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        return super().predict(batch)


class Escapes(Slow):
    """Raises what no handler of errors expects."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Leave, or echo."""
        if _marked(batch):
            raise SystemExit(5)
        return super().predict(batch)


class Lingers(Escapes):
    """Has a thread for which Python waits before it ends."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Start it."""
        threading.Thread(target=time.sleep, args=(3600,)).start()


class ExitsInLoad(Lingers):
    """The same, and it never comes to serve."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Start the thread, and leave."""
        super().load(device, weights)
        sys.exit("no licence")


class Grows(Slow):
    """Keeps 300 megabytes more when it sees a marked image."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Grow, or echo."""
        if _marked(batch):
            self.kept = bytearray(os.urandom(1 << 20) * 300)
        return super().predict(batch)


class OnlyOne(Echo):
    """Has a device whose memory holds one engine."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Take the device's memory, for the life of this process."""
        self.memory = os.open(os.environ["GATE"], os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self.memory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise torch.OutOfMemoryError("CUDA out of memory") from None


class OnlyOneRuns(OnlyOne):
    """The same; it is a script's forward that runs out of memory, and says it as scripts do."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Take the device's memory, or remember that there is none."""
        self.full = False
        try:
            super().load(device, weights)
        except torch.OutOfMemoryError:
            self.full = True

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Run out of memory, or echo."""
        if self.full:
            raise RuntimeError("failed in the TorchScript interpreter: CUDA out of memory")
        return super().predict(batch)


class FallsOff(Slow):
    """Runs on two devices. While the file GATE exists, the first is off the bus."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Take the first device that is free, for the life of this process."""
        self.first = os.open(os.environ["GATE"] + ".first", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self.first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.first = -1
        self._reach()

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Fail as CUDA does, or echo slowly."""
        self._reach()
        return super().predict(batch)

    def _reach(self) -> None:
        if self.first >= 0 and os.path.exists(os.environ["GATE"]):
            raise torch.AcceleratorError("CUDA error: unknown error")


class NeedsCuda(Echo):
    """Can be loaded where CUDA may still be begun with: nobody has before the fork."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Raise, or have nothing to load."""
        if torch.cuda._is_in_bad_fork():
            raise WeightsError("CUDA was begun with before the fork")


class LoadsSlowly(Echo):
    """Takes a minute to load."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Sleep."""
        time.sleep(60)


class NeverLoads(Echo):
    """Fails to load."""

    def load(self, device: torch.device, weights: Weights) -> None:
        """Raise."""
        raise WeightsError("the weights are made of cheese")


class Versioned(Echo):
    """Answers its version, which is what its weights file says; the file may say more than that.

    ``slow``: it loads for 3 seconds; ``bad``: it cannot be loaded; ``exits``: its process ends in
    the load; ``fails``: its self-test does; ``large``: it wants larger images.
    """

    result_key = "version"

    def load(self, device: torch.device, weights: Weights) -> None:
        """Do what the file says."""
        self.version = (weights.content or b"").decode()
        if "slow" in self.version:
            time.sleep(3)
        if "bad" in self.version:
            raise WeightsError("the weights are made of cheese")
        if "exits" in self.version:
            os._exit(4)
        if "large" in self.version:
            self.input_spec = InputSpec(mode="RGB", resize=(16, 16))

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Take a while, so that requests are in flight when it is exchanged."""
        time.sleep(0.05)
        if "fails" in self.version:
            raise RuntimeError("not today")
        if batch.shape[2:] != self.input_spec.resize:
            raise RuntimeError("decoded for another model")
        return super().predict(batch)

    def postprocess(self, outputs: torch.Tensor, queries: Sequence[Query]) -> list[Any]:
        """Return the version for each image."""
        return [self.version] * len(outputs)
