"""What a worker may hold at one time: images in the queue, bytes of bodies and pixels. Pure."""

from types import TracebackType
from typing import Self

from app import errors


class Admission:
    """The worker's share of the container's bounds; the supervisor sets it."""

    def __init__(self) -> None:
        self.max_images = 1
        self.max_bytes = 1
        self.requests = 0
        self.images = 0
        self.bytes = 0

    def share(self, images: int, size: int) -> None:
        """Take a new share; what is held stays held."""
        self.max_images, self.max_bytes = images, size


class Hold:
    """What one request holds, until it is answered. A context manager.

    A request that is alone is always let in: what is under the limits of one request can be
    served, however small the share is.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._images = 0
        self._bytes = 0

    def __enter__(self) -> Self:
        self._admission.requests += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._admission.requests -= 1
        self._admission.images -= self._images
        self._admission.bytes -= self._bytes

    def add_bytes(self, count: int) -> None:
        """Hold memory for a body, or for the pixels of an image.

        Raises:
            app.errors.QueueFull: with what the others hold it is more than MAX_INFLIGHT_MB.
        """
        admission = self._admission
        alone = admission.bytes == self._bytes
        if not alone and admission.bytes + count > admission.max_bytes:
            raise errors.QueueFull("the requests in progress hold MAX_INFLIGHT_MB of memory")
        self._bytes += count
        admission.bytes += count

    def drop_bytes(self, count: int) -> None:
        """Give memory back before the request ends."""
        self._bytes -= count
        self._admission.bytes -= count

    def add_images(self, count: int) -> None:
        """Hold places in the queue.

        Raises:
            app.errors.QueueFull: with those of the others they are more than
                MAX_CONCURRENT_REQUESTS.
        """
        admission = self._admission
        if admission.images and admission.images + count > admission.max_images:
            raise errors.QueueFull("as many images as MAX_CONCURRENT_REQUESTS allows are waiting")
        self._images += count
        admission.images += count
