"""Native threads for what takes the CPU: decoding, parsing of large bodies. One per HTTP worker.

Pillow releases the GIL in them, and the hub goes on turning.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import gevent
from gevent import get_hub
from gevent.monkey import get_original

from app import errors

Result = TypeVar("Result")
STUCK_SECONDS = 4.0  # as an engine's STALE_SECONDS
BUSY_SECONDS = 10.0  # of the CPU; no image under the limits takes so much
IDLE_SHARE = 0.005  # of the CPU; a thread of many that share a core gets more
# gevent's own answers with a number that is no thread's.
_this_thread: Callable[[], int] = get_original("_thread", "get_ident")


@dataclass(frozen=True)
class _Job:
    began: float
    clock: int
    used: float

    def stuck(self, now: float) -> bool:
        """Return whether it stands still, or computes without end.

        Not merely whether it is old: twenty large images on two cores take long together, and
        overload must fail no probe.
        """
        age = now - self.began
        try:
            used = time.clock_gettime(self.clock) - self.used
        except OSError:  # just done, and its thread has ended
            return False
        return age > STUCK_SECONDS and (used < IDLE_SHARE * age or used > BUSY_SECONDS)


class Decoder:
    """gevent's pool of native threads, and what each has been doing since when."""

    def __init__(self) -> None:
        self._jobs: dict[object, _Job] = {}

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
            clock = time.pthread_getcpuclockid(_this_thread())
            self._jobs[number] = _Job(time.monotonic(), clock, time.clock_gettime(clock))
            try:
                return function(*arguments), None
            except errors.ServingError as error:
                return None, error
            finally:
                del self._jobs[number]

        try:
            with gevent.Timeout(max(0.0, deadline - time.monotonic())):
                result, error = get_hub().threadpool.apply(call)
        except gevent.Timeout:
            raise errors.DeadlineExceeded("the images were not decoded in time") from None
        if error:
            raise error
        return cast("Result", result)

    def stuck(self, now: float) -> bool:
        """Return whether every thread stands still, or computes without end."""
        stuck = sum(job.stuck(now) for job in list(self._jobs.values()))
        return stuck >= int(get_hub().threadpool.maxsize)
