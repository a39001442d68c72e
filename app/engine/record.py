"""The record of a request while an HTTP worker waits for its answer. Pure state, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gevent.event import AsyncResult

from app.input_spec import InputSpec
from app.modes import Pixels

MAX_VICTIMS = 2  # engines that may die under one image before it is refused


@dataclass(frozen=True)
class Answer:
    """What a request gets: one JSON value an image, all from one engine."""

    results: Sequence[bytes]
    result_key: str | None
    version: str
    queue_ms: float
    inference_ms: float
    batch: int
    replays: int

    def timings(self) -> dict[str, Any]:
        """Return what the log line says of it."""
        return {
            "images": len(self.results), "queue_ms": self.queue_ms,
            "inference_ms": self.inference_ms, "batch": self.batch,
            "replays": self.replays or None,
        }  # fmt: skip


@dataclass
class Image:
    """One image of a request.

    Args:
        pixels: uint8 of shape (H, W, C).
        size: (width, height) as posted.
        started: whether it is in a batch that runs.
        victims: engines that died while it ran.
        result: its JSON once it is answered.
    """

    pixels: Pixels
    size: tuple[int, int]
    started: bool = False
    victims: int = 0
    result: bytes | None = None


@dataclass(eq=False)
class Request:
    """The record of a request, from its admission to its answer.

    Args:
        images: in the order of the request.
        spec: how they were decoded.
        options: a value for each of the spec's.
        deadline: monotonic seconds.
        done: gets the Answer, or a ServingError.
        numbers: the ids under which the images are known on the present link.
        queue_ms, inference_ms, batch: of the slowest image.
    """

    images: list[Image]
    spec: InputSpec
    options: Mapping[str, Any]
    deadline: float
    done: AsyncResult = field(default_factory=AsyncResult)
    numbers: list[int] = field(default_factory=list)
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    batch: int = 0
    replays: int = 0

    def image_of(self, number: int) -> Image:
        """Return the image that has this id on the present link."""
        return self.images[self.numbers.index(number)]

    def note(self, number: int, result: bytes, timings: dict[str, Any]) -> bool:
        """Note one image's result; return whether the request is now answered."""
        image = self.image_of(number)
        image.result, image.started = result, False
        self.queue_ms = max(self.queue_ms, timings["queue_ms"])
        self.inference_ms = max(self.inference_ms, timings["inference_ms"])
        self.batch = max(self.batch, timings["batch"])
        return all(image.result is not None for image in self.images)

    def answer(self, hello: dict[str, Any]) -> Answer:
        """Return the answer, under the name of the engine that gave all of it."""
        return Answer(
            [image.result for image in self.images if image.result is not None],
            hello["result_key"], hello["version"],
            self.queue_ms, self.inference_ms, self.batch, self.replays,
        )  # fmt: skip

    def survive(self) -> int:
        """Forget what a dead engine had answered; return the most that one image has killed."""
        for image in self.images:
            image.victims += image.started
            image.started, image.result = False, None
        self.replays += 1
        return max(image.victims for image in self.images)
