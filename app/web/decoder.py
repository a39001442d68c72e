"""Native threads for what takes the CPU: decoding, parsing of large bodies. One per HTTP worker.

Pillow releases the GIL in them, and the hub goes on turning.
"""

import time
from collections.abc import Callable
from typing import TypeVar, cast

import gevent
from gevent import get_hub

from app import errors

Result = TypeVar("Result")
STUCK_SECONDS = 4.0  # no image under the limits takes so long; as an engine's STALE_SECONDS


class Decoder:
    """gevent's pool of native threads, and for how long each has been at work."""

    def __init__(self) -> None:
        self._began: dict[object, float] = {}

    def call(self, deadline: float, function: Callable[..., Result], *arguments: object) -> Result:
        """Call a function in a native thread.

        Errors come back as values: the pool would print each with its traceback, as a defect of
        ours.

        Args:
            deadline: monotonic seconds.
            function: raises nothing but ServingErrors.
            arguments: its own.

        Raises:
            app.errors.DeadlineExceeded: no thread was free, or it did not return in time.
        """
        number = object()

        def call() -> tuple[Result | None, errors.ServingError | None]:
            self._began[number] = time.monotonic()
            try:
                return function(*arguments), None
            except errors.ServingError as error:
                return None, error
            finally:
                del self._began[number]

        try:
            with gevent.Timeout(max(0.0, deadline - time.monotonic())):
                result, error = get_hub().threadpool.apply(call)
        except gevent.Timeout:
            raise errors.DeadlineExceeded("the images were not decoded in time") from None
        if error:
            raise error
        return cast("Result", result)

    def stuck(self, now: float) -> bool:
        """Return whether every thread has been at one image for too long."""
        began = list(self._began.values())
        overdue = sum(now - moment > STUCK_SECONDS for moment in began)
        return overdue >= int(get_hub().threadpool.maxsize)
