"""What waits for the model, and what runs next. Pure: no I/O, no threads, the time is handed in.

Greedy: whatever waits now, up to the bounds, the oldest first; of one shape unless the model takes
any. There is no waiting for company while the device is idle; batches form by themselves while it
is busy.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Item(Generic[Key]):
    """One image that waits.

    Args:
        key: connection and request id.
        shape: of the pixels.
        size: width and height of the image as posted.
        options: what the request asks of the model.
        deadline: monotonic seconds; nobody waits for the answer after it.
        alone: it was in a batch whose engine died, so it must not endanger others.
        queued_at: monotonic seconds.
        payload: the pixels.
    """

    key: Key
    shape: tuple[int, ...]
    size: tuple[int, int]
    options: dict[str, Any]
    deadline: float
    alone: bool
    queued_at: float
    payload: bytes = field(repr=False)

    @property
    def pixels(self) -> int:
        """How large the image is."""
        height, width, _ = self.shape
        return height * width


class Batcher(Generic[Key]):
    """The queue in front of the model.

    Args:
        max_batch: upper bound of a batch, in images; may be lowered by the warm-up.
        mixed: whether images of several shapes may share a batch.
        max_pixels: upper bound of a batch of several images, in pixels. The warm-up has shown that
            so many fit the time and the memory; eight photos of 48 megapixels would be a hang.
    """

    def __init__(
        self, max_batch: int, *, mixed: bool = False, max_pixels: float = math.inf
    ) -> None:
        self.max_batch = max_batch
        self.mixed = mixed
        self.max_pixels = max_pixels
        self._waiting: OrderedDict[Key, Item[Key]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Item[Key]) -> None:
        """Queue an item behind the others."""
        self._waiting[item.key] = item

    def _may_join(self, item: Item[Key], first: Item[Key], pixels: int) -> bool:
        fits = self.mixed or item.shape == first.shape
        return fits and not item.alone and pixels + item.pixels <= self.max_pixels

    def cancel(self, key: Key) -> bool:
        """Drop an item that nobody waits for; return whether it was still here."""
        return self._waiting.pop(key, None) is not None

    def cancel_all(self, belongs: Callable[[Key], bool]) -> None:
        """Drop every item whose key belongs to a connection that is gone."""
        for key in [key for key in self._waiting if belongs(key)]:
            del self._waiting[key]

    def take(self, now: float) -> tuple[list[Item[Key]], list[Item[Key]]]:
        """Return the next batch, and the items whose deadline passed while they waited.

        Expired items are dropped before they cost a forward. Both lists may be empty.
        """
        expired = [item for item in self._waiting.values() if item.deadline <= now]
        for item in expired:
            del self._waiting[item.key]
        batch: list[Item[Key]] = []
        pixels = 0
        for item in self._waiting.values():
            if batch and not self._may_join(item, batch[0], pixels):
                continue
            batch.append(item)
            pixels += item.pixels
            if item.alone:
                break
            if len(batch) >= self.max_batch:
                break
        for item in batch:
            del self._waiting[item.key]
        return batch, expired
