"""Runs the model: pixels of a batch in, one JSON value an image out."""

import contextlib
import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from app import errors, limits, logs
from app.engine.device import resolve_device, translated_errors
from app.engine.gpu import MIB, Pool
from app.engine.outputs import Numbers, Result, is_finite, numbers, to_result
from app.models.interface import Model, Query, Weights

CPU_MAX_BATCH, CUDA_MAX_BATCH = 8, 64
USUAL_SIDE = 480  # the shorter one, where the model takes any size
HALF = {"cuda": torch.float16}  # by the device's type
GOLDEN_SEED = 20


class LoadError(Exception):
    """The model cannot serve; the sentence is what ``/health`` shows."""


@dataclass(frozen=True)
class Pixels:
    """One image as it came over the wire: uint8 of shape (H, W, C), and what is asked about it."""

    shape: tuple[int, ...]
    payload: bytes
    query: Query


class Runner:
    """A loaded model on a device.

    Args:
        model: not yet loaded.
        device: the DEVICE setting for this engine.
        max_batch: the MAX_BATCH setting; None takes the device's default.
        engines: how many share the cores.

    Attributes:
        precision: what the model computes in: ``float32``, or the device's ``half``.
        half: the device's half precision; None where it has none.
    """

    def __init__(self, model: Model, device: str, max_batch: int | None, engines: int = 1) -> None:
        torch.set_num_threads(max(1, limits.cores() // engines))
        self.model = model
        self.device = resolve_device(device)
        self.max_batch = max_batch or (
            CUDA_MAX_BATCH if self.device.type == "cuda" else CPU_MAX_BATCH
        )

        self.precision = "float32"
        self._pool = Pool(0.0, 0.0)
        self._half = HALF.get(self.device.type)
        self.half = str(self._half).removeprefix("torch.") if self._half else None

    def load(self, weights: Weights) -> None:
        """Load the model onto the device."""
        self.model.load(self.device, weights)
        if self.model.input_spec.batch == "list":
            # Detectors: in half, boxes move by a pixel, and the golden answer does not show it.
            self.half = None

    def sample(self) -> Pixels:
        """Return a mid-grey image of the model's usual size, for warm-up and self-test."""
        height, width = self._usual_size()
        channels = 1 if self.model.input_spec.mode == "L" else 3
        return self._image((height, width, channels), bytes([128]) * (height * width * channels))

    @property
    def batch_pixels(self) -> int:
        """How many pixels a full batch of images of the usual size has."""
        height, width = self._usual_size()
        return self.max_batch * height * width

    def _usual_size(self) -> tuple[int, int]:
        spec = self.model.input_spec
        if spec.crop:
            return spec.crop
        if isinstance(spec.resize, tuple):
            return spec.resize
        # As long as pictures usually are: torchvision's detectors compute the most at 3 to 5.
        shorter = spec.resize or USUAL_SIDE
        return shorter, 5 * shorter // 3

    def _image(self, shape: tuple[int, int, int], payload: bytes) -> Pixels:
        height, width, _ = shape
        return Pixels(shape, payload, Query(width, height, self.model.input_spec.defaults))

    def warm_up(self, longest: float) -> None:
        """Run one image and a full batch; lower ``max_batch`` until that fits time and memory.

        Args:
            longest: seconds that a full batch may take (half of HANG_SECONDS).

        Raises:
            LoadError: one image alone is too slow.
        """
        self._timed(1)  # the first forward also pays for libraries that load on use
        while (seconds := self._timed_full_batch(longest)) > longest:
            if self.max_batch == 1:
                raise LoadError(f"one image takes {seconds:.1f} s, more than half of HANG_SECONDS")
            self.max_batch //= 2

    def _timed_full_batch(self, longest: float) -> float:
        try:
            seconds = self._timed(self.max_batch)
            if seconds > longest and self.device.type == "cuda":
                # The first one of a size also pays for kernels that are loaded and compiled on use.
                seconds = self._timed(self.max_batch)
        except errors.ServingError as error:
            if self.max_batch == 1 or not self._may_fit_smaller(error):
                raise
            logs.event("batch_failed", level=logging.WARNING, error=error, images=self.max_batch)
            return math.inf
        return seconds

    def _may_fit_smaller(self, error: errors.ServingError) -> bool:
        """Return whether the batch was too large, for the memory, for drawing or for a library.

        A GPU's say so in words of their own (cuDNN: "unable to find an engine").
        """
        if isinstance(error, errors.OutOfMemory | errors.InvalidParameter):
            return True
        return self.device.type == "cuda" and isinstance(error.__cause__, RuntimeError)

    def _timed(self, size: int) -> float:
        images = [self.sample()] * size
        began = time.monotonic()
        self.run(images)
        return time.monotonic() - began

    def self_test(self) -> None:
        """Answer one image as a client's would be.

        Raises:
            LoadError: the answer is none.
        """
        try:
            [result] = self.run([self.sample()])
            if isinstance(result, errors.ClientError):
                raise result
        except errors.ServingError as error:
            raise LoadError(f"the self-test failed: {error.message}") from error

    def full_batch_seconds(self) -> float:
        """Run a full batch and return how long it took.

        Raises:
            app.errors.ServingError, DeviceLost: as ``run``.
        """
        return self._timed(self.max_batch)

    def golden(self, seed: int = GOLDEN_SEED) -> tuple[Numbers, float]:
        """Run the golden input: noise from a fixed seed, of the model's usual size.

        Returns:
            The model's outputs as numbers, tensor by tensor, and the seconds it took.

        Raises:
            app.errors.ServingError, DeviceLost: as ``run``.
        """
        sample = self.sample()
        content = random.Random(seed).randbytes(len(sample.payload))
        noise = replace(sample, payload=content)
        began = time.monotonic()
        with self._computing(1):
            values = numbers(self._golden_outputs(noise))
        return values, time.monotonic() - began

    def gpu_uuid(self) -> str | None:
        """Return CUDA's name for the device, without a prefix; None on a CPU."""
        if self.device.type != "cuda":
            return None
        return str(torch.cuda.get_device_properties(self.device).uuid)

    def pool(self) -> Pool:
        """Return what PyTorch held of the device's memory after the last batch; for any thread."""
        return self._pool

    def _note_pool(self) -> None:
        """Ask the allocator, in the thread that computes.

        Any other would wait for it with the GIL held while a call to the driver hangs, and with it
        the thread that talks.
        """
        if self.device.type != "cuda":
            return
        with contextlib.suppress(RuntimeError):  # an allocator of the model's own counts nothing
            if stats := torch.cuda.memory_stats_as_nested_dict(self.device):
                reserved = stats["reserved_bytes"]["all"]["current"] / MIB
                allocated = stats["allocated_bytes"]["all"]["current"] / MIB
                self._pool = Pool(round(reserved, 1), round(reserved - allocated, 1))

    @contextlib.contextmanager
    def _computing(self, images: int) -> Iterator[None]:
        try:
            with translated_errors(self.device, images):
                yield
        finally:
            self._note_pool()

    def run(self, images: Sequence[Pixels]) -> list[Result]:
        """Return one result an image, in order.

        Args:
            images: all of one shape, unless the model takes a list.

        Raises:
            app.errors.OutOfMemory: the device has not the memory for this batch.
            app.errors.ModelError: the model raised, or returned what cannot be answered.
            app.errors.ClientError: the model says so of one image, and not which.
            DeviceLost: only another process can answer.
        """
        with self._computing(len(images)):
            results = self._answer(images)
            if len(results) != len(images):
                raise errors.ModelError(
                    f"the model returned {len(results)} results for {len(images)} images"
                )
            return [to_result(result) for result in results]

    @torch.inference_mode()
    def _answer(self, images: Sequence[Pixels]) -> Sequence[object]:
        with self._autocast():
            outputs = self.model.predict(self._batch(images))
        finite = is_finite(outputs)
        if not finite and self.precision != "float32":  # half ends at 65504
            outputs = self.model.predict(self._batch(images))
            finite = is_finite(outputs)
        if not finite:
            raise errors.ModelError("the model's outputs are not finite")
        return self.model.postprocess(outputs, [image.query for image in images])

    @torch.inference_mode()
    def _golden_outputs(self, image: Pixels) -> Any:
        compute = getattr(self.model, "probe", self.model.predict)
        with self._autocast():
            return compute(self._batch([image]))

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self._half)

    def _batch(self, images: Sequence[Pixels]) -> torch.Tensor | list[torch.Tensor]:
        if self.model.input_spec.batch == "list":
            return [self._tensor([image])[0] for image in images]
        return self._tensor(images)

    def _tensor(self, images: Sequence[Pixels]) -> torch.Tensor:
        pixels = bytearray().join(image.payload for image in images)
        batch = torch.frombuffer(pixels, dtype=torch.uint8).view(len(images), *images[0].shape)
        # Pixels arrive as (H, W, C): permuted, that already is channels_last.
        return batch.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
