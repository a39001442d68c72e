"""What waits for the model, and what runs next. Pure: no I/O, no threads, the time is handed in.

Greedy: whatever waits now, up to the bound, of one shape, the oldest first. There is no waiting
for company while the device is idle; batches form by themselves while it is busy.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Item(Generic[Key]):
    """One image that waits.

    Args:
        key: connection and request id.
        shape: only items of one shape share a batch.
        deadline: monotonic seconds; nobody waits for the answer after it.
        alone: it was in a batch whose engine died, so it must not endanger others.
        queued_at: monotonic seconds.
        payload: the pixels.
    """

    key: Key
    shape: tuple[int, ...]
    deadline: float
    alone: bool
    queued_at: float
    payload: bytes = field(repr=False)


class Batcher(Generic[Key]):
    """The queue in front of the model.

    Args:
        max_batch: upper bound of a batch, in images; may be lowered by the warm-up.
    """

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self._waiting: OrderedDict[Key, Item[Key]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Item[Key]) -> None:
        """Queue an item behind the others."""
        self._waiting[item.key] = item

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
        for item in self._waiting.values():
            if not batch:
                batch.append(item)
                if item.alone:
                    break
            elif item.shape == batch[0].shape and not item.alone:
                batch.append(item)
            if len(batch) >= self.max_batch:
                break
        for item in batch:
            del self._waiting[item.key]
        return batch, expired
